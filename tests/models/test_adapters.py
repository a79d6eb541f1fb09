"""Both adapters, and a toy one, keep the published laws; the laws catch adapters that do not."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from milepost.core.types import Array, Variable
from milepost.errors import Mismatch, UsageError
from milepost.models.numpy import FunctionModel
from milepost.models.torch import TorchModel
from milepost.testing.models import AdapterCase, check_adapter

X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
NEEDS = ("milepost.models.torch", "torch", "torch")


def linear(seed: int, dtype: str = "float32") -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(3, 2)).astype(dtype), "b": rng.normal(size=2).astype(dtype)}


def affine(weights: dict[str, Array], x: Array) -> Array:
    return np.asarray(x @ weights["w"] + weights["b"])


class Net(nn.Module):
    """A tied weight, a norm with bookkeeping, dropout, a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 4, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.again = nn.Linear(3, 4, bias=False)
        self.again.weight = self.encode.weight
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.drop(self.norm(self.encode(x))) + self.again(x) * self.scale)


def saved(seed: int) -> dict[str, Array]:
    """What a training run of its own would have left, as NumPy arrays."""
    torch.manual_seed(seed)
    net = Net()
    net.train()
    net(torch.from_numpy(X.copy()))
    return {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.mix = nn.LSTM(4, 3, batch_first=True)

    def forward(self, tokens: torch.Tensor, gain: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.mix(self.table(tokens))[0]
        return {"last": hidden[:, -1] * gain[:, None], "sum": hidden.sum(1)}


def state(build: Callable[[], nn.Module], seed: int) -> dict[str, Array]:
    torch.manual_seed(seed)
    return {name: tensor.numpy() for name, tensor in build().state_dict().items()}


@pytest.mark.parametrize("variables", [None, ["w", "b"], {"w": (3, 2), "b": ("float32", (2,))}])
def test_functions_keep_the_laws(variables: Any) -> None:
    check_adapter(AdapterCase(lambda: FunctionModel(affine, variables), (linear(0), linear(1)), X))


def test_functions_of_bfloat16_and_of_named_inputs_keep_the_laws() -> None:
    def predict(weights: dict[str, Array], inputs: dict[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] @ weights["w"].astype("f4"), "n": inputs["n"] + 1}

    case = (linear(0, "bfloat16"), linear(1, "bfloat16"))
    check_adapter(AdapterCase(lambda: FunctionModel(predict), case, {"x": X, "n": np.arange(6)}))


@pytest.mark.parametrize("build", [Net, Net()])
def test_modules_keep_the_laws(build: Any) -> None:
    check_adapter(AdapterCase(lambda: TorchModel(build), (saved(0), saved(1)), X, NEEDS))


def test_recurrent_modules_with_named_inputs_keep_the_laws() -> None:
    inputs = {"tokens": np.random.default_rng(0).integers(0, 5, (6, 7)), "gain": np.linspace(0, 1, 6)}
    check_adapter(AdapterCase(lambda: TorchModel(Named), (state(Named, 0), state(Named, 1)), inputs))


class Toy:
    """An adapter in one file: scalars times the sum of a row."""

    name = "toy"

    def variables(self) -> tuple[Variable, ...]:
        return (Variable("a", "float64", ()),)

    def load(self, tensors: Mapping[str, Array]) -> float:
        return float(tensors["a"])

    def predict(self, weights: float, inputs: Array) -> Array:
        return np.asarray(inputs.sum(1) * weights)


TOYS = ({"a": np.array(2.0)}, {"a": np.array(3.0)})


def test_a_toy_adapter_keeps_the_laws() -> None:
    check_adapter(AdapterCase(Toy, TOYS, X))


class Mixing(Toy):
    """Predicts with whatever was loaded last."""

    last = 0.0

    def load(self, tensors: Mapping[str, Array]) -> float:
        self.last = float(tensors["a"])
        return self.last

    def predict(self, weights: float, inputs: Array) -> Array:
        return np.asarray(inputs.sum(1) * self.last)


class Mapped(Toy):
    """Keeps the map of the file."""

    def load(self, tensors: Mapping[str, Array]) -> Any:
        return tensors["a"]


class Normalising(Toy):
    """Depends on the batch."""

    def predict(self, weights: float, inputs: Array) -> Array:
        return np.asarray((inputs - inputs.mean(0)).sum(1) * weights)


class Writing(Toy):
    """Writes into its inputs."""

    def predict(self, weights: float, inputs: Array) -> Array:
        inputs *= weights
        return np.asarray(inputs.sum(1))


class Changing(Toy):
    """Has a spec that another device changes."""

    def __init__(self, device: str = "none") -> None:
        self.device = device

    def spec(self) -> dict[str, Any]:
        return {"device": self.device}

    def on(self, device: str) -> Any:
        return Changing(device)


class Objects(Toy):
    """Has a spec that is no plain data."""

    def spec(self) -> dict[str, Any]:
        return {"sides": (1, 2)}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Mixing, "beside another"),
        (Mapped, "overwritten"),
        (Normalising, "alone"),
        (Writing, "its inputs"),
        (Changing, "another device"),
        (Objects, "come back from JSON"),
    ],
)
def test_the_laws_catch_an_adapter_that_breaks_them(wrong: type[Toy], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_adapter(AdapterCase(wrong, TOYS, X))


def test_the_laws_catch_dropout_left_on() -> None:
    class Wet(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(x), 0.5, training=True)

    def build() -> nn.Module:
        return Wet(3, 50)

    with pytest.raises(AssertionError, match="two predictions"):
        check_adapter(AdapterCase(lambda: TorchModel(build), (state(build, 0), state(build, 1)), X))


# ------------------------------------------------------------------------------------------------------------ functions


def test_a_function_notes_what_it_reads() -> None:
    arrays = linear(0) | {"head/w": np.ones(1), "head/b": np.ones(1), "slot": np.ones(1)}
    model = FunctionModel(affine, ignore=["head/*"])
    weights = model.load(arrays)
    assert model.unread(weights) == ["w", "b", "slot"]
    model.predict(weights, X)
    assert model.unread(weights) == ["slot"]
    assert FunctionModel(affine).unread(weights) == ["head/w", "head/b", "slot"]


@pytest.mark.parametrize(
    "look",
    [
        lambda w: {**w},
        dict,
        lambda w: dict(**w),
        lambda w: [w[name] for name in w],
        lambda w: list(w.items()),
        lambda w: list(w.values()),
        lambda w: [w.get("a"), w.get("b")],
    ],
)
def test_every_way_to_look_is_noted(look: Callable[[Any], Any]) -> None:
    model = FunctionModel(affine)
    weights = model.load({"a": np.ones(1), "b": np.ones(1)})
    look(weights)
    assert model.unread(weights) == []


def test_names_alone_are_not_a_look() -> None:
    model = FunctionModel(affine)
    weights = model.load({"a": np.ones(1), "b": np.ones(1)})
    assert list(weights) == ["a", "b"]
    assert "a" in weights
    assert len(weights) == 2
    assert model.unread(weights) == ["a", "b"]


def test_weights_of_a_function_cannot_be_written_into() -> None:
    weights = FunctionModel(affine).load({"w": np.ones(2)})
    with pytest.raises(ValueError, match="read-only"):
        weights["w"] += 1


def test_declared_variables() -> None:
    model = FunctionModel(affine, {"w": (3, 2), "b": ("bfloat16", [2]), "c": np.zeros((1, 2), "f2"), "s": ()})
    assert model.variables() == (
        Variable("w", None, (3, 2)),
        Variable("b", "bfloat16", (2,)),
        Variable("c", "float16", (1, 2)),
        Variable("s", None, ()),
    )
    for wrong in ("w", {"w": "float32"}, {"w": ("nonsense", (3,))}, ["w", "w"]):
        with pytest.raises(UsageError, match="variables"):
            FunctionModel(affine, wrong)
    with pytest.raises(UsageError, match="cpu"):
        model.on("cuda")


# -------------------------------------------------------------------------------------------------------------- modules


def test_variables_are_those_of_state_dict_and_tied_ones_name_their_owner() -> None:
    variables = TorchModel(Net).variables()
    assert [item.name for item in variables] == list(Net().state_dict())
    assert {item.name: item.tied_to for item in variables if item.tied_to} == {"again.weight": "encode.weight"}
    assert [item.name for item in variables if item.optional] == ["norm.num_batches_tracked"]
    assert variables[0] == Variable("encode.weight", "float32", (4, 3))


def test_a_tied_model_needs_the_owner_only_and_sees_it_in_both_places() -> None:
    model = TorchModel(Net)
    full = saved(0)
    owner = {name: array for name, array in full.items() if name not in {"again.weight", "norm.num_batches_tracked"}}
    assert torch.equal(model.predict(model.load(full), X), model.predict(model.load(owner), X))


def test_predictions_equal_the_module_s_own() -> None:
    arrays = saved(3)
    net = Net()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    net.eval()
    model = TorchModel(Net)
    model.predict(model.load(saved(4)), X)
    with torch.no_grad():
        expected = net(torch.from_numpy(X.copy()))
    found = model.predict(model.load(arrays), X)
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_a_module_that_is_handed_in_is_not_changed() -> None:
    net = Net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = TorchModel(net)
    model.predict(model.load(saved(5)), X)
    assert net.training
    assert next(net.parameters()).requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_dtypes_are_cast_where_no_meaning_is_lost() -> None:
    def build() -> nn.Module:
        return nn.BatchNorm1d(2)

    arrays = state(build, 0)
    model = TorchModel(build)
    value = np.array([0.5, 3.0])
    for dtype in ("float16", "float64", ">f4", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        weights = model.load(arrays | {"weight": value.astype(dtype)})
        assert weights.tensors[0].dtype == torch.float32
        assert weights.tensors[0].tolist() == [0.5, 3.0]
    counted = model.load(arrays | {"num_batches_tracked": np.array([7], np.int32)})
    assert counted.tensors[-1].shape == ()
    for wrong in (np.array([1, 2]), np.array([True, False]), np.ones(3, "f4"), np.ones((1, 2), "f4")):
        with pytest.raises(Mismatch, match="weight"):
            model.load(arrays | {"weight": wrong})
    with pytest.raises(Mismatch, match="bias"):
        model.load({"weight": arrays["weight"]})


def test_inputs_keep_integers_and_take_the_model_s_floats() -> None:
    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return x

    model = TorchModel(Noting)
    weights = model.load({"w": np.ones(1)})
    kinds = {"uint8": torch.uint8, "int64": torch.int64, "bool": torch.bool, "float16": torch.float64}
    for given, expected in kinds.items():
        assert model.predict(weights, np.ones((2, 2), given)).dtype == expected
    fixed = np.arange(4.0).reshape(2, 2)[:, ::-1]
    fixed.flags.writeable = False
    assert model.predict(weights, fixed).tolist() == fixed.tolist()
    assert model.predict(weights, ["text"]) == ["text"]


def test_what_builds_no_module_is_refused() -> None:
    for wrong in ("Net", 3):
        with pytest.raises(UsageError, match="builds a module"):
            TorchModel(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="returned a int"):
        TorchModel(lambda: 3).variables()  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="lazy"):
        TorchModel(lambda: nn.LazyLinear(3)).variables()
    with pytest.raises(UsageError, match="nonsense"):
        TorchModel(Net, device="nonsense")


def test_the_environment_names_the_kernel() -> None:
    found = TorchModel(Net).environment()
    assert found["version"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["interop_threads"] == torch.get_num_interop_threads()
    assert found["float32_matmul"] == "highest"
    assert found["kernel"]
