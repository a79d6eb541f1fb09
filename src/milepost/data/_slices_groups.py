"""What a row may carry beside inputs and label: values to slice by, and the group that it belongs to."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from milepost.core.types import Array, Json
from milepost.data._columns import as_array, column, to_numpy
from milepost.data._labels import LabelOptions
from milepost.errors import DataError, UsageError

_NAME = re.compile(r"[^\W\d][\w.-]*")
Slices = dict[str, Array]


class Extras(LabelOptions, total=False):
    """Further parameters of a source whose rows are known by number."""

    slices: Mapping[str, Any]
    groups: Any


def refuse_unknown(more: Mapping[str, Any], known: type, source: str) -> None:
    """Raise a `UsageError` for a keyword that the source does not know; it lists those that it knows."""
    unknown = sorted(more.keys() - known.__annotations__.keys())
    if unknown:
        raise UsageError(
            f"{source}: unknown parameter {', '.join(unknown)}; available: {', '.join(known.__annotations__)}"
        )


def slice_name(name: object) -> str:
    """Check a slice's name: a letter or "_", then letters, digits, "_", "." or "-"."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"the slice name {name!r} is invalid; expected a letter first, then letters, digits, _ . or -")
    return name


def as_slices(value: object, what: str = "slices") -> Slices | None:
    """Return arrays by the slice's name, one integer, boolean or text a row; None where there are none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise DataError(f"{what}: expected a mapping from the slice's name to one value a row; found {_kind(value)}")
    found = {slice_name(name): _values(item, f"{what}[{name!r}]", "iubU") for name, item in value.items()}
    return found or None


def as_groups(value: object, what: str = "groups") -> Array:
    return _values(value, what, "iuU")


def _values(value: object, what: str, kinds: str) -> Array:
    """Return one plain value a row; lists and arrays of objects (text of pandas) only where all are of one kind."""
    expected = "one integer, boolean or text" if "b" in kinds else "one integer or text"
    listed = value if isinstance(value, list | tuple) else None
    if listed is None and not isinstance(value, str | bytes | Mapping):
        found = value if isinstance(value, np.ndarray) else to_numpy(value, what)
        if not found.dtype.hasobject:
            return column(found, what, kinds, expected)
        listed = found.tolist()
    if not isinstance(listed, list | tuple):
        raise DataError(f"{what}: expected {expected} a row; found {_kind(value)}")
    types = set(map(type, listed))
    wrong = {kind for kind in types if not issubclass(kind, int | np.integer | str | np.bool_)}
    if wrong:
        row, item = next((row, item) for row, item in enumerate(listed) if type(item) in wrong)
        raise DataError(f"{what}: expected {expected} a row; found {_kind(item)} ({item!r}) at row {row}")
    families = ("b" if issubclass(kind, bool | np.bool_) else "U" if issubclass(kind, str) else "i" for kind in types)
    if len(set(families)) > 1:
        mixed = sorted(kind.__name__ for kind in types)
        raise DataError(f"{what}: expected values of one kind; found {', '.join(mixed)} mixed")
    return _values(as_array(list(listed), what), what, kinds) if listed else np.empty(0, np.int64)


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def cut(slices: Slices | None, piece: slice | Array) -> Slices | None:
    return None if slices is None else {name: values[piece] for name, values in slices.items()}


def lengths(slices: Slices | None, groups: Array | None) -> dict[str, Array | None]:
    """Return the arrays by the names that a message gives them, to compare their lengths."""
    return {"groups": groups, **{f"values of slice {name!r}": values for name, values in (slices or {}).items()}}


def described(
    names: Mapping[int, str] | None, slices: Sequence[str], groups: Json, notes: Sequence[str] = ()
) -> dict[str, Json]:
    """Return what there is to show of a source, as plain data: class names, slices, groups, notes.

    `groups` is their number, True where it is not known, None where rows do not belong together.
    """
    found: dict[str, Json] = {}
    if names is not None:
        found["classes"] = {str(label): names[label] for label in sorted(names)}
    if slices:
        found["slices"] = list(slices)
    if groups is not None:
        found["groups"] = groups
    if notes:
        found["notes"] = list(notes)
    return found
