"""Keras models: built once, with the weights of several checkpoints loaded.

Keras 3 on any of its back ends, which is chosen as Keras does (`KERAS_BACKEND`), and Keras 2 (`tf_keras`).
"""

import dataclasses
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

import numpy as np

from milepost._internal.dtypes import is_float
from milepost._internal.memory import fits_memory
from milepost.core.types import Array, Json, Variable
from milepost.errors import Mismatch, MissingExtra, UsageError

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingExtra("keras", "keras") from error

from milepost.models._keras_backends import Captured, Stateless
from milepost.models._keras_names import HeldVariable, held_by, numbered_from_first
from milepost.models._values import array_for, repeatable, shared
from milepost.restore.overrides import GivenNames, again, check_names, overrides_of, spec_of_overrides

_RANDOM = ("Dropout", "Noise", "Random")
_STATISTICS = "BatchNormalization"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class KerasWeights:
    """One checkpoint's values, in the order of the model's required variables."""

    values: list[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _BuiltKeras:
    """The model, and what was made of it."""

    model: Any
    variables: tuple[Variable, ...]
    required: tuple[HeldVariable, ...]
    runner: Stateless | Captured
    floating: str | None


class KerasModel:
    """A Keras model: `build` is a class or function without arguments that returns a built model, or a model.

    A model is built once it knows the shapes of its inputs: from an `Input` layer, or because it was called.  For one
    that was not, `inputs` gives them: a shape with None for the rows, `(None, 28, 28)`; a pair of dtype and shape; or
    a dict of those by the inputs' names.  `UsageError` where neither is so.  Layers without names are numbered from
    the first on, whatever was built before; in a model that is handed in they keep the names that they have.

    Variables are those of `model.weights`, under Keras' paths without the model's own name (`dense/kernel`); moving
    statistics are among them.  States of random generators and of metrics are optional.  Each variable knows its names
    in `.weights.h5` and `.keras`, in older `.h5` files, and in TensorFlow's object-based checkpoints.

    What the user says of other names is part of the evaluation's key, and as for `TorchModel`: `restore={"old/kernel":
    "dense/kernel"}` (or scopes, `{"old/": "new/"}`), `rename={r"^block": "stage"}`, `keep=("head/*",)`,
    `ignore=("aux/*",)`; a checkpoint's names are those that `milepost inspect` shows.

    Inputs: a NumPy array goes to the model's only input, a dict to its inputs by name.  Floating inputs are converted
    to the dtype of the model's first floating variable, integers and booleans keep theirs.  Outputs are NumPy arrays on
    TensorFlow, the back end's own elsewhere.  Predictions are made with `training=False`.  Not for use from several
    threads at once.

    >>> model = KerasModel(lambda: keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]))
    >>> weights = model.load({"dense/kernel": np.ones((2, 1)), "dense/bias": np.zeros(1)})
    >>> np.asarray(model.predict(weights, np.array([[1.0, 2.0]]))).tolist()
    [[3.0]]
    """

    name = "keras"

    def __init__(self, build: Any, device: str = "cpu", *, inputs: Any = None, **names: Unpack[GivenNames]) -> None:
        """Keep how to build the model; nothing is built yet.  `device` is "cpu", "gpu" or "gpu:1"."""
        if not callable(build):
            raise UsageError(f"KerasModel takes a class or function that builds a model; found {type(build).__name__}")
        self._build = build
        self._device = _device_of(device)
        self._inputs = inputs
        self.overrides = overrides_of(self.initial, names)
        self._made: _BuiltKeras | None = None

    def variables(self) -> tuple[Variable, ...]:
        """Return weights and moving statistics, then what is optional, then further names of shared ones."""
        return self._built().variables

    def load(self, tensors: Mapping[str, Array]) -> KerasWeights:
        """Copy arrays by variable name to the device, in the model's dtypes; optional and tied names may be absent.

        Floating arrays may be of any width, and integer ones of any that holds the same numbers; anything else, a shape
        that differs, or an absent variable is a `Mismatch`.
        """
        built = self._built()
        with fits_memory("the weights of a checkpoint"):
            return KerasWeights(built.runner.place([_fitted(item.variable, tensors) for item in built.required]))

    def predict(self, weights: KerasWeights, inputs: Any) -> Any:
        """Return the model's outputs for one batch; `OutOfMemory` where they do not fit, other errors pass through."""
        built = self._built()
        with fits_memory("a batch or its outputs"):
            return built.runner.run(weights.values, _cast(inputs, built.floating))

    @property
    def compiles_each_size(self) -> bool:
        """Whether JAX runs the model: TensorFlow's functions soon take any number of rows."""
        return bool(self._built().runner.environment()["backend"] == "jax")

    def assign(self, tensors: Mapping[str, Array]) -> None:
        """Put arrays into the model's own variables, for those who go on with Keras' own calls; as `load` otherwise."""
        built = self._built()
        for item in built.required:
            item.holder.assign(_fitted(item.variable, tensors))

    def release(self) -> None:
        """Let go of the weights that were predicted with last."""
        if self._made is not None:
            self._made.runner.release()

    def suspects(self, weights: KerasWeights, inputs: Any) -> list[str]:  # noqa: ARG002 - the layers show it without a prediction
        """Name the layers that could make a prediction depend on chance or on a batch: by their kind alone."""
        layers = list(_layers(self._built().model))
        chance = [layer.name for layer in layers if any(word in type(layer).__name__ for word in _RANDOM)]
        batch = [layer.name for layer in layers if _STATISTICS in type(layer).__name__]
        listed = [name for names in (chance, batch) for name in names[:3]]
        return [f"is training=True passed to one of {', '.join(listed)}, or to the model itself?"] if listed else []

    def initial(self, names: Iterable[str]) -> dict[str, Array]:
        """Return the values that variables are built with, for those that a checkpoint lacks.

        `build` is called twice under one fixed seed.  UsageError where the values differ, or where a model was handed
        in, which was built before.
        """
        if _is_model(self._build):
            raise UsageError(
                "--allow-missing and keep=(...): KerasModel was handed a model, whose first values may differ from "
                "run to run; hand it the class or function that builds one, which is then called under a fixed seed"
            )
        first, again = ({item.variable.name: _value(item.holder) for item in self._new().required} for _ in range(2))
        return repeatable(names, first, again, "draw them by Keras' initializers, or with a seed")

    def on(self, device: str) -> "KerasModel":
        """Return the same model for another device, with a model of its own where `build` makes one."""
        return KerasModel(self._build, device, inputs=self._inputs, **again(self.overrides))

    def spec(self) -> dict[str, Json]:
        """Return the layers' arithmetic where it is not float32 throughout, and what the user said of names, if any."""
        layers = [self._built().model, *_layers(self._built().model)]
        names = {str(getattr(layer, "compute_dtype", None) or "float32") for layer in layers}
        reduced = sorted(names - {"float32"})
        declared: dict[str, Json] = {"compute": ", ".join(reduced)} if reduced else {}
        declared |= spec_of_overrides(self.overrides)
        return {"name": self.name, **declared} if declared else {}

    def environment(self) -> dict[str, Json]:
        """Return framework, version, back end, device and threads (None where the back end does not say)."""
        built = self._built()
        framework = "keras" if _is_modern(built.model) else "tf_keras"
        version = getattr(sys.modules.get(framework), "__version__", keras.__version__)
        known = {"framework": framework, "version": str(version), "device": self._device, "threads": None}
        return {**known, **built.runner.environment()}

    def _built(self) -> _BuiltKeras:
        if self._made is None:
            made = self._new()
            check_names(self.overrides, [item.name for item in made.variables], "the model")
            self._made = made
        return self._made

    def _new(self) -> _BuiltKeras:
        model = self._build if _is_model(self._build) else self._from_function()
        if self._inputs is not None:
            model(_example(self._inputs))
        _check_built(model, with_inputs=self._inputs is not None)
        modern = _is_modern(model)
        held, tied = held_by(model, modern=modern)
        required = tuple(item for item in held if not item.variable.optional)
        if not required:
            raise UsageError(f"KerasModel: {type(model).__name__} has no weights; there is nothing to restore")
        holders = [item.holder for item in required]
        runner: Stateless | Captured = (
            Stateless(keras, model, holders, self._device) if modern else Captured(model, holders, self._device)
        )
        floating = next((item.variable.dtype for item in required if "float" in str(item.variable.dtype)), None)
        return _BuiltKeras(model, (*(item.variable for item in held), *tied), required, runner, floating)

    def _from_function(self) -> Any:
        """Build under a fixed seed; the user's own generators are left be."""
        with numbered_from_first(), _seeded(), keras.device(self._device):
            made = self._build()
        if not _is_model(made):
            raise UsageError(f"the function given to KerasModel returned {type(made).__name__}; expected a Keras model")
        return made


def _is_model(found: Any) -> bool:
    return not isinstance(found, type) and hasattr(found, "trainable_weights") and hasattr(found, "layers")


def _is_modern(model: Any) -> bool:
    return hasattr(model, "stateless_call")


def _layers(model: Any) -> Iterator[Any]:
    """Yield every layer within a model, however deep."""
    yield from model._flatten_layers(include_self=False)  # noqa: SLF001 - both generations have it, and no other


def _check_built(model: Any, *, with_inputs: bool) -> None:
    unbuilt = [layer.name for layer in (model, *_layers(model)) if not layer.built]
    if unbuilt and not (with_inputs and model.built):
        raise UsageError(
            f"KerasModel: {', '.join(unbuilt[:3])} of {type(model).__name__} is not built: its variables have no "
            "shapes yet; call the model on an example in `build`, start it with an Input layer, or pass the shape of a "
            "row: KerasModel(build, inputs=(None, 28, 28))"
        )


def _example(inputs: Any) -> Any:
    """Return one row of zeros for a description of inputs."""
    if isinstance(inputs, Mapping):
        return {name: _example(item) for name, item in inputs.items()}
    pair = isinstance(inputs, Sequence) and len(inputs) == 2 and isinstance(inputs[1], Sequence)  # noqa: PLR2004 - a pair
    dtype, shape = inputs if pair else ("float32", inputs)
    try:
        sides = [1 if side is None else int(side) for side in shape]
        return np.zeros(sides, np.dtype(getattr(dtype, "as_numpy_dtype", dtype)))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"KerasModel(inputs={inputs!r}): expected a shape such as (None, 28, 28), a pair such as "
            "('int32', (None, 9)), or a dict of those by name"
        ) from error


@contextmanager
def _seeded() -> Iterator[None]:
    """Have Python's and NumPy's generators, which Keras' initializers draw their seeds from, begin at 0 for a while."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that Keras draws from
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the same
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - the same


def _device_of(name: str) -> str:
    """Return a device by Keras' name for it; a `UsageError` says why it cannot be used."""
    found = name.replace("cuda", "gpu")
    if keras.backend.backend() == "torch":
        found = name.replace("gpu", "cuda")  # and no number where none was given: "cpu:0" is another device to PyTorch
    elif ":" not in found:
        found += ":0"
    refusal = f"device {name!r} cannot be used by Keras {keras.__version__} on {keras.backend.backend()}"
    try:
        with keras.device(found):
            placed = str(getattr(keras.ops.convert_to_tensor(0.0), "device", found))
    except Exception as error:
        raise UsageError(f"{refusal}: {next(iter(str(error).splitlines()), type(error).__name__)}") from error
    if keras.backend.backend() == "tensorflow" and not placed.lower().endswith(found):
        raise UsageError(f"{refusal}: TensorFlow has {placed.rpartition('/')[2]} instead")
    return found


def _fitted(variable: Variable, tensors: Mapping[str, Array]) -> Array:
    """Return the array for a variable, copied, in its dtype."""
    array = array_for(variable, tensors)
    wanted = np.dtype(str(variable.dtype))
    copied = array.astype(wanted, order="C", copy=shared(variable.name, tensors))
    if not (is_float(array.dtype) and is_float(wanted)) and array.dtype.newbyteorder("=") != wanted:
        integers = array.dtype.kind in "iu" and wanted.kind in "iu"
        if not integers or not np.array_equal(copied, array):
            raise Mismatch(
                f"variable {variable.name!r} has dtype {wanted}; found {array.dtype}, which does not convert to it"
            )
    return copied


def _value(holder: Any) -> Array:
    value = getattr(holder, "value", holder) if hasattr(holder, "path") else holder
    if type(value).__module__.startswith("tensorflow"):
        return np.array(value.numpy())
    return np.array(keras.ops.convert_to_numpy(holder))


def _cast(value: Any, floating: str | None) -> Any:
    if isinstance(value, Mapping):
        return {name: _cast(item, floating) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cast(item, floating) for item in value)
    if not isinstance(value, np.ndarray):
        return value
    native = value.astype(value.dtype.newbyteorder("="), copy=False)
    if floating is not None and is_float(native.dtype):
        native = native.astype(np.dtype(floating), copy=False)
    return native if native.flags.writeable and native.flags.c_contiguous else native.copy(order="C")
