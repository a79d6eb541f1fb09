"""Both estimators of a metric, from kept columns.

`exact` merges the states of all rows.  `batch_mean` is what an average over batches would have said: rows in the
source's own order, cut at multiples of the batch size, each batch's value averaged.  Neither depends on how the pass
was batched.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.capabilities import capability
from milepost.core.protocols import FastBatches, MeanMetric, Metric, Tabled
from milepost.core.specs import spec_of
from milepost.core.types import Array, Json, Value
from milepost.errors import StoreError, UsageError
from milepost.metrics._states import ExactSums, from_bytes
from milepost.scoring.columns import CHUNK, Scored
from milepost.scoring.intervals import interval_of
from milepost.stats.interval import Interval
from milepost.store.records import number

_FEW = 100
"""So many numbers are averaged quicker without arrays."""


Values = list[dict[str, Json]]
"""The values of one record, as it holds them."""


def exact(scored: Scored, metric: Metric) -> tuple[Values, dict[str, Array]]:
    """Return a metric's exact values, and its tables."""
    state = state_of(scored, metric)
    tabled = capability(metric, Tabled)
    tables = {} if tabled is None else tabled.tables(state)
    return [
        _entry(scored, metric, name, item, *interval_of(scored, metric, name, item))
        for name, item in metric.values(state).items()
    ], tables


def state_of(scored: Scored, metric: Metric) -> Any:
    """Merge the states of all rows: computed from kept columns, or as the pass left them."""
    merged: Any = None
    for state in _states(scored, metric):
        merged = state if merged is None else merged.merge(state)
    if merged is None:
        raise StoreError(f"{metric.headline}: no rows are kept to score")
    return merged


def _states(scored: Scored, metric: Metric) -> Iterator[Any]:
    if not scored.has(metric):
        yield from (from_bytes(data) for data in scored.outcomes.states(digest(spec_of(metric))))
        return
    yield from (metric.state(*chunk) for chunk in scored.chunks(metric.columns))


def batch_mean(scored: Scored, metric: Metric, size: int, whole: Sequence[Mapping[str, Json]]) -> Values:
    """Return a metric's means over batches of `size`; `whole` are its exact values, for the gap."""
    if size < 1:
        raise UsageError(f"a batch mean over batches of {size} rows: expected 1 or more")
    found: dict[str, list[Value]] = {}
    mean = None if scored.weighted else capability(metric, MeanMetric)
    for columns, weights in scored.blocks(metric.columns, max(1, CHUNK // size) * size):
        for name, items in _values_by_batch(metric, mean, columns, weights, size).items():
            found.setdefault(name, []).extend(items)
    entries = []
    for known in whole:
        batches = found[known["metric"]]
        entry = _entry(scored, metric, known["metric"], _mean(batches))
        entry["gap"] = _gap(number(known["value"]), entry["value"], batches, scored.n, size, closed=mean is not None)
        entries.append(entry)
    return entries


def _values_by_batch(
    metric: Metric, mean: MeanMetric | None, columns: dict[str, Array], weights: Array | None, size: int
) -> dict[str, list[Value]]:
    """Return the values of each batch of `size` rows; a plain mean's from one pass over all their contributions."""
    rows = len(next(iter(columns.values())))
    contributions = np.array([np.nan]) if mean is None else mean.contribution(columns)
    if contributions.dtype.kind in "bu":
        totals = np.add.reduceat(contributions.astype(np.int64), np.arange(0, rows, size)).tolist()
        ends = [min(begin + size, rows) - begin for begin in range(0, rows, size)]
        return {metric.headline: [Value(total / count) for total, count in zip(totals, ends, strict=True)]}
    if np.isfinite(contributions).all():
        sums = ExactSums.of(contributions, np.arange(rows) // size, (-(-rows // size),))
        counts = [min(size, rows - begin) for begin in range(0, rows, size)]
        return {metric.headline: [Value(sums.ratio(count, (batch,))) for batch, count in enumerate(counts)]}
    fast = capability(metric, FastBatches)
    if fast is not None:
        return fast.batch_values(columns, weights, size)
    found: dict[str, list[Value]] = {}
    for low in range(0, rows, size):
        cut = slice(low, low + size)
        batch = {name: item[cut] for name, item in columns.items()}
        state = metric.state(batch, None if weights is None else weights[cut])
        for name, item in metric.values(state).items():
            found.setdefault(name, []).append(item)
    return found


def _mean(values: Sequence[Value]) -> Value:
    """Average the batches' values, rounded once; undefined as soon as one of them is."""
    numbers = [item.value for item in values if item.value is not None]
    if len(numbers) < len(values):
        return Value(None, note=f"undefined: {len(values) - len(numbers)} of {len(values)} batches have no value")
    return Value(_average(numbers))


def _average(numbers: Sequence[float]) -> float:
    """Return the mean of some numbers, rounded once."""
    if len(numbers) > _FEW or not all(map(math.isfinite, numbers)):
        return ExactSums.of(np.array(numbers)).ratio(len(numbers))
    ratios = [float(value).as_integer_ratio() for value in numbers]
    bottom = max(divisor for _, divisor in ratios)  # they are powers of two
    return sum(top * (bottom // divisor) for top, divisor in ratios) / (bottom * len(numbers))


def _gap(
    value: float | None, mean: float | None, batches: list[Value], rows: int, size: int, *, closed: bool
) -> dict[str, Json] | None:
    """Return batch mean minus exact, and for a plain mean where it comes from.

    With B batches, N rows and a last batch of r rows, the gap is (1/B - r/N) (mean of the last - mean of the full
    ones).  None where one of the two is undefined or infinite.
    """
    if value is None or mean is None or not (math.isfinite(value) and math.isfinite(mean)):
        return None
    last_rows = rows - (len(batches) - 1) * size
    gap: dict[str, Json] = {"value": mean - value, "batches": len(batches), "last_rows": last_rows}
    if closed:
        last = batches[-1].value
        full = _mean(batches[:-1] if last_rows < size else batches).value if len(batches) > 1 else last
        if last is not None and full is not None:
            share = 1 / len(batches) - last_rows / rows if last_rows < size else 0.0
            gap |= {"last": last, "full": full, "closed_form": share * (last - full) if share else 0.0}
    return gap


def _entry(
    scored: Scored, metric: Metric, name: str, item: Value, interval: Interval | None = None, without: str | None = None
) -> dict[str, Json]:
    """Return a value as a record holds it; `without` says why it has no interval."""
    entry = {
        "metric": name,
        "value": item.value,
        "numerator": item.numerator,
        "denominator": item.denominator,
        "n": scored.n,
        "intervals": [] if interval is None else [interval.plain()],
        "gap": None,
        "note": "; ".join(filter(None, (item.note, without))) or None,
    }
    return entry if name == metric.headline else {**entry, "headline": False}


def record_of(scored: Scored, metric: Metric, spec: Mapping[str, Json], size: int | None = None) -> dict[str, Json]:
    """Return the record of a metric, whose spec is given, without values: of exact ones, or of means over batches."""
    return {
        "schema": 1,
        "metric": spec,
        "estimator": "exact" if size is None else "batch_mean",
        "batch_size": size,
        "coverage": [[0, scored.stop]],
        "size": scored.size,
        "data": scored.name,
        "slice": "all",
        "status": scored.status,
        "direction": metric.direction,
        "values": [],
    }


def counted(values: Values, counts: Mapping[str, Json]) -> Values:
    """Return values with the counts of odd rows (`oddities`), and warnings, beside each."""
    return [{**entry, **counts} for entry in values]


def oddities(scored: Scored) -> dict[str, int | None]:
    """Count the rows with tied and with non-finite scores; None where the task has no such column."""
    counts: dict[str, int | None] = {}
    for name, column in (("tied", "ties"), ("nonfinite", "finite")):
        counts[name] = None
        if column in scored.outcomes.names:
            blocks = scored.column(column)
            counts[name] = sum(int(np.count_nonzero(rows > 0 if name == "tied" else rows == 0)) for rows in blocks)
    return counts
