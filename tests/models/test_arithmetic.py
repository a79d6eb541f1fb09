"""What a PyTorch model is computed in: dtype and autocast, as a hand-written loop would, and declared as plain data."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.models.torch import TorchModel
from milepost.testing.models import AdapterCase, check_adapter

X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)


def state(build: Callable[[], nn.Module], seed: int) -> dict[str, Array]:
    torch.manual_seed(seed)
    return {name: tensor.numpy() for name, tensor in build().state_dict().items()}


class Tied(nn.Module):
    """A tied weight and a norm with bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 4, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.again = nn.Linear(3, 4, bias=False)
        self.again.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(self.encode(x)).relu() + self.again(x)


class Convolved(nn.Module):
    """Layers that autocast treats in both ways, a norm with buffers, and a constant that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8 * 36, 10)
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.tensor(1.1), persistent=False)

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.norm(self.first(x)).relu().flatten(1)
        return torch.log_softmax(self.last(hidden) * self.scale, dim=1)


IMAGES = np.random.default_rng(2).normal(size=(12, 3, 8, 8)).astype(np.float32)


def computed(arrays: Mapping[str, Array], dtype: str | None, autocast: str | None) -> Any:
    """Predict as a hand-written evaluation loop does."""
    net = Convolved()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    net.eval()
    x = torch.from_numpy(IMAGES.copy())
    with torch.no_grad():
        if dtype is not None:
            return net.to(getattr(torch, dtype))(x.to(getattr(torch, dtype)))
        if autocast is not None:
            with torch.autocast("cpu", dtype=getattr(torch, autocast)):
                return net(x)
        return net(x)


@pytest.mark.parametrize(
    ("dtype", "autocast"),
    [(None, None), ("bfloat16", None), ("float64", None), ("float16", None), (None, "bfloat16"), (None, "float16")],
)
def test_reduced_precision_gives_what_a_hand_written_loop_gives(dtype: str | None, autocast: str | None) -> None:
    model = TorchModel(Convolved, dtype=dtype, autocast=autocast)
    checkpoints = [state(Convolved, seed) for seed in (0, 1)]
    loaded = [model.load(arrays) for arrays in checkpoints]
    for which in (0, 1, 0):
        expected = computed(checkpoints[which], dtype, autocast)
        found = model.predict(loaded[which], IMAGES)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    again = model.predict(model.load(checkpoints[0]), IMAGES)  # the same checkpoint restored twice
    assert torch.equal(again, computed(checkpoints[0], dtype, autocast))
    if dtype or autocast:
        assert not torch.equal(again.double(), computed(checkpoints[0], None, None).double())


@pytest.mark.parametrize("policy", [{"dtype": "float64"}, {"autocast": "bfloat16"}, {"dtype": torch.float64}])
def test_reduced_precision_keeps_the_laws(policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.testing.models.TOLERANCE", 1e-2)  # of bfloat16's three digits
    check_adapter(AdapterCase(lambda: TorchModel(Tied, **policy), (state(Tied, 0), state(Tied, 1)), X))


def test_the_variables_are_those_of_the_module_as_built() -> None:
    plain, reduced = TorchModel(Tied), TorchModel(Tied, dtype="bfloat16")
    assert reduced.variables() == plain.variables()
    weights = reduced.load(state(Tied, 0))
    assert {item.dtype for item in weights.tensors if item.is_floating_point()} == {torch.bfloat16}
    assert reduced.predict(weights, X).dtype == torch.bfloat16


def test_tensors_that_share_memory_stay_tied_when_they_are_converted() -> None:
    class Sharing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3, bias=False)
            self.two = nn.Linear(3, 3, bias=False)
            self.two.weight = nn.Parameter(self.one.weight.data)  # another object over the same memory

        def forward(self, x: torch.Tensor) -> Any:
            return self.one(x) - self.two(x)

    model = TorchModel(Sharing, dtype="float64")
    assert [item.tied_to for item in model.variables()] == [None, "one.weight"]
    weights = model.load({"one.weight": np.eye(3, dtype="f4")})
    assert not model.predict(weights, X).any()


def test_only_what_is_declared_is_in_the_spec_and_a_device_keeps_it() -> None:
    assert TorchModel(Tied).spec() == {}
    assert TorchModel(Tied, dtype=torch.bfloat16).spec() == {"name": "torch", "dtype": "bfloat16"}
    both = TorchModel(Tied, dtype="float32", autocast="bfloat16").on("cpu")
    assert both.spec() == {"name": "torch", "dtype": "float32", "autocast": "bfloat16"}
    assert both.predict(both.load(state(Tied, 0)), X).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"dtype": "bf16"}, r"dtype='bf16'\): expected None or one of float64, float32, bfloat16, float16"),
        ({"dtype": torch.int8}, "dtype='int8'"),
        ({"autocast": "float32"}, r"autocast='float32'\): expected None or one of bfloat16, float16"),
        ({"autocast": "bfloat16", "device": "meta"}, "has no such autocast on meta"),
    ],
)
def test_arithmetic_that_there_is_not_is_refused_at_once(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TorchModel(Tied, **policy)


def test_complex_weights_are_not_halved() -> None:
    class Wave(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.phase = nn.Parameter(torch.ones(2, dtype=torch.complex64))

    with pytest.raises(UsageError, match="would drop the imaginary part of 'phase'"):
        TorchModel(Wave, dtype="bfloat16").variables()
    assert TorchModel(Wave).variables()[0].dtype == "complex64"


def test_first_values_of_a_bfloat16_module_need_no_other_import() -> None:
    code = (
        "import torch\nfrom milepost.models.torch import TorchModel\n"
        "model = TorchModel(lambda: torch.nn.Linear(2, 1).to(torch.bfloat16))\n"
        "print(model.initial(['weight', 'bias'])['weight'].dtype)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "bfloat16", done.stderr
