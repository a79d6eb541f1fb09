"""Rows that a data set holds twice: what a run warns of, and `show` repeats beside the values."""

from milepost.store.datasets import Dataset

_DOUBLED = 0.01
"""The share of repeated rows that is worth a word: a few equal ones are common, and change little."""


def doubled_rows(dataset: Dataset, size: int) -> str | None:
    """Return a warning where one row in a hundred or more repeats an earlier one and none has an id."""
    repeats = None if "id" in dataset.read().names else dataset.checksums.repeats(size)
    if not repeats or repeats < _DOUBLED * size:
        return None
    return (
        f"{repeats:,} of {size:,} rows repeat an earlier row, inputs and label (by a checksum of each); they tell "
        "nothing new, so that intervals are too narrow and tests find too much: is the data there twice? Leave the "
        "copies out, or give ids= if they are examples of their own"
    )
