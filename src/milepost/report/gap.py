"""Why the mean of batch means differs from the exact value, in words and in numbers.

With n rows in m batches of b rows, the last of them r rows short or not, and with the means F of all full batches and L
of the last one:

    exact      = ((n - r) F + r L) / n
    batch mean = ((m - 1) F + L) / m
    gap        = batch mean - exact = (L - F) (1/m - r/n)

A record of a batch mean brings these numbers (`gap`); where it does not, F and L follow from the two values.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milepost.report._numbers import number
from milepost.report.table import as_number

_NOTHING = 1e-12
_PLACES = 6


@dataclass(frozen=True, slots=True)
class Gap:
    """The parts of the closed form; `full` and `last` are the means F and L, None where they do not follow."""

    gap: float
    batches: int
    batch_size: int
    last_rows: int
    n: int
    full: float | None
    last: float | None


def closed_form(exact: Mapping[str, Any], batch_mean: Mapping[str, Any]) -> Gap | None:
    """Take two records of one metric apart; None where one of them is undefined or there are no rows.

    `full` and `last` are given only where the exact value is a mean over all n rows, each counting once.

    >>> exact = {"value": 299 / 360, "denominator": 360, "n": 360}
    >>> found = closed_form(exact, {"value": (298 / 359 + 1) / 2, "batch_size": 359})
    >>> found.batches, found.last_rows, round(found.gap, 6), round(found.last, 6)
    (2, 1, 0.084486, 1.0)
    """
    value, mean = as_number(exact.get("value")), as_number(batch_mean.get("value"))
    size = batch_mean.get("batch_size")
    n = exact.get("n")
    if value is None or mean is None or not size or not n or not math.isfinite(value) or not math.isfinite(mean):
        return None
    told = batch_mean.get("gap")
    if told:
        full, last = as_number(told.get("full")), as_number(told.get("last"))
        return Gap(mean - value, told["batches"], size, told["last_rows"], n, full, last)
    batches = -(-n // size)
    rows = n - (batches - 1) * size
    full = last = None
    if exact.get("denominator") == n and batches > 1 and rows < size:
        last = (size * batches * mean - n * value) / (size - rows)
        full = (batches * mean - last) / (batches - 1)
    return Gap(mean - value, batches, size, rows, n, full, last)


def explain(exact: Mapping[str, Any], batch_mean: Mapping[str, Any]) -> str:
    """Say in a sentence why the two values of one metric differ, or why they do not.

    >>> exact = {"value": 299 / 360, "denominator": 360, "n": 360}
    >>> print(explain(exact, {"value": (298 / 359 + 1) / 2, "batch_size": 359}))
    the last batch of 1 row counts like 359: (1.000000 - 0.830084) x (1/2 - 1/360) = +0.084486
    """
    found = closed_form(exact, batch_mean)
    if found is None:
        return "no gap is defined, as one of the two values is undefined or infinite"
    if found.batches == 1:
        return "no gap: all rows are in one batch"
    closed = found.full is not None and found.last is not None
    if found.last_rows == found.batch_size and (closed or exact.get("denominator") == found.n):
        return "no gap: every batch has the same number of rows"
    if found.full is not None and found.last is not None:
        if abs(found.gap) < _NOTHING:
            return "no gap: the last batch has the same mean as the others"
        return _words(found, found.full, found.last)
    return (
        f"gap {found.gap:+.{_PLACES}f}: the mean of {found.batches} values, each of {found.batch_size} rows or fewer; "
        "the exact value is not a plain mean over all rows, so there is no closed form"
    )


def _words(found: Gap, full: float, last: float) -> str:
    rows = "1 row" if found.last_rows == 1 else f"{found.last_rows} rows"
    return (
        f"the last batch of {rows} counts like {found.batch_size}: "
        f"({number(last, _PLACES)} - {number(full, _PLACES)}) x "
        f"(1/{found.batches} - {found.last_rows}/{found.n}) = {found.gap:+.{_PLACES}f}"
    )
