"""The rows of one slice."""

from dataclasses import replace

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.scoring.columns import Scored, slices_of
from milepost.scoring.slices import rows_by_label
from milepost.store.store import Store


def on_slice(store: Store, scored: Scored, part: str) -> Scored:
    """Return the rows of one slice, `name=value`, or all for "all"; a UsageError lists those on record."""
    if part == "all":
        return scored
    found: dict[str, Array] = {}
    for name, values in slices_of(store, scored.digest, scored.stop).items():
        found |= rows_by_label(scored, name, values)
    if part not in found:
        raise UsageError(f"--slice {part}: no such slice of these rows is on record; there are: {', '.join(found)}")
    return replace(scored, chosen=found[part])
