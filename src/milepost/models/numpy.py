"""A model that is a plain function of named NumPy arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from milepost.core.types import Array, Json, Variable
from milepost.errors import UsageError
from milepost.models._values import shared

Declared = Sequence[str | Variable] | Mapping[str, Any]


class Weights(dict[str, Array]):
    """Arrays by name, read-only, that note which of them were looked at.

    >>> weights = Weights({"a": np.ones(2), "b": np.ones(2)})
    >>> float(weights["a"].sum()), sorted(weights.read)
    (2.0, ['a'])
    """

    __slots__ = ("read",)

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.read.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; being overridden, it makes `**weights` and `dict(weights)` use `__getitem__`."""
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """Return an array and note its name, or the default."""
        self.read.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        """Return names and arrays: all of them count as looked at."""
        self.read.update(self)
        return super().items()

    def values(self) -> Any:
        """Return the arrays: all of them count as looked at."""
        self.read.update(self)
        return super().values()


class FunctionModel:
    """A model that is a function: `predict(weights, inputs) -> outputs`, weights a dict of NumPy arrays by name.

    `variables` says what a checkpoint must restore: names; or a mapping of names to a shape, to `(dtype, shape)`, to an
    example array, or to a `Variable`. Without it the function takes whatever weights the checkpoint holds; then the
    weights note which of them `predict` looks at, and `unread` lists the rest, but for those that match `ignore` (names
    or glob patterns). The arrays are read-only copies: a function that writes into its weights fails instead of
    changing them.

    >>> model = FunctionModel(lambda weights, x: x @ weights["w"] + weights["b"], variables={"w": (2, 3), "b": (3,)})
    >>> weights = model.load({"w": np.ones((2, 3)), "b": np.zeros(3)})
    >>> model.predict(weights, np.array([[1.0, 2.0]]))
    array([[3., 3., 3.]])
    """

    name = "numpy"

    def __init__(
        self,
        predict: Callable[[dict[str, Array], Any], Any],
        variables: Declared | None = None,
        ignore: Iterable[str] = (),
    ) -> None:
        if not callable(predict):
            raise UsageError(
                f"FunctionModel takes a function predict(weights, inputs); found a {type(predict).__name__}"
            )
        if isinstance(ignore, str):
            raise UsageError(f"ignore is a list of names or patterns; found the text {ignore!r}: write [{ignore!r}]")
        self._predict = predict
        self._variables = None if variables is None else _normalised(variables)
        self._ignore = tuple(ignore)

    def variables(self) -> tuple[Variable, ...] | None:
        """Return the declared variables; None where the function takes whatever the checkpoint holds."""
        return self._variables

    def load(self, tensors: Mapping[str, Array]) -> Weights:
        """Copy arrays by name into read-only memory of their own, dtype and shape kept (byte order made native)."""
        return Weights({name: _own(array, copy=shared(name, tensors)) for name, array in tensors.items()})

    def predict(self, weights: Weights, inputs: Any) -> Any:
        """Return what the function returns; its own errors pass through."""
        return self._predict(weights, inputs)

    def unread(self, weights: Weights) -> list[str]:
        """Return, in order, the names that no prediction with these weights looked at, those of `ignore` aside."""
        unread = (name for name in weights if name not in weights.read)
        return [name for name in unread if not any(fnmatchcase(name, pattern) for pattern in self._ignore)]

    def on(self, device: str) -> "FunctionModel":
        """Return itself for "cpu"; any other device is a `UsageError`."""
        if device != "cpu":
            raise UsageError(f"a FunctionModel runs on NumPy, on the cpu; found device {device!r}")
        return self

    def environment(self) -> dict[str, Json]:
        """Return framework, version and device; how many threads the function uses is its own affair (None)."""
        return {"framework": "numpy", "version": np.__version__, "device": "cpu", "threads": None}


def _own(array: Array, *, copy: bool) -> Array:
    own = array.astype(array.dtype.newbyteorder("="), order="C", copy=copy)
    own.flags.writeable = False
    return own


def _normalised(declared: Declared) -> tuple[Variable, ...]:
    if isinstance(declared, str):
        raise UsageError(
            f"variables is a list of names or a mapping; found the text {declared!r}: write [{declared!r}]"
        )
    if isinstance(declared, Mapping):
        found = tuple(_variable(name, value) for name, value in declared.items())
    else:
        found = tuple(item if isinstance(item, Variable) else Variable(item, None, None) for item in declared)
    names = [item.name for item in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"variables: {twice!r} is declared twice")
    return found


def _variable(name: str, value: Any) -> Variable:
    """Read one declaration: a Variable, an array, `(dtype, shape)`, or a shape."""
    if isinstance(value, Variable):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return Variable(name, str(value.dtype), tuple(value.shape))
    try:
        if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], tuple | list):  # noqa: PLR2004
            return Variable(name, str(np.dtype(value[0])), tuple(int(side) for side in value[1]))
        return Variable(name, None, tuple(int(side) for side in value))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"variables[{name!r}] is {value!r}; expected a shape such as (3, 4), a pair such as ('float32', (3, 4)), "
            "an array or a Variable"
        ) from error
