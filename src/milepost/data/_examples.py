"""Examples: rows of inputs and labels with all that a row may carry, checked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from milepost.core.types import Array, Batch
from milepost.data._columns import (
    Inputs,
    as_ids,
    as_inputs,
    as_known_labels,
    column,
    counted_rows,
    join,
    length,
    same_length,
)
from milepost.data._labels import Labelling
from milepost.data._slices_groups import Slices, as_groups, as_slices, lengths


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows of inputs and labels, and what each may carry beside them."""

    inputs: Inputs
    labels: Array
    weights: Array | None = None
    ids: Array | None = None
    slices: Slices | None = None
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Array | slice) -> "Examples":
        """Copy rows into contiguous arrays of their own, so that no model can write into the source."""
        if isinstance(rows, slice):
            return self._each(lambda array: array[rows].copy(order="C"))
        return self._each(lambda array: np.take(array, rows, axis=0))

    def _each(self, of: Callable[[Array], Array]) -> "Examples":
        def made(item: Any) -> Any:
            if item is None:
                return None
            return {name: of(array) for name, array in item.items()} if isinstance(item, dict) else of(item)

        return Examples(*(made(getattr(self, item.name)) for item in fields(self)))

    def named(self) -> dict[str, Array]:
        """Return the arrays that identify the content, by name: all but slices."""
        inputs = self.inputs if isinstance(self.inputs, dict) else {"": self.inputs}
        named = {f"inputs/{name}": array for name, array in inputs.items()}
        others = {"labels": self.labels, "weights": self.weights, "ids": self.ids, "groups": self.groups}
        return named | {name: array for name, array in others.items() if array is not None}

    def batch(self, start: int, rows: Array, piece: slice = slice(None)) -> Batch:
        """Return a piece of them (views) as a batch at a position of the order, with the rows' natural numbers."""
        of = self._each(lambda array: array[piece])
        return Batch(of.inputs, of.labels, of.weights, None, of.ids, of.slices, of.groups, start, rows)


def checked(batch: Batch, where: str, labelling: Labelling, numbers: Sequence[int] | None = None) -> Examples:
    """Check a batch as a stream or a collate function gave it, and leave out the rows that do not count.

    `where` names it in a `DataError`, `numbers` its rows.  Labels become the model's classes.
    """
    return parsed(batch, labelling, f"{where}: ", numbers).counted


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """All rows that the user gave, the numbers of those that count (None: all), and how many have no class, by why."""

    examples: Examples
    kept: Array | None
    left_out: Mapping[str, int]

    @property
    def counted(self) -> Examples:
        """The rows that count."""
        return self.examples if self.kept is None else self.examples.take(self.kept)


def parsed(batch: Batch, labelling: Labelling, where: str = "", numbers: Sequence[int] | None = None) -> Parsed:
    """Check what the user gave, of any array type, and turn labels into the model's classes."""
    inputs, (found, unknown) = (
        as_inputs(batch.inputs, f"{where}inputs"),
        as_known_labels(batch.labels, f"{where}labels"),
    )
    weights = None if batch.weights is None else column(batch.weights, f"{where}weights", "fiub", "one number")
    weights = None if weights is None else weights.astype(np.float64)
    mask = None if batch.mask is None else column(batch.mask, f"{where}mask", "b", "one boolean")
    ids = None if batch.ids is None else as_ids(batch.ids, f"{where}ids")
    slices = as_slices(batch.slices, f"{where}slices")
    groups = None if batch.groups is None else as_groups(batch.groups, f"{where}groups")
    others: Mapping[str, Array | None] = {"labels": found, "weights": weights, "mask": mask, "ids": ids}
    same_length(length(inputs), {**others, **lengths(slices, groups)}, f"{where}inputs")
    known = numbers if numbers is not None and len(numbers) == len(found) else None
    counted = counted_rows(weights, mask, f"{where}weights", known)
    left_out = labelling.left_out(found, unknown, counted)
    if unknown is not None:
        counted = ~unknown & (True if counted is None else counted)
    labels, counted = labelling.applied(found, counted, f"{where}labels", known)
    kept = None if counted is None or counted.all() else np.flatnonzero(counted)
    return Parsed(Examples(inputs, labels, weights, ids, slices, groups), kept, left_out)


def joined(pieces: Sequence[Examples]) -> Examples:
    """Return the rows of several, one after another; a `DataError` where they do not go together."""
    names = [item.name for item in fields(Examples)]
    return Examples(*(join([getattr(piece, name) for piece in pieces], name) for name in names))


def recut(pieces: Iterable[Examples], size: int) -> Iterator[Examples]:
    """Cut and join pieces so that each has exactly `size` rows, the last one aside."""
    pending: list[Examples] = []
    held = 0
    for piece in pieces:
        first = 0
        while held + len(piece) - first >= size:
            last = first + size - held
            yield joined([*pending, piece.take(slice(first, last))])
            pending, held, first = [], 0, last
        if first < len(piece):
            pending.append(piece.take(slice(first, len(piece))))
            held += len(piece) - first
    if pending:
        yield joined(pending)
