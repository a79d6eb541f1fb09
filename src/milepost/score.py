"""From kept columns to records: every metric by both estimators, without the model.

`exact` merges the states of all rows.  `batch_mean` is what an average over batches would have said: rows in the
source's own order, cut at multiples of the batch size, each batch's value averaged.  Neither depends on how the pass
was batched.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from milepost.core import Array, Json, Metric, Ordered, Value
from milepost.data.order import make_order
from milepost.errors import StoreError, UsageError
from milepost.plain import digest, spec_of
from milepost.registry import load
from milepost.states import ExactSums, from_bytes
from milepost.stats.wilson import wilson
from milepost.store.columns import ColumnsReader
from milepost.store.store import Store

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Scored:
    """What there is to score: the columns of rows [0, stop) of an evaluation, and of its data."""

    outcomes: ColumnsReader
    data: ColumnsReader
    order: Ordered
    stop: int
    size: int
    name: str

    @property
    def status(self) -> str:
        """`ok` where every row of the data is covered, else how many are."""
        return "ok" if self.stop == self.size else f"partial {self.stop}/{self.size}"

    def columns(self, names: Iterable[str], start: int, stop: int) -> tuple[dict[str, Array], Array | None]:
        """Return columns of positions [start, stop), and the rows' weights."""
        weights = self.data.slice("weight", start, stop) if "weight" in self.data.names else None
        return {name: self._reader(name).slice(name, start, stop) for name in names}, weights

    def gather(self, names: Iterable[str], positions: Array) -> tuple[dict[str, Array], Array | None]:
        """Return columns of some positions, and the rows' weights."""
        weights = self.data.take("weight", positions) if "weight" in self.data.names else None
        return {name: self._reader(name).take(name, positions) for name in names}, weights

    def has(self, metric: Metric) -> bool:
        """Tell whether every column of a metric is kept."""
        return all(name in self.outcomes.names or name in self.data.names for name in metric.columns)

    def _reader(self, name: str) -> ColumnsReader:
        return self.outcomes if name in self.outcomes.names else self.data


def exact(scored: Scored, metric: Metric) -> tuple[dict[str, Json], dict[str, Array]]:
    """Return the record of a metric's exact values, and its tables."""
    state = _state(scored, metric)
    tabled = getattr(metric, "tables", None)
    tables = tabled(state) if tabled is not None else {}
    values = [_entry(scored, name, item, with_interval=True) for name, item in metric.values(state).items()]
    return _payload(scored, metric, values, None), tables


def _state(scored: Scored, metric: Metric) -> Any:
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
    for start in range(0, scored.stop, _CHUNK):
        yield metric.state(*scored.columns(metric.columns, start, min(start + _CHUNK, scored.stop)))


def batch_mean(scored: Scored, metric: Metric, size: int, whole: Mapping[str, Json]) -> dict[str, Json]:
    """Return the record of a metric's mean over batches of `size`; `whole` is the exact record, for the gap."""
    if size < 1:
        raise UsageError(f"a batch mean over batches of {size} rows: expected 1 or more")
    found: dict[str, list[Value]] = {}
    weighted = "weight" in scored.data.names
    closed = hasattr(metric, "contribution") and not weighted
    for columns, weights in _blocks(scored, metric, size):
        for name, items in _values_by_batch(metric, columns, weights, size, mean=closed).items():
            found.setdefault(name, []).extend(items)
    entries = []
    for known in whole["values"]:
        entry = _entry(scored, known["metric"], _mean(found[known["metric"]]), with_interval=False)
        entry["gap"] = _gap(known["value"], entry["value"], found[known["metric"]], scored.stop, size, closed=closed)
        entries.append(entry)
    return _payload(scored, metric, entries, size)


def _blocks(scored: Scored, metric: Metric, size: int) -> Iterator[tuple[dict[str, Array], Array | None]]:
    """Yield the columns of many whole batches of the source's own order at a time, and the rows' weights."""
    rows = None
    if scored.stop < scored.size:  # the rows that are covered, as if they were the whole
        rows = np.sort(scored.order.rows(np.arange(scored.stop)))
    step = max(1, _CHUNK // size) * size
    for begin in range(0, scored.stop, step):
        end = min(begin + step, scored.stop)
        natural = np.arange(begin, end) if rows is None else rows[begin:end]
        yield scored.gather(metric.columns, scored.order.positions(natural))


def _values_by_batch(
    metric: Any, columns: dict[str, Array], weights: Array | None, size: int, *, mean: bool
) -> dict[str, list[Value]]:
    """Return the values of each batch of `size` rows; a plain mean's from one pass over all their contributions."""
    rows = len(next(iter(columns.values())))
    contributions = metric.contribution(columns) if mean else np.array([np.nan])
    if np.isfinite(contributions).all():
        sums = ExactSums.of(contributions, np.arange(rows) // size, (-(-rows // size),))
        counts = [min(size, rows - begin) for begin in range(0, rows, size)]
        return {metric.headline: [Value(sums.ratio(count, (batch,))) for batch, count in enumerate(counts)]}
    # A metric may offer the values of many batches at once, or of one without its state, where that costs less.
    at_once = getattr(metric, "batch_values", None)
    quick: dict[str, list[Value]] | None = at_once(columns, size) if at_once is not None and weights is None else None
    if quick is not None:
        return quick
    values_of = getattr(metric, "values_of", None) or (lambda *rows: metric.values(metric.state(*rows)))
    found: dict[str, list[Value]] = {}
    for low in range(0, rows, size):
        cut = slice(low, low + size)
        batch = {name: item[cut] for name, item in columns.items()}
        for name, item in values_of(batch, None if weights is None else weights[cut]).items():
            found.setdefault(name, []).append(item)
    return found


def _mean(values: Sequence[Value]) -> Value:
    """Average the batches' values, rounded once; undefined as soon as one of them is."""
    numbers = [item.value for item in values if item.value is not None]
    if len(numbers) < len(values):
        return Value(None, note=f"undefined: {len(values) - len(numbers)} of {len(values)} batches have no value")
    return Value(ExactSums.of(np.array(numbers)).ratio(len(numbers)))


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


def _entry(scored: Scored, name: str, item: Value, *, with_interval: bool) -> dict[str, Json]:
    intervals = []
    if with_interval and isinstance(item.numerator, int) and isinstance(item.denominator, int) and item.denominator:
        intervals = [asdict(wilson(item.numerator, item.denominator))]
    return {
        "metric": name,
        "value": item.value,
        "numerator": item.numerator,
        "denominator": item.denominator,
        "n": scored.stop,
        "intervals": intervals,
        "gap": None,
        "note": item.note,
    }


def _payload(scored: Scored, metric: Metric, values: list[dict[str, Json]], size: int | None) -> dict[str, Json]:
    return {
        "schema": 1,
        "metric": spec_of(metric),
        "estimator": "exact" if size is None else "batch_mean",
        "batch_size": size,
        "coverage": [[0, scored.stop]],
        "size": scored.size,
        "data": scored.name,
        "slice": "all",
        "status": scored.status,
        "direction": getattr(metric, "direction", None),
        "values": [item if item["metric"] == metric.headline else {**item, "headline": False} for item in values],
    }


def oddities(scored: Scored) -> dict[str, int | None]:
    """Count the rows with tied and with spoiled scores; None where the task has no such column.

    `constant` is there where every row has the same prediction: that class.
    """
    counts: dict[str, int | None] = {}
    for name, column in (("tied", "ties"), ("spoiled", "finite")):
        counts[name] = None
        if column in scored.outcomes.names:
            total = 0
            for start in range(0, scored.stop, _CHUNK):
                rows = scored.outcomes.slice(column, start, min(start + _CHUNK, scored.stop))
                total += int(np.count_nonzero(rows > 0 if name == "tied" else rows == 0))
            counts[name] = total
    constant = _constant(scored)
    return counts if constant is None else {**counts, "constant": constant}


def _constant(scored: Scored) -> int | None:
    """Return the one class that is predicted for all of several rows, None where there are two, or no such column."""
    if "prediction" not in scored.outcomes.names or scored.stop < 2:  # noqa: PLR2004 - one row says nothing
        return None
    first = int(scored.outcomes.slice("prediction", 0, 1)[0])
    for start in range(0, scored.stop, _CHUNK):
        rows = scored.outcomes.slice("prediction", start, min(start + _CHUNK, scored.stop))
        if (rows != first).any():
            return None
    return first


def records(
    scored: Scored, metrics: Sequence[Metric], sizes: Sequence[int]
) -> Iterator[tuple[dict[str, Json], dict[str, Array]]]:
    """Yield (record, tables) of each metric: exact, and its batch mean for each size where its columns are kept."""
    counts = oddities(scored)
    for metric in metrics:
        whole, tables = exact(scored, metric)
        yield _with(whole, counts), tables
        if scored.has(metric):
            for size in sizes:
                yield _with(batch_mean(scored, metric, size, whole), counts), {}


def _with(payload: dict[str, Json], counts: Mapping[str, Json]) -> dict[str, Json]:
    return {**payload, "values": [{**entry, **counts} for entry in payload["values"]]}


def scored_of(store: Store, key: str, column_set: str, stop: int, order: Ordered | None = None) -> Scored:
    """Open what an evaluation's key has kept; the order comes from the data's description where it is not given."""
    folder = store.evaluation(key)
    spec = folder.spec()
    if spec is None:
        raise StoreError(f"evaluation {key}: the store has no such evaluation")
    dataset = store.dataset(spec["data"])
    described = dataset.spec() or {}
    size = int(described["size"])
    if order is None:
        kind = described["order"]
        order = make_order(kind["kind"], size, kind.get("seed", 0))
    return Scored(folder.parts(column_set).read(), dataset.read(), order, stop, size, spec["data_name"])


def batch_means(store: Store, weights: str, sizes: Sequence[int]) -> list[dict[str, Json]]:
    """Return (and keep) the batch means of every metric on record for some weights, for other batch sizes.

    The model is not asked: this reads kept columns.  A metric that is not registered here, or whose columns are not
    kept, is left out.
    """
    made = []
    for key in store.evaluations():
        folder = store.evaluation(key)
        spec = folder.spec()
        if spec is not None and spec["weights"] == weights:
            for payload in _largest(folder.records.read()):
                for record in _again(store, key, payload, sizes):
                    folder.records.publish(record)
                    made.append(record)
    return made


def _largest(payloads: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Return the exact record of the largest coverage for each metric."""
    best: dict[str, dict[str, Json]] = {}
    for payload in payloads:
        if payload["estimator"] == "exact" and payload["slice"] == "all":
            name = digest(payload["metric"])
            if name not in best or best[name]["coverage"][-1][1] < payload["coverage"][-1][1]:
                best[name] = payload
    return list(best.values())


def _again(store: Store, key: str, payload: dict[str, Json], sizes: Sequence[int]) -> Iterator[dict[str, Json]]:
    try:
        metric = metric_of(payload["metric"])
    except UsageError:
        return
    scored = holding(store, key, metric, payload["coverage"][-1][1])
    if scored is not None:
        counts = oddities(scored)
        for size in sizes:
            yield _with(batch_mean(scored, metric, size, payload), counts)


def metric_of(spec: Mapping[str, Json]) -> Metric:
    """Build a metric from its spec: its registered name and its settings; a UsageError where either does not fit.

    >>> metric_of({"name": "top_k", "k": 3}).headline
    'top3'
    """
    cls = load("metrics", spec["name"])
    settings = {key: tuple(item) if isinstance(item, list) else item for key, item in spec.items()}
    settings = {key: item for key, item in settings.items() if key not in ("name", "version")}
    known = [item.name for item in fields(cls)] if is_dataclass(cls) else []
    for key in settings:
        if key not in known:
            raise UsageError(f"{spec['name']} has no setting {key!r}; it has: {', '.join(known) or 'none'}")
    try:
        made: Metric = cls(**settings)
    except TypeError as error:
        raise UsageError(f"{spec['name']}({settings}): {error}") from error
    return made


def holding(store: Store, key: str, metric: Metric, stop: int | None = None) -> Scored | None:
    """Open what an evaluation has kept of a metric's columns on rows [0, stop), by default on as many as there are.

    None where its columns are not kept, or not on all of these rows.
    """
    widest: Scored | None = None
    for column_set in store.evaluation(key).column_sets():
        scored = scored_of(store, key, column_set, 0)
        covered = scored.outcomes.coverage
        last = covered[0][1] if covered and covered[0][0] == 0 else 0
        if scored.has(metric) and last >= max(stop or 1, widest.stop + 1 if widest else 1):
            widest = replace(scored, stop=last if stop is None else stop)
    return widest


def score_kept(store: Store, weights: str, metrics: Sequence[Metric]) -> list[dict[str, Json]]:
    """Return (and keep) the records of metrics for some weights, on every data set, from kept columns.

    The model is not asked.  Batch means are of the sizes that are on record.  Raises UsageError where an evaluation
    lacks a column that a metric reads, has kept no rows, or has another metric of the same value on record; then
    nothing is kept.
    """
    todo = []
    for key in store.evaluations():
        folder = store.evaluation(key)
        spec = folder.spec()
        if spec is not None and spec["weights"] == weights and folder.column_sets():
            known = folder.records.read()
            sizes = sorted({item["batch_size"] for item in known if item["batch_size"] is not None})
            for metric in metrics:
                _check_names(metric, known)
                scored = holding(store, key, metric)
                if scored is None:
                    raise UsageError(lacking(store, key, metric, spec["data_name"]))
                todo.append((folder, scored, metric, sizes))
    if not todo:
        raise UsageError(f"no outcomes of {weights[:12]} are kept that a metric could be computed from")
    made = []
    for folder, scored, metric, sizes in todo:
        for record, tables in records(scored, [metric], sizes):
            folder.records.publish(record, tables)
            made.append(record)
    return made


def _check_names(metric: Metric, known: Sequence[Mapping[str, Json]]) -> None:
    """Refuse a metric whose value's name is taken by another one, or by the same with other settings."""
    own = spec_of(metric)
    for payload in known:
        if payload["metric"] != own and metric.headline in {entry["metric"] for entry in payload["values"]}:
            raise UsageError(
                f"{metric.headline} is on record as {payload['metric']}; {own} would give another value of that name"
            )


def lacking(store: Store, key: str, metric: Metric, data: str) -> str:
    """Say which column of a metric an evaluation has not kept, and what to do about it."""
    folder = store.evaluation(key)
    opened = [scored_of(store, key, name, 0) for name in folder.column_sets()]
    names = sorted({name for scored in opened for name in (*scored.outcomes.names, *scored.data.names)})
    absent = [name for name in metric.columns if name not in names]
    if not absent:
        return f"{metric.headline} on {data}: no rows of {', '.join(metric.columns)} are kept from the first one on"
    return (
        f"{metric.headline} reads the column {absent[0]!r}, which is not kept on {data} (kept: {', '.join(names)}); "
        "add the metric to the evaluation, or set Evaluation(keep='all'), and run it again: this needs the model"
    )
