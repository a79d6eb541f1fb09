"""Which entry of a collated batch is what: inputs, labels, weights, ids, slices, groups; and whether they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from milepost.core.types import Array, Batch
from milepost.data._examples import Examples, checked
from milepost.data._labels import Labelling
from milepost.data._slices_groups import Slices, as_groups, as_slices, cut, slice_name
from milepost.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Names:
    """Which entries of dict items are what; slices and groups may be values instead, one an item."""

    inputs: str | Sequence[str] | None
    label: str | None
    weights: str | None = None
    mask: str | None = None
    ids: str | None = None
    slices: tuple[str, ...] = ()
    groups: str | None = None
    slice_values: Slices | None = None
    group_values: Array | None = None

    @classmethod
    def of(cls, inputs: str | Sequence[str] | None, label: str | None, more: Mapping[str, Any]) -> "Names":
        """Separate names of entries from values among a source's parameters."""
        slices, groups = more.get("slices"), more.get("groups")
        if not (slices is None or isinstance(slices, Mapping | Sequence)):
            raise UsageError(
                f"slices is a {type(slices).__name__}; expected the keys that hold the slices in "
                'each dict item, such as slices=("country",), or a dict of slice names to one value per item'
            )
        given = isinstance(slices, Mapping)
        entries = () if slices is None or given else (slices,) if isinstance(slices, str) else slices
        return cls(
            inputs,
            label,
            more.get("weights"),
            more.get("mask"),
            more.get("ids"),
            tuple(map(slice_name, entries)),
            groups if isinstance(groups, str) else None,
            as_slices(slices) if given else None,
            None if groups is None or isinstance(groups, str) else as_groups(groups),
        )

    def taken(self, rows: Array) -> "Names":
        """Return the same for some of the items: values, one an item, are those of these."""
        values = cut(self.slice_values, rows)
        groups = None if self.group_values is None else self.group_values[rows]
        return replace(self, slice_values=values, group_values=groups)

    def batch(self, found: Any, where: str) -> Batch:
        """Return what a collate function gave as a batch that is not checked yet."""
        if isinstance(found, Mapping):
            return self._entries(found, where)
        entries = (self.inputs, self.label, self.weights, self.ids, self.groups, self.mask, *self.slices)
        if any(item is not None for item in entries):
            raise DataError(
                f"{where}: inputs=, label=, weights=, ids=, slices= and groups= name entries of dicts; found "
                f"{_shown(found)}"
            )
        if isinstance(found, tuple | list) and len(found) in {2, 3}:
            # Collating text gives a tuple; as a list it is one column, and the check of dtypes names what is wrong.
            labels: Any = list(found[1]) if isinstance(found[1], tuple) else found[1]
            return Batch(found[0], labels, found[2] if len(found) == 3 else None)  # noqa: PLR2004 - with weights
        raise DataError(f"{where}: expected (inputs, label), (inputs, label, weight) or a dict; found {_shown(found)}")

    def _entries(self, found: Mapping[str, Any], where: str) -> Batch:
        keys = sorted(map(str, found))
        if self.inputs is None or self.label is None:
            raise DataError(f"{where}: items are dicts with {keys}; name the entries: inputs=name or names, label=name")
        single = isinstance(self.inputs, str)
        names = [self.inputs] if isinstance(self.inputs, str) else list(self.inputs)
        for name in (*names, self.label, self.weights, self.ids, self.groups, self.mask, *self.slices):
            if name is not None and name not in found:
                raise DataError(f"{where}: unknown entry {name!r}; available: {', '.join(keys)}")
        inputs = found[names[0]] if single else {name: found[name] for name in names}
        others = (self.weights, self.mask, self.ids, self.groups)
        weights, mask, ids, groups = (None if name is None else found[name] for name in others)
        slices = {name: found[name] for name in self.slices} or None
        return Batch(inputs, found[self.label], weights, mask, ids, slices, groups)


def refuse_turned(found: Any, names: Names, where: str) -> None:
    """Refuse inputs that PyTorch's collate function made of lists of numbers: one array a position, not one a row."""
    if isinstance(found, Mapping):
        wanted = [names.inputs] if isinstance(names.inputs, str) else names.inputs or ()
        inputs = [found.get(name) for name in wanted]
    else:
        inputs = [found[0]] if isinstance(found, tuple | list) and len(found) in {2, 3} else []
    if any(isinstance(item, list) and item and isinstance(item[0], np.ndarray) for item in inputs):
        raise DataError(
            f"{where}: the items' inputs are lists of numbers, which PyTorch's collate function turns around, one "
            "array a position; let items hold arrays or tensors: a Hugging Face data set gives them by "
            '.with_format("torch")'
        )


def checked_items(found: Any, names: Names, rows: list[int], labelling: Labelling) -> Examples:
    """Check what a collate function gave for some rows, and turn its labels into the model's classes."""
    where = f"item {rows[0]}" if len(rows) == 1 else f"items {rows[0]}, {rows[1]}, ..."
    batch = names.batch(found, where)
    examples = checked(batch, where, labelling, rows)
    if len(batch.labels) != len(rows):
        raise DataError(
            f"{where}: the collate function gave {len(batch.labels)} rows for {len(rows)} items: it must neither drop "
            "items (such as None for those that could not be read) nor add any, for every row counts; mend the items, "
            "or leave them out beforehand with torch.utils.data.Subset"
        )
    if len(examples) != len(rows):
        raise DataError(
            f"{where}: weights: expected numbers above 0; found 0: leave rows out with torch.utils.data.Subset"
        )
    return examples


def _shown(found: Any) -> str:
    kind = type(found).__name__
    return f"a {kind} of {len(found)}" if isinstance(found, tuple | list | Mapping) else f"a {kind}"
