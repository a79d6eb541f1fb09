"""Rows of inputs and labels: what both kinds of source check, gather and join.

Inputs are one array or a dict of arrays by name; every array has one row an example.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from milepost.core.types import LEAST_WEIGHT, MOST_WEIGHT, Array
from milepost.errors import DataError

Inputs = Array | dict[str, Array]


def to_numpy(value: object, what: str) -> Array:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: a {type(value).__name__} does not turn into a NumPy array: {error}") from error


def as_array(value: object, what: str) -> Array:
    """Return a plain NumPy view or copy of an array-like; memory maps stay lazy; a `DataError` names what fails."""
    if isinstance(value, tuple):
        raise DataError(
            f"{what}: found a tuple of {len(value)} values; pass one array, or a dict of arrays by input name"
        )
    array = to_numpy(value, what)
    if array.dtype.hasobject:
        raise DataError(f"{what}: expected numbers, text or bytes of one dtype; found Python objects (dtype object)")
    if array.ndim == 0:
        raise DataError(f"{what}: expected one row an example; found a single value without a first axis")
    return array


def as_inputs(value: object, what: str = "inputs") -> Inputs:
    if not isinstance(value, Mapping):
        return as_array(value, what)
    if not value:
        raise DataError(f"{what}: the dict holds no array")
    found = {str(name): as_array(item, f"{what}[{name!r}]") for name, item in value.items()}
    lengths = {name: len(item) for name, item in found.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{what}: arrays of one dict have one length; found {lengths}")
    return found


def as_known_labels(value: object, what: str = "labels") -> tuple[Array, Array | None]:
    """Return labels as `as_labels` does, and which rows have none, because theirs is None; these hold any label."""
    listed = value.tolist() if isinstance(value, np.ndarray) and value.dtype.hasobject else value
    if not isinstance(listed, list | tuple) or all(item is not None for item in listed):
        return as_labels(value, what), None
    known = next((item for item in listed if item is not None), 0)
    unknown = np.array([item is None for item in listed])
    return as_labels([known if item is None else item for item in listed], what), unknown


def as_labels(value: object, what: str = "labels") -> Array:
    """Return labels in their own dtype: integers, booleans, or floating rows of several numbers, which a task may know.

    One floating number a row is a `DataError`, never rounded.
    """
    labels = as_array(value, what)
    if labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and labels.ndim > 1):
        return labels
    unknown = int(np.isnan(labels).sum()) if labels.dtype.kind == "f" else 0
    nan = f", NaN at {unknown} of {len(labels)} rows: leave these out, with mask= or beforehand" if unknown else ""
    raise DataError(
        f"{what}: expected integers; found dtype {labels.dtype}{nan}; "
        "if they are class numbers, convert them with labels.astype('int64')"
    )


def column(value: object, what: str, kinds: str, expected: str) -> Array:
    """Return one value a row, of these kinds of dtype; `expected` says it in a `DataError`."""
    array = as_array(value, what)
    if array.ndim != 1 or array.dtype.kind not in kinds:
        raise DataError(f"{what}: expected {expected} a row; found dtype {array.dtype}, shape {array.shape}")
    return array


def as_ids(value: object, what: str = "ids") -> Array:
    given = value.tolist() if isinstance(value, np.ndarray) and value.dtype.hasobject else value
    return column(given, what, "iuUS", "one integer or text")


def counted_rows(
    weights: Array | None, mask: Array | None, what: str = "weights", rows: Sequence[int] | None = None
) -> Array | None:
    """Return which rows count (mask True, weight above 0), or None where all do; `rows` are their numbers for messages.

    Weights of rows that the mask removes may hold anything; the others are 0 or from 1e-60 to 1e60, where weighted sums
    are exact, else `DataError`.
    """
    if weights is None:
        return mask
    counted = np.ones(len(weights), bool) if mask is None else mask
    wrong = np.flatnonzero(counted & (weights != 0) & ~((weights >= LEAST_WEIGHT) & (weights <= MOST_WEIGHT)))
    if len(wrong):
        found, row = weights[wrong[0]], wrong[0] if rows is None else rows[wrong[0]]
        scale = "; multiply all weights by one number: only their ratios count" if 0 < found < np.inf else ""
        raise DataError(f"{what}: expected 0, or numbers from 1e-60 to 1e60; found {found} at row {row}{scale}")
    return np.asarray(counted & (weights > 0))


def length(inputs: Inputs) -> int:
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def same_length(rows: int, others: Mapping[str, Array | None], what: str = "inputs") -> None:
    """Raise a `DataError` that names both lengths where an array has another number of rows than the inputs."""
    for name, array in others.items():
        if array is not None and len(array) != rows:
            raise DataError(f"{what} have {rows} rows but {name} have {len(array)}; every example needs one of each")


def join(pieces: Sequence[Any], what: str) -> Any:
    """Concatenate arrays, or dicts of arrays, along the first axis; None throughout stays None.

    Pieces that differ in kind, dtype or row shape are a `DataError`: joining them would change some of them.
    """
    first = pieces[0]
    if any(_kind(piece) != _kind(first) for piece in pieces):
        raise DataError(f"{what}: batches of one stream differ: {sorted({_kind(piece) for piece in pieces})}")
    if first is None or len(pieces) == 1:
        return first
    if isinstance(first, dict):
        return {name: join([piece[name] for piece in pieces], f"{what}[{name!r}]") for name in first}
    return np.concatenate(pieces)


def _kind(piece: Any) -> str:
    if piece is None:
        return "absent"
    if isinstance(piece, dict):
        return f"dict of {sorted(piece)}"
    # The width of text differs from batch to batch and is widened without loss.
    dtype = piece.dtype.kind if piece.dtype.kind in "US" else piece.dtype
    return f"{dtype} rows of shape {piece.shape[1:]}"
