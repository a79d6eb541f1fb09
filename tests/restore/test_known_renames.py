"""Names that libraries changed: read as today's where that is complete, refused otherwise; judged by torch itself."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tests.restore.test_averages import table_of
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations

from milepost.errors import Mismatch
from milepost.models.torch import TorchModel
from milepost.restore.matching import Restored, restore

INPUTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def norm() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 3))


def weight_normed(wrap: Any) -> torch.nn.Module:
    return torch.nn.Sequential(wrap(torch.nn.Linear(4, 4)), wrap(torch.nn.Linear(4, 3), dim=None))


def old_weight_norm() -> torch.nn.Module:
    with pytest.warns(FutureWarning):
        return weight_normed(torch.nn.utils.weight_norm)


def new_weight_norm() -> torch.nn.Module:
    return weight_normed(parametrizations.weight_norm)


def old_spectral_norm() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.utils.spectral_norm(torch.nn.Linear(4, 3)))


def new_spectral_norm() -> torch.nn.Module:
    return torch.nn.Sequential(parametrizations.spectral_norm(torch.nn.Linear(4, 3)))


def restored(folder: Path, state: dict[str, Any], build: Any) -> Restored:
    return restore(table_of(folder, {"model": state}), TorchModel(build).variables(), "raw")


def drawn(build: Any, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    net: torch.nn.Module = build()
    with torch.no_grad():
        for item in net.parameters():
            item.copy_(torch.rand_like(item) + 0.5)
        net(torch.from_numpy(INPUTS))  # in training: spectral normalisation moves its vectors
    return net.eval()


@pytest.mark.parametrize(
    ("written", "read", "remark"),
    [
        (old_weight_norm, new_weight_norm, "weight_norm read as its parametrization"),
        (new_weight_norm, old_weight_norm, "weight_norm's parametrization read as weight_norm"),
        (old_spectral_norm, new_spectral_norm, "spectral_norm read as its parametrization"),
        (new_spectral_norm, old_spectral_norm, "spectral_norm's parametrization read as spectral_norm"),
    ],
)
def test_normed_weights_of_either_generation(written: Any, read: Any, remark: str, tmp_path: Path) -> None:
    net = drawn(written)
    state = {f"module.{name}": item for name, item in net.state_dict().items()}
    found = restored(tmp_path, state, read)
    assert found.notes["names"] == f"module. taken off the checkpoint's names; {remark}"
    model = TorchModel(read)
    predicted = model.predict(model.load(found.arrays), INPUTS)
    assert torch.allclose(predicted, net(torch.from_numpy(INPUTS)), atol=1e-6)


def test_gamma_and_beta(tmp_path: Path) -> None:
    state = norm().state_dict()
    old = {name.replace("0.weight", "0.gamma").replace("0.bias", "0.beta"): item for name, item in state.items()}
    found = restored(tmp_path, old, norm)
    assert found.notes["names"] == "gamma and beta read as weight and bias"
    assert found.digest == restored(tmp_path, dict(state), norm).digest
    assert "names" not in restored(tmp_path, dict(state), norm).notes


@pytest.mark.parametrize("extra", ["0.weight", "1.gamma", "other.gamma", "other.beta"])
def test_no_rename_where_it_is_not_complete(extra: str, tmp_path: Path) -> None:
    """A gamma beside the weight that it would become, or one that leads nowhere."""
    state = norm().state_dict()
    old = {name.replace("0.weight", "0.gamma").replace("0.bias", "0.beta"): item for name, item in state.items()}
    with pytest.raises(Mismatch, match="unexpected"):
        restored(tmp_path, {**old, extra: torch.ones(4)}, norm)


def test_a_model_of_its_own_gamma_keeps_it(tmp_path: Path) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = torch.nn.Parameter(torch.ones(4))
            self.norm = torch.nn.LayerNorm(4)

    state = {"gamma": torch.full((4,), 2.0), "norm.gamma": torch.full((4,), 3.0), "norm.beta": torch.zeros(4)}
    found = restored(tmp_path, state, Own)
    assert {name: item[0] for name, item in found.arrays.items()} == {"gamma": 2, "norm.weight": 3, "norm.bias": 0}


def test_shapes_decide_too(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"\(gamma and beta read as weight and bias\) .* has shape \[5\]"):
        restored(tmp_path, {"weight": torch.ones(4), "beta": torch.ones(5)}, lambda: torch.nn.LayerNorm(4))


def test_wrappers_of_torch_around_parts_and_the_whole(tmp_path: Path) -> None:
    net: Any = norm()
    inner: Any = torch.nn.Sequential(
        checkpoint_wrapper(net[0]), cast("torch.nn.Module", torch.compile(net[1], backend="eager"))
    )
    wrapped = torch.nn.DataParallel(inner)
    names = list(wrapped.state_dict())
    assert names[2] == "module.1._orig_mod.weight"
    # The wrapper of activations hides its mark in `state_dict`, but FSDP's gathered names, or a part's own, show both.
    state = {
        name.replace("module.0", "module._fsdp_wrapped_module.0._checkpoint_wrapped_module"): item
        for name, item in wrapped.state_dict().items()
    }
    found = restored(tmp_path, state, norm)
    assert "_fsdp_wrapped_module." in str(found.notes["names"])
    assert found.digest == restored(tmp_path, dict(net.state_dict()), norm).digest


def test_deepspeed_keeps_the_model_in_a_wrapper_of_its_own(tmp_path: Path) -> None:
    net = norm()
    saved: dict[str, Any] = {"module": net.state_dict(), "buffer_names": [], "optimizer": None, "ds_version": "0.16.3"}
    found = restore(table_of(tmp_path, saved), TorchModel(norm).variables(), "raw")
    assert found.notes["place"] == "module"
