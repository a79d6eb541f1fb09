"""Tensors of every layout that torch saves, for the tests of its two file layouts."""

import torch


def views(kinds: str) -> dict[str, torch.Tensor]:
    """Return views, ties, parameters, and a tensor of each type that is named."""
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "transposed": base.T,
        "sliced": base[1:3, ::2],
        "broadcast": base[0].expand(3, 6),
        "tied": base,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "channels_last": torch.arange(120.0).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        **{kind: torch.arange(5).to(getattr(torch, kind)) for kind in kinds.split()},
    }
