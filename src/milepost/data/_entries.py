"""Which part of a collated batch is what: inputs, labels, weights, ids; and whether they fit together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milepost.core import Array
from milepost.data._rows import Inputs, as_ids, as_inputs, as_labels, as_weights, length, same_length
from milepost.errors import DataError


@dataclass(frozen=True, slots=True)
class Names:
    """Which entries of dict items are what."""

    inputs: str | Sequence[str] | None
    label: str | None
    weights: str | None
    ids: str | None

    def parts(self, found: Any, where: str) -> tuple[Any, Any, Any, Any]:
        """Return inputs, labels, weights and ids of what a collate function gave."""
        if isinstance(found, Mapping):
            return self._entries(found, where)
        if any(item is not None for item in (self.inputs, self.label, self.weights, self.ids)):
            raise DataError(f"{where}: inputs=, label=, weights= and ids= name entries of dicts; found {_shown(found)}")
        if isinstance(found, tuple | list) and len(found) in {2, 3}:
            # Collating text gives a tuple; as a list it is one column, and the check of dtypes says what is wrong.
            labels = list(found[1]) if isinstance(found[1], tuple) else found[1]
            return found[0], labels, (found[2] if len(found) == 3 else None), None  # noqa: PLR2004 - with weights
        raise DataError(f"{where}: expected (inputs, label), (inputs, label, weight) or a dict; found {_shown(found)}")

    def _entries(self, found: Mapping[str, Any], where: str) -> tuple[Any, Any, Any, Any]:
        keys = sorted(map(str, found))
        if self.inputs is None or self.label is None:
            raise DataError(
                f"{where}: items are dicts with {keys}; say which is what: "
                "TorchLoader(..., inputs=name or names, label=name)"
            )
        single = isinstance(self.inputs, str)
        names = [self.inputs] if isinstance(self.inputs, str) else list(self.inputs)
        for name in (*names, self.label, self.weights, self.ids):
            if name is not None and name not in found:
                raise DataError(f"{where}: no entry is named {name!r}; there are {keys}")
        inputs = found[names[0]] if single else {name: found[name] for name in names}
        others = (None if name is None else found[name] for name in (self.weights, self.ids))
        return (inputs, found[self.label], *others)


@dataclass(frozen=True, slots=True)
class Piece:
    """A batch, checked."""

    inputs: Inputs
    labels: Array
    weights: Array | None
    ids: Array | None


def checked(found: Any, names: Names, rows: list[int]) -> Piece:
    """Check what a collate function gave for some rows."""
    where = f"item {rows[0]}" if len(rows) == 1 else f"items {rows[0]}, {rows[1]}, ..."
    inputs, labels, weights, ids = names.parts(found, where)
    piece = Piece(
        as_inputs(inputs, f"{where}: inputs"),
        as_labels(labels, f"{where}: labels"),
        None if weights is None else as_weights(weights, f"{where}: weights"),
        None if ids is None else as_ids(ids, f"{where}: ids"),
    )
    others = {"labels": piece.labels, "weights": piece.weights, "ids": piece.ids}
    same_length(length(piece.inputs), others, f"{where}: inputs")
    if len(piece.labels) != len(rows):
        raise DataError(f"{where}: the collate function gave {len(piece.labels)} rows for {len(rows)} items")
    if piece.weights is not None and not (np.isfinite(piece.weights) & (piece.weights > 0)).all():
        raise DataError(
            f"{where}: weights: expected finite numbers above 0; found {piece.weights.min()}: leave rows out with "
            "torch.utils.data.Subset"
        )
    return piece


def _shown(found: Any) -> str:
    kind = type(found).__name__
    return f"a {kind} of {len(found)}" if isinstance(found, tuple | list | Mapping) else f"a {kind}"
