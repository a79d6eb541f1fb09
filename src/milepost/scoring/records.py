"""From kept columns to records, without the model: every metric by both estimators, on all rows and by slice."""

from collections.abc import Iterator, Mapping, Sequence

from milepost._internal.serialization import digest
from milepost.core.protocols import Metric
from milepost.core.specs import spec_of
from milepost.core.types import Array, Json
from milepost.errors import UsageError
from milepost.scoring.columns import Scored, holding, lacking, slices_of
from milepost.scoring.estimators import batch_mean, counted, exact, oddities, record_of
from milepost.scoring.metric_spec import metric_of
from milepost.scoring.slices import rows_by_label, slice_records
from milepost.scoring.warnings import warnings_of
from milepost.store.results import Made
from milepost.store.store import Store


def records(
    scored: Scored,
    metrics: Sequence[Metric],
    sizes: Sequence[int],
    slices: Mapping[str, Mapping[str, Array]] | None = None,
) -> Iterator[tuple[dict[str, Json], dict[str, Array]]]:
    """Yield (record, tables) of each metric: exact, and its batch mean for each size where its columns are kept.

    Then the same by slice: `slices` are positions by the slice's name and label.
    """
    odd, warnings = oddities(scored), warnings_of(scored, metrics)
    for metric in metrics:
        counts, spec = {**odd, "warnings": warnings[metric.headline] or None}, spec_of(metric)
        whole, tables = exact(scored, metric)
        yield {**record_of(scored, metric, spec), "values": counted(whole, counts)}, tables
        if scored.has(metric):
            for size in sizes:
                means = counted(batch_mean(scored, metric, size, whole), counts)
                yield {**record_of(scored, metric, spec, size), "values": means}, {}
    for name, rows in (slices or {}).items():
        for payload in slice_records(scored, metrics, sizes, name, rows):
            yield payload, {}


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
            found = [
                record for payload in _largest(folder.results.read()) for record in _again(store, key, payload, sizes)
            ]
            folder.results.publish((record, {}) for record in found)
            made += found
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
        counts = {**oddities(scored), "warnings": warnings_of(scored, [metric])[metric.headline] or None}
        for size in sizes:
            means = counted(batch_mean(scored, metric, size, payload["values"]), counts)
            yield {**record_of(scored, metric, payload["metric"], size), "values": means}
        for name, values in slices_of(store, scored.digest, scored.stop).items():
            rows = rows_by_label(scored, name, values)
            for record in slice_records(scored, [metric], sizes, name, rows):
                if record["estimator"] != "exact":
                    yield record


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
            known = folder.results.read()
            sizes = sorted({item["batch_size"] for item in known if item["batch_size"] is not None})
            held = []
            for metric in metrics:
                _check_names(metric, known)
                scored = holding(store, key, metric)
                if scored is None:
                    raise UsageError(lacking(store, key, metric, spec["data_name"]))
                held.append((scored, metric))
            todo.append((folder, held, sizes))
    if not todo:
        raise UsageError(f"no outcomes of {weights[:12]} are kept that a metric could be computed from")
    made = []
    for folder, held, sizes in todo:
        found: list[Made] = []
        for scored, metric in held:
            values = slices_of(store, scored.digest, scored.stop)
            slices = {name: rows_by_label(scored, name, held) for name, held in values.items()}
            found += records(scored, [metric], sizes, slices)
        folder.results.publish(found)
        made += [record for record, _ in found]
    return made


def _check_names(metric: Metric, known: Sequence[Mapping[str, Json]]) -> None:
    """Refuse a metric whose value's name is taken by another one, or by the same with other settings."""
    own = spec_of(metric)
    for payload in known:
        if payload["metric"] != own and metric.headline in {entry["metric"] for entry in payload["values"]}:
            raise UsageError(
                f"{metric.headline} is on record as {payload['metric']}; {own} would give another value of that name"
            )
