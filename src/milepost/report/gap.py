"""Why the mean of batch means differs from the exact value, in words and in numbers.

With n rows in m batches of b rows, the last of them r rows short or not, and with the means F of all full batches and L
of the last one:

    exact      = ((n - r) F + r L) / n
    batch mean = ((m - 1) F + L) / m
    gap        = batch mean - exact = (L - F) (1/m - r/n)

A record of a batch mean brings these numbers as `gap`; F (`full`) and L (`last`) only where the exact value is a mean
over all n rows, each counting once.
"""

from collections.abc import Mapping
from typing import Any

from milepost.report._numbers import number
from milepost.store.records import number as as_number

_NOTHING = 1e-12
_PLACES = 6


def explain(batch_mean: Mapping[str, Any]) -> str:
    """Say in a sentence why a batch mean differs from the exact value, or why it does not.

    >>> gap = {"value": 0.084486, "batches": 2, "last_rows": 1, "full": 298 / 359, "last": 1.0}
    >>> print(explain({"batch_size": 359, "n": 360, "gap": gap}))
    the last batch of 1 row counts like 359: (1.000000 - 0.830084) x (1/2 - 1/360) = +0.084486
    """
    gap, size = batch_mean.get("gap"), batch_mean["batch_size"]
    if not gap:
        return "no gap is defined, as one of the two values is undefined or infinite"
    full, last = as_number(gap.get("full")), as_number(gap.get("last"))
    batches, rows, value = gap["batches"], gap["last_rows"], gap["value"]
    if batches == 1:
        return "no gap: all rows are in one batch"
    if full is None or last is None:
        return (
            f"gap {value:+.{_PLACES}f}: the mean of {batches} values, each of {size} rows or fewer; "
            "the exact value is not a plain mean over all rows, so there is no closed form"
        )
    if rows == size:
        return "no gap: every batch has the same number of rows"
    if abs(value) < _NOTHING:
        return "no gap: the last batch has the same mean as the others"
    return (
        f"the last batch of {rows} {'row' if rows == 1 else 'rows'} counts like {size}: "
        f"({number(last, _PLACES)} - {number(full, _PLACES)}) x "
        f"(1/{batches} - {rows}/{batch_mean['n']}) = {value:+.{_PLACES}f}"
    )
