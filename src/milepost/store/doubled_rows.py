"""Rows that a data set holds twice: what a run warns of, and `show` repeats beside the values."""

from milepost.store.datasets import Dataset

_DOUBLED = 0.01
"""The share of repeated rows that is worth a word: a few equal ones are common, and change little."""


def doubled_rows(dataset: Dataset, size: int) -> str | None:
    """Return a warning where one row in a hundred or more repeats an earlier one and none has an id.

    Copies within a group do no harm: intervals and tests count the group once.
    """
    columns = dataset.read()
    if "id" in columns.names:
        return None
    groups = columns.slice("group", 0, size) if "group" in columns.names else None
    repeats = dataset.checksums.repeats(size, groups)
    if not repeats or repeats < _DOUBLED * size:
        return None
    return (
        f"{repeats:,} of {size:,} rows repeat an earlier row, inputs and label (by a checksum of each); they tell "
        "nothing new, so that intervals are too narrow and tests find too much: is the data there twice? Leave the "
        "copies out, put them into one of groups=, or give ids= if they are examples of their own"
    )
