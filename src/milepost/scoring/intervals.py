"""The interval of a metric's exact value, from counts where rows are independent, else from kept columns.

Sums are exact, or of numbers that do not depend on the rows' order: as the value is, an interval is the same bits for
every order and batch size.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from milepost.core.capabilities import capability
from milepost.core.protocols import Bounded, MeanMetric, Metric, ShareMetric
from milepost.core.types import Array, Columns, Value
from milepost.metrics._states import ExactSums
from milepost.scoring.columns import GROUP_NUMBER, Scored
from milepost.stats.clustered import Spread, group_totals, kish
from milepost.stats.interval import Interval
from milepost.stats.means import t_interval
from milepost.stats.wilson import wilson, wilson_of

_LEAST = 2
"""So many effective rows or groups are needed: one has no spread."""
_FEW = 500
_ANY = (-math.inf, math.inf)


def interval_of(scored: Scored, metric: Metric, name: str, item: Value) -> tuple[Interval | None, str | None]:
    """Return the interval of a metric's value `name`, or None and why there is none where one is to be expected.

    Shares of independent rows get Wilson's interval, shares of rows that have weights or belong to groups Wilson's at
    the effective number of rows, other means over rows Student's.  Grouped data takes some 50 bytes a row meanwhile.
    """
    if item.value is None or not math.isfinite(item.value):
        return None, None
    if item.proportion and item.denominator and not scored.grouped:
        return wilson(int(item.numerator or 0), int(item.denominator)), None
    judged = _judged(metric) if name == metric.headline else None
    if judged is None:
        return None, "no interval: rows belong to groups, and it has no value a row" if item.proportion else None
    if not scored.has(metric):
        return None, f"no interval: its columns ({', '.join(metric.columns)}) are not kept row by row"
    head, _ = next(scored.chunks(metric.columns))
    first = judged(head)
    if first is None:
        return None, None
    with np.errstate(over="ignore", invalid="ignore"):  # then there is no interval
        spread = _spread(_Rows(scored, metric.columns, judged), item.value)
    if spread is None:
        return None, f"no interval: it takes two {'groups' if scored.grouped else 'rows'} of like weight"
    if first[0].dtype.kind == "b":
        return wilson_of(item.value, spread), None
    bounded = capability(metric, Bounded)
    found = t_interval(item.value, spread, within=bounded.range if bounded else _ANY)
    alike = "every row has the same value" if spread.variance == 0.0 else "the values are too large to be squared"
    return found, None if found else f"no interval: {alike}"


def _judged(metric: Metric) -> Callable[[Columns], tuple[Array, Array] | None] | None:
    """Return what gives the rows' values and which of them count, None for a metric that is no mean over rows."""
    mean, share = capability(metric, MeanMetric), capability(metric, ShareMetric)
    if mean is None:
        return None if share is None else share.hits

    def contributions(columns: Columns) -> tuple[Array, Array]:
        values = np.asarray(mean.contribution(columns))
        return values, np.isfinite(values)  # others are not in the mean, which is finite

    return contributions


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that a mean is of, a chunk at a time: their values, weights, and the numbers of their groups."""

    scored: Scored
    columns: Sequence[str]
    judged: Callable[[Columns], tuple[Array, Array] | None]

    def __iter__(self) -> Iterator[tuple[Array, Array | None, Array | None]]:
        names = [*self.columns, GROUP_NUMBER] if self.scored.grouped else self.columns
        for columns, weights in self.scored.chunks(names):
            found, groups = self.judged(columns), columns.get(GROUP_NUMBER)
            if found is not None:
                values, counts = found[0].astype(np.float64), found[1]
                if counts.all():
                    yield values, weights, groups
                else:
                    yield values[counts], _taken(weights, counts), _taken(groups, counts)


def _taken(column: Array | None, rows: Array) -> Array | None:
    return None if column is None else column[rows]


def _spread(rows: _Rows, value: float) -> Spread | None:
    """Return the spread of a mean; None where fewer than two effective units have a part in it."""
    n, total, effective = _weight(rows)
    if effective < _LEAST:
        return None
    if not rows.scored.grouped:
        squares, cubes, variance = _exact_sums(_of_rows(rows, value, total))
        return Spread.of_sums(
            n, effective, squares, cubes, rows=effective, row_variance=variance / total, grouped=False
        )
    errors, weights, variance = _of_groups(rows, value)
    groups = kish(weights)
    if groups < _LEAST:
        return None
    pulls = errors / (total - weights)
    sums = _exact_sums([(pulls**2, pulls**3)])
    return Spread.of_sums(len(pulls), groups, *sums, rows=effective, row_variance=variance / total, grouped=True)


def _weight(rows: _Rows) -> tuple[int, float, float]:
    """Return the number of rows, their weight, and how many rows of equal weight they amount to."""
    n = sum(len(values) for values, _, _ in rows)
    if not rows.scored.weighted:
        return n, float(n), float(n)
    total, squares = _exact_sums((weights, weights * weights) for _, weights, _ in rows if weights is not None)
    return n, total, total * total / squares


def _of_rows(rows: _Rows, value: float, total: float) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the square and the cube of each row's pull, and its weighted squared distance from the mean."""
    for values, weights, _ in rows:
        away = values - value
        errors = away if weights is None else away * weights
        pulls = errors / (total - (1.0 if weights is None else weights))
        squares = pulls * pulls
        yield squares, squares * pulls, errors * away


def _of_groups(rows: _Rows, value: float) -> tuple[Array, Array, float]:
    """Return each group's sum of weighted distances from the mean, its weight, and the sum of all weighted squares."""
    found: list[tuple[Array, Array, Array, Array]] = []
    for values, weights, groups in rows:
        away = values - value
        weight = np.ones(len(away)) if weights is None else weights
        found.append((weight * away, weight, away, np.asarray(groups)))
    errors, weight, away, numbers = (np.concatenate(items) for items in zip(*found, strict=True))
    (variance,) = _exact_sums([(errors * away,)])
    return group_totals(errors, numbers), group_totals(weight, numbers), variance


def _exact_sums(parts: Iterable[tuple[Array, ...]]) -> list[float]:
    """Return the sum of each of several arrays over all parts; slices are often small, and `fsum` is as exact."""
    rest = iter(parts)
    head = list(islice(rest, 2))
    if len(head) == 1 and len(head[0][0]) <= _FEW:
        with suppress(OverflowError, ValueError):  # infinite numbers, or on the way to them
            return [math.fsum(item.tolist()) for item in head[0]]
    totals: list[ExactSums] = []
    for arrays in chain(head, rest):
        found = [ExactSums.of(item) for item in arrays]
        totals = [a.merge(b) for a, b in zip(totals, found, strict=True)] if totals else found
    return [item.value() for item in totals]
