"""Examples: rows of inputs and labels with all that a row may carry, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from milepost.core.types import Array, Batch
from milepost.data._columns import (
    Inputs,
    as_ids,
    as_inputs,
    as_labels,
    as_mask,
    as_weights,
    counted_rows,
    join,
    kept_rows,
    length,
    same_length,
    take,
    take_rows,
)
from milepost.data._labels import Labelling
from milepost.data._slices_groups import Slices, as_groups, as_slices, cut, lengths


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

        def of(array: Array | None) -> Array | None:
            return None if array is None else take_rows(array, rows)

        slices = None if self.slices is None else {name: take_rows(item, rows) for name, item in self.slices.items()}
        inputs, labels = take(self.inputs, rows), take_rows(self.labels, rows)
        return Examples(inputs, labels, of(self.weights), of(self.ids), slices, of(self.groups))

    def named(self) -> dict[str, Array]:
        """Return the arrays that identify the content, by name: all but slices."""
        inputs = self.inputs if isinstance(self.inputs, dict) else {"": self.inputs}
        named = {f"inputs/{name}": array for name, array in inputs.items()}
        others = {"labels": self.labels, "weights": self.weights, "ids": self.ids, "groups": self.groups}
        return named | {name: array for name, array in others.items() if array is not None}

    def batch(self, start: int, rows: Array, piece: slice = slice(None)) -> Batch:
        """Return a piece of them (views) as a batch at a position of the order, with the rows' natural numbers."""
        inputs = self.inputs
        return Batch(
            {name: item[piece] for name, item in inputs.items()} if isinstance(inputs, dict) else inputs[piece],
            self.labels[piece],
            weights=None if self.weights is None else self.weights[piece],
            ids=None if self.ids is None else self.ids[piece],
            slices=cut(self.slices, piece),
            groups=None if self.groups is None else self.groups[piece],
            start=start,
            rows=rows,
        )


def checked(batch: Batch, where: str, labelling: Labelling, numbers: Sequence[int] | None = None) -> Examples:
    """Check a batch as a stream or a collate function gave it, and leave out the rows that do not count.

    `where` names it in a `DataError`, `numbers` its rows.  Labels become the model's classes.
    """
    inputs, found = as_inputs(batch.inputs, f"{where}: inputs"), as_labels(batch.labels, f"{where}: labels")
    weights = None if batch.weights is None else as_weights(batch.weights, f"{where}: weights")
    mask = None if batch.mask is None else as_mask(batch.mask, f"{where}: mask")
    ids = None if batch.ids is None else as_ids(batch.ids, f"{where}: ids")
    slices = as_slices(batch.slices, f"{where}: slices")
    groups = None if batch.groups is None else as_groups(batch.groups, f"{where}: groups")
    others: Mapping[str, Array | None] = {"labels": found, "weights": weights, "mask": mask, "ids": ids}
    same_length(length(inputs), {**others, **lengths(slices, groups)}, f"{where}: inputs")
    counted = counted_rows(weights, mask, f"{where}: weights")
    known = numbers if numbers is not None and len(numbers) == len(found) else None
    labels, counted = labelling.applied(found, counted, f"{where}: labels", known)
    examples = Examples(inputs, labels, weights, ids, slices, groups)
    kept = kept_rows(counted)
    return examples if kept is None else examples.take(kept)


def joined(pieces: Sequence[Examples]) -> Examples:
    """Return the rows of several, one after another; a `DataError` where they do not go together."""
    return Examples(
        join([piece.inputs for piece in pieces], "inputs"),
        join([piece.labels for piece in pieces], "labels"),
        join([piece.weights for piece in pieces], "weights"),
        join([piece.ids for piece in pieces], "ids"),
        join([piece.slices for piece in pieces], "slices"),
        join([piece.groups for piece in pieces], "groups"),
    )
