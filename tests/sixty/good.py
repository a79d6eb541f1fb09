"""Twenty good files: five formats, and the wrappings, types, names and baggage that real training leaves behind."""

import argparse
import os
import posix
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safe
from tests.sixty.pieces import Net, arrays_of, npz, saved, weights_of, write

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Good:
    """A file by its name, from a state dict; `rounded` is the type in which it stores the weights."""

    file: str
    make: Callable[[State, Path], Any]
    rounded: torch.dtype = torch.float32


class Trap:
    """Pickles as a call of the system's shell."""

    def __init__(self, marker: Path) -> None:
        """Keep the file that the call would make."""
        self.marker = marker

    def __reduce__(self) -> Any:
        """Ask for the call."""
        return posix.system, (f"touch {self.marker}",)


def weights_in(good: Good, seed: int) -> State:
    """Return the weights that a good file holds, as they are after rounding."""
    return {name: tensor.to(good.rounded) for name, tensor in weights_of(seed).items()}


def _arrays(state: State) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _legacy(value: Any) -> bytes:
    return saved(value, _use_new_zipfile_serialization=False)


def _adam(state: State) -> dict[str, Any]:
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    optimizer = torch.optim.Adam(parameters, lr=0.5)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


def _trainer(state: State, _: Path) -> bytes:
    args = argparse.Namespace(lr=0.1, out=Path("runs"), best=np.float64(0.5))
    return saved(
        {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": _adam(state), "loss": 0.25, "args": args}
    )


def _lightning(state: State, _: Path) -> bytes:
    return saved(
        {
            "epoch": 2,
            "global_step": 750,
            "pytorch-lightning_version": "2.6.0",
            "state_dict": OrderedDict(_prefixed(state, "model.")),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "dirpath": Path("runs")}},
            "optimizer_states": [_adam(state)],
            "lr_schedulers": [],
            "hyper_parameters": argparse.Namespace(hidden=256),
        }
    )


def _averaged(state: State, _: Path) -> bytes:
    mean = {name: tensor + 1 for name, tensor in state.items()}
    return saved(
        {"net": _prefixed(state, "module."), "ema": _prefixed(mean, "module."), "best_acc1": torch.tensor(0.7)}
    )


def _from_cuda(state: State, _: Path) -> bytes:
    """Say that every storage was on the first GPU, as files of other machines do."""
    text = b"X\x03\x00\x00\x00cpu"
    made = _legacy(state)
    assert made.count(text) >= 1
    return made.replace(text, b"X\x06\x00\x00\x00cuda:0")


def _strided(state: State, _: Path) -> bytes:
    """Store the weights as views: every second row of a larger one, a transposed one, a slice with an offset."""
    wide = torch.zeros(512, 8)
    wide[1::2] = state["fc1.weight"]
    tall = state["fc2.weight"].t().contiguous()
    both = torch.cat([state["fc1.bias"], state["fc2.bias"]])
    return saved({"fc1.weight": wide[1::2], "fc1.bias": both[:256], "fc2.weight": tall.t(), "fc2.bias": both[256:]})


def _whole_module(state: State, marker: Path) -> bytes:
    """Pickle a module of a class whose file would leave a mark if it were imported."""
    planted = types.ModuleType("planted")
    kind = type("Net", (Net,), {"__module__": "planted"})
    vars(planted)["Net"] = kind
    sys.modules["planted"] = planted
    try:
        module = kind()
        module.load_state_dict(state)
        return saved(module)
    finally:
        del sys.modules["planted"]
        assert not marker.exists()


def _with_settings(state: State, marker: Path) -> bytes:
    """Store a step, text, and settings that NumPy pickles, beside the weights."""
    settings = np.array({"hook": Trap(marker)}, dtype=object)
    return npz({**_arrays(state), "global_step": np.int64(120), "config": settings, "name": "mlp"})


def _fortran(state: State, _: Path) -> bytes:
    return npz({name: np.asfortranarray(tensor.numpy()) for name, tensor in state.items()})


def _owner_only(state: State, _: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, safe({name: tensor.to(torch.bfloat16) for name, tensor in state.items()})).chmod(0o600)

    return make


def _linked(state: State, _: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        target = path.parent.parent / "elsewhere"
        target.mkdir()
        path.symlink_to(write(target / "weights", saved({"state_dict": state})))

    return make


def _as(dtype: torch.dtype, state: State) -> State:
    return {name: tensor.to(dtype) for name, tensor in state.items()}


GOOD = [
    Good("stored.npz", lambda state, _: npz(_arrays(state))),
    Good("deflated.npz", lambda state, _: npz(_arrays(state), packed=True)),
    Good("fortran.npz", _fortran),
    Good("an-npz.bin", _with_settings),
    Good("plain.safetensors", lambda state, _: safe(state)),
    Good("mine.safetensors", _owner_only, torch.bfloat16),
    Good("a-safetensors.pt", lambda state, _: safe(state, {"format": "pt", "step": "300"})),
    Good("plain.pt", lambda state, _: saved(state)),
    Good("trainer.pth", _trainer),
    Good("lightning.ckpt", _lightning),
    Good("nanogpt.ckpt", lambda state, _: saved({"model": _prefixed(state, "_orig_mod."), "optimizer": _adam(state)})),
    Good("ddp-ema.pth", _averaged),
    Good("nested.pt", lambda state, _: saved({"state_dict": _prefixed(state, "module._orig_mod.")})),
    Good("strided.pt", _strided),
    Good("half.pt", lambda state, _: saved(_as(torch.float16, state)), torch.float16),
    Good("module.pt", _whole_module),
    Good(
        "trap-beside.pt",
        lambda state, marker: saved({"state_dict": state, "hook": Trap(marker), "run": [Trap(marker)]}),
    ),
    Good(
        "legacy-trap.th", lambda state, marker: _legacy({"state_dict": _as(torch.float64, state), "hook": Trap(marker)})
    ),
    Good("legacy-cuda.pth", _from_cuda),
    Good("last.pt", _linked),
]


def make(folder: Path, marker: Path) -> dict[str, State]:
    """Write the twenty files, each of other weights, and return what each holds."""
    held = {}
    for seed, good in enumerate(GOOD, 1):
        made = good.make(weights_of(seed), marker)
        if callable(made):
            made(folder / good.file)
        else:
            write(folder / good.file, made)
        held[good.file] = weights_in(good, seed)
    assert os.path.islink(folder / "last.pt")
    assert set(arrays_of(1)) == set(held["plain.pt"])
    return held
