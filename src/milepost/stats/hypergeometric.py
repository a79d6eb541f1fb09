"""How many of N rows may differ, where none of n that were drawn without replacement does: an exact upper bound."""

from math import comb

from milepost.errors import UsageError

CONFIDENCE = 0.95
"""The level of the bound: it is exceeded in at most one of `_ONE_IN` samples."""

_ONE_IN = 20


def most_unseen(size: int, drawn: int) -> int:
    """Return the largest K such that `drawn` of `size` rows miss all of K marked ones in more than 5 % of samples.

    That is the one-sided 95 % bound of the hypergeometric distribution for an observed 0 (Clopper and Pearson's way):
    whatever number of rows is marked, fewer than 5 % of samples show none of them while that number is above the bound.
    Exact: P(0) = C(size - K, drawn) / C(size, drawn) is compared in whole numbers.

    Raises UsageError unless 0 < drawn <= size.

    >>> most_unseen(10_000, 1_024), most_unseen(10**6, 1_024), most_unseen(500, 500)
    (27, 2919, 0)
    """
    if not 0 < drawn <= size:
        raise UsageError(f"a sample of {drawn} rows of {size}: expected from 1 to {size}")
    samples = comb(size, drawn)
    low, high = 0, size - drawn  # with more marked rows than are left out, one of them is always drawn
    while low < high:
        middle = (low + high + 1) // 2
        if _ONE_IN * comb(size - middle, drawn) > samples:
            low = middle
        else:
            high = middle - 1
    return low
