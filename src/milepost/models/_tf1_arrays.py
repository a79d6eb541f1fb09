"""From NumPy arrays to what a TensorFlow 1 graph is fed: copied where it stays, and no number changed silently."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from milepost._internal.dtypes import is_float
from milepost.core.types import Array
from milepost.errors import DataError, Mismatch
from milepost.models._tf1_graph import Partition, Slot
from milepost.models._values import array_for, shared


def partitions_of(slot: Slot, tensors: Mapping[str, Array]) -> Iterator[tuple[Partition, Array]]:
    """Yield what goes into each partition of a variable, in memory of its own; Mismatch where it does not fit."""
    variable = slot.variable
    array, copy = np.asarray(array_for(variable, tensors)), shared(variable.name, tensors)
    for partition in slot.partitions:
        wanted = np.dtype(variable.dtype)
        alike = array.dtype == wanted or _kind(array.dtype) == _kind(wanted)
        cast = _cast(array[partition.where], wanted, copy=copy) if alike else None
        if cast is None:
            raise Mismatch(
                f"variable {variable.name!r} has dtype {wanted}; found {array.dtype}, which does not convert to it"
            )
        yield partition, cast


def fitted(name: str, value: Any, fed: Any) -> Array:
    """Return the rows of an input as its placeholder takes them; DataError where they do not fit."""
    array = np.asarray(value)
    cast = _cast(array, np.dtype(fed.dtype.as_numpy_dtype), copy=False)
    if cast is None or not fed.shape.is_compatible_with(array.shape):
        raise DataError(
            f"the graph's input {name!r} is {fed.dtype.name} {fed.shape}; the data gives {array.dtype} {array.shape}"
        )
    return cast


def _cast(array: Array, dtype: np.dtype[Any], *, copy: bool) -> Array | None:
    """Return an array in a dtype, native and contiguous; None where numbers would not stay what they are.

    Floats are rounded to any width, as they are everywhere; integers must stay the same.
    """
    if dtype.kind == "O":  # strings
        return array.astype(object) if array.dtype.kind in "SUO" else None
    exact = array.dtype == dtype or np.can_cast(array.dtype, dtype, "safe")
    if exact or (is_float(array.dtype) and is_float(dtype)):
        return np.array(array, dtype, order="C", copy=True if copy else None)
    if array.dtype.kind not in "iu" or dtype.kind == "b":
        return None
    made = array.astype(dtype)
    return made if np.array_equal(made.astype(array.dtype), array) else None


def _kind(dtype: np.dtype[Any]) -> str:
    return "f" if is_float(dtype) else dtype.kind.replace("u", "i")
