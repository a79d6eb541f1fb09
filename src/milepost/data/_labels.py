"""From the data's labels to the model's classes: a map, an offset, and the classes' names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Array, Json
from milepost.errors import DataError, UsageError


class LabelOptions(TypedDict, total=False):
    """What the user may declare of a source's labels."""

    label_map: Mapping[int, int | None]
    label_offset: int
    class_names: Sequence[str] | Mapping[int, str]
    ignore_index: int


@dataclass(frozen=True, slots=True, eq=False)
class Labelling:
    """What is done to labels before anything else; `classes` is their number where every one was named."""

    table: dict[int, int | None] | None = None
    offset: int = 0
    names: dict[int, str] | None = None
    classes: int | None = None
    ignored: int | None = None

    def spec(self) -> dict[str, Json]:
        """Return what goes into the fingerprint: nothing where labels stay as they are."""
        found: dict[str, Json] = {}
        if self.table is not None:
            found["label_map"] = digest(sorted(self.table.items()))
        if self.offset:
            found["label_offset"] = self.offset
        if self.ignored is not None:
            found["ignore_index"] = self.ignored
        return found

    @property
    def drops(self) -> int | None:
        """A label whose rows are left out, or None."""
        gone = (label for label, to in (self.table or {}).items() if to is None)
        return next(gone, self.ignored)

    def left_out(self, labels: Array, unknown: Array | None, counted: Array | None) -> dict[str, int]:
        """Return how many rows that would count are left out for their label, by what it is."""
        found: dict[str, int] = {}
        rows = np.ones(len(labels), bool) if counted is None else counted
        if unknown is not None:
            found["label None"], rows = int(np.count_nonzero(unknown & rows)), rows & ~unknown
        if self.ignored is not None and labels.ndim == 1:
            gone = labels == self.ignored
            found[f"label {self.ignored} (ignore_index)"], rows = int(np.count_nonzero(gone & rows)), rows & ~gone
        for label in (label for label, to in (self.table or {}).items() if to is None):
            found[f"label {label} (label_map)"] = int(np.count_nonzero((labels == label) & rows))
        return {name: count for name, count in found.items() if count}

    def applied(
        self, labels: Array, counted: Array | None, what: str = "labels", rows: Sequence[int] | None = None
    ) -> tuple[Array, Array | None]:
        """Return the model's classes (int64 where anything changes), and which rows count after those left out.

        `counted` is the mask so far: labels of rows that do not count may be anything. `rows` are the rows' numbers
        for messages. Raises `DataError` for a label that the map does not know, one that becomes negative, and one
        beyond the class names.
        """
        found = labels
        if labels.dtype.kind == "f" and (self.table is not None or self.offset):
            raise DataError(
                f"{what}: {' and '.join(self.spec())} need class numbers; found dtype {labels.dtype}, shape "
                f"{labels.shape}: of one-hot labels pass labels.argmax(axis=1)"
            )
        if self.ignored is not None:
            if labels.ndim > 1:
                raise DataError(
                    f"{what}: ignore_index leaves out rows of one label, but a row has labels of shape "
                    f"{labels.shape[1:]}: only whole rows can be left out"
                )
            counted = (labels != self.ignored) & (True if counted is None else counted)
        if self.table is not None:
            found, counted = self._mapped(self.table, labels, counted, _Place(what, rows))
        if self.offset:
            found = found.astype(np.int64) + self.offset
        if self.table is not None or self.offset:
            wrong = _first(found < 0, counted)
            if wrong is not None:
                raise DataError(
                    f"{_Place(what, rows).of(labels, found < 0, wrong)} becomes {found[wrong].min()} by "
                    f"{' and '.join(self.spec())}; classes are 0 or more"
                )
        self._check_named(found, counted, _Place(what, rows))
        return found, counted

    def _mapped(
        self, table: dict[int, int | None], labels: Array, counted: Array | None, place: "_Place"
    ) -> tuple[Array, Array | None]:
        keys = np.array(sorted(table), np.int64)
        values = np.array([table[key] or 0 for key in keys.tolist()], np.int64)
        where = np.minimum(np.searchsorted(keys, labels.astype(np.int64)), len(keys) - 1)
        unknown = keys[where] != labels
        wrong = _first(unknown, counted)
        if wrong is not None:
            raise DataError(
                f"{place.of(labels, unknown, wrong)} is not in label_map, which knows {len(keys)} labels from "
                f"{keys[0]} to {keys[-1]}; add it, or map it to None to leave such rows out"
            )
        if self.drops is not None:
            if labels.ndim > 1:
                raise DataError(
                    f"{place.what}: label_map leaves out label {self.drops}, but a row has labels of shape "
                    f"{labels.shape[1:]}: only rows of one label can be left out"
                )
            gone = np.array([table[key] is None for key in keys.tolist()])[where]
            counted = ~gone if counted is None else counted & ~gone
        return values[where], counted

    def _check_named(self, labels: Array, counted: Array | None, place: "_Place") -> None:
        # Labels of pixels or words often have a number for "ignore" that no class has.
        if self.classes is None or labels.ndim > 1:
            return
        beyond = labels >= self.classes
        wrong = _first(beyond, counted)
        if wrong is not None:
            raise DataError(
                f"{place.of(labels, beyond, wrong)} has no name: class_names has {self.classes}, for the classes 0 to "
                f"{self.classes - 1}; is a label_offset or label_map missing, or a name?"
            )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where labels stand, for messages."""

    what: str
    rows: Sequence[int] | None

    def of(self, labels: Array, wrong: Array, row: int) -> str:
        """Say the first wrong label of a row, and the row's number."""
        label = labels[row][wrong[row]].reshape(-1)[0] if labels.ndim > 1 else labels[row]
        return f"{self.what}: {label} at row {row if self.rows is None else self.rows[row]}"


def _first(wrong: Array, counted: Array | None) -> int | None:
    """Return the first row that counts in which anything is wrong."""
    if not wrong.any():
        return None
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    found = np.flatnonzero(rows if counted is None else rows & counted)
    return int(found[0]) if len(found) else None


def labelling(options: LabelOptions) -> Labelling:
    """Check what the user declared of labels; raises `UsageError`.

    >>> labelling({"label_map": {3: 0, 5: 1}, "label_offset": 1}).applied(np.array([5, 3, 5]), None)[0].tolist()
    [2, 1, 2]
    """
    table, names = options.get("label_map"), options.get("class_names")
    offset = _whole(options.get("label_offset", 0), "label_offset")
    return Labelling(
        None if table is None else _table(table),
        offset,
        None if names is None else class_names(names),
        len(names) if isinstance(names, Sequence) else None,
        None if options.get("ignore_index") is None else _whole(options["ignore_index"], "ignore_index"),
    )


def label_options(more: Mapping[str, Any]) -> LabelOptions:
    return cast(LabelOptions, {key: more[key] for key in LabelOptions.__annotations__ if key in more})


def named_as(options: LabelOptions, names: Mapping[int, str] | None) -> LabelOptions:
    """Add the names that a data set holds of its own labels, as those of the model's classes; given ones stand.

    >>> named_as({"label_map": {0: 7, 1: None, 2: 7}, "label_offset": 1}, {0: "ant", 1: "bee", 2: "cow"})["class_names"]
    {8: 'ant | cow'}
    """
    if not names or "class_names" in options:
        return options
    made = labelling(options)
    found: dict[int, str] = {}
    for label, name in sorted(names.items()):
        to = label if made.table is None else made.table.get(label)
        if to is not None and to + made.offset >= 0:
            known = found.get(to + made.offset)
            found[to + made.offset] = name if known is None else f"{known} | {name}"
    return {**options, "class_names": found} if found else options


def class_names(names: Sequence[str] | Mapping[int, str]) -> dict[int, str]:
    """Return names by class: a sequence names the classes 0, 1, 2, ...; a mapping those that it holds."""
    if isinstance(names, str) or not isinstance(names, Sequence | Mapping) or not names:
        raise UsageError(f"class_names is {names!r}; expected a sequence of names, or a mapping from class to name")
    items = names.items() if isinstance(names, Mapping) else enumerate(names)
    found = {_whole(label, "a class of class_names"): name for label, name in items}
    wrong = next((name for name in found.values() if not isinstance(name, str)), None)
    if wrong is not None:
        raise UsageError(f"class_names holds {wrong!r}; names are text")
    if min(found) < 0:
        raise UsageError(f"class_names names the class {min(found)}; classes are 0 or more")
    return {label: str(name) for label, name in found.items()}


def _table(table: Mapping[int, int | None]) -> dict[int, int | None]:
    if not isinstance(table, Mapping) or not table:
        raise UsageError(f"label_map is {table!r}; expected a mapping from the data's labels to the model's classes")
    return {
        _whole(label, "a label of label_map"): None if to is None else _whole(to, f"label_map of {label!r}")
        for label, to in table.items()
    }


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool | np.bool_):
        return int(value)
    if not isinstance(value, int | np.integer) or not -(2**62) < value < 2**62:
        raise UsageError(f"{what} is {value!r}; expected an integer")
    return int(value)
