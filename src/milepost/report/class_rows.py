"""What a metric gives by class, as rows: one a checkpoint, data set and class."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from milepost.core.capabilities import missing
from milepost.core.protocols import Tabled
from milepost.core.types import Array, Json
from milepost.errors import UsageError
from milepost.registry import classes
from milepost.report._align import align, shown
from milepost.report._metric_names import hint
from milepost.report._metrics_on_record import recorded
from milepost.report._numbers import number
from milepost.report._printed import printed
from milepost.report.addresses import RAW
from milepost.report.table import Plain
from milepost.store.code_standing import CURRENT, is_earlier
from milepost.store.listing import Listing
from milepost.store.records import ALL
from milepost.store.store import Store

_PLACES = 4
_CHECKPOINT = ("run", "step", "name", "variant")
_ABOUT = (*_CHECKPOINT, "data", "status", "class", "class_name")


def class_rows(store: Store, listing: Listing, checkpoints: Iterable[Plain], metric: str) -> list[dict[str, Any]]:
    """Return rows of the metric that gives the value `metric`, of the evaluation that the table shows.

    Each has run, step, name, variant, data, status, class and class_name (None where the data has no names), then the
    metric's numbers of this class, such as recall and support; NaN where undefined.  `metric` may also be the name of a
    metric (`recall` for `recall_macro_present`), where only one value of it has a table.  Raises UsageError where there
    is no such value, and where its metric has no table by class.
    """
    every = list(checkpoints)
    found = _rows_of(store, listing, every, metric)
    found = found or _rows_of(store, listing, every, _value_of(store, listing, metric))
    if not found:
        raise UsageError(f"{metric}: none of the checkpoints that were asked for has a table by class")
    return found


def class_records(
    store: Store, listing: Listing, checkpoints: Iterable[Plain], metric: str
) -> Iterator[dict[str, Json]]:
    """Yield the same as records, one a number: its name is the `metric`, and `class` and `class_name` say of which."""
    every = list(checkpoints)
    by_name = {tuple(row.get(key) for key in _CHECKPOINT): row for row in every}
    for row in class_rows(store, listing, every, metric):
        of = by_name[tuple(row[key] for key in _CHECKPOINT)]
        head = {
            "event": "record",
            "run": row["run"],
            "checkpoint": {key: of.get(key) for key in ("path", "step", "digest", "variant")},
            "data": row["data"],
            "slice": ALL,
        }
        for name in (name for name in row if name not in _ABOUT):
            value = None if row[name] != row[name] else row[name]
            found = {"metric": name, "estimator": "exact", "value": value, "status": row["status"]}
            yield {**head, **found, "class": row["class"], "class_name": row["class_name"]}


def _rows_of(store: Store, listing: Listing, checkpoints: Iterable[Plain], metric: str) -> list[dict[str, Any]]:
    by_weights = defaultdict[str, list[str]](list)
    for key, evaluated in listing.evaluations.items():
        by_weights[evaluated.weights].append(key)
    found: list[dict[str, Any]] = []
    names: dict[str, Mapping[int, str]] = {}
    read: dict[str, list[tuple[Plain, Plain, dict[str, Array]]]] = {}
    for row in checkpoints:
        digest = str(row["digest"])
        if digest not in read:
            read[digest] = list(_tables(store, listing, by_weights.get(digest, ()), metric))
        for spec, payload, arrays in read[digest]:
            if spec["data"] not in names:
                names[spec["data"]] = store.dataset(spec["data"]).class_names.read()
            status = listing.standing(dict(spec)).status(str(payload["status"]))
            about = {key: row.get(key) for key in _CHECKPOINT}
            found += _rows({**about, "data": spec["data_name"], "status": status}, arrays, names[spec["data"]])
    return found


def _value_of(store: Store, listing: Listing, asked: str) -> str:
    """Return the value with a table that a name means: its own, or its metric's where only one value has that."""
    there = _with_tables(store, listing)
    ours = [value for value, name in there.items() if name == asked]
    if asked in there or len(ours) == 1:
        return asked if asked in there else ours[0]
    known = ", ".join(ours or there)
    known = (
        f"name one of: {known}{hint(asked, ours or list(there))}"
        if known
        else "there is none: `milepost score --all --metric recall` adds one"
    )
    if ours:
        raise UsageError(f"{asked} has {len(ours)} values with a table by class; {known}")
    name = _metric_of(store, asked)
    if name:
        what = f"{asked} ({name}) has no table by class"
    else:
        what = f"no value {asked!r} is on record"
        if _counts_classes(asked):
            raise UsageError(f"{what}: `milepost score --all --metric {asked}` adds it")
    raise UsageError(f"{what}; with a table by class, {known}")


def _counts_classes(asked: str) -> bool:
    """Return whether a name is that of a registered metric whose tables hold counts by class."""
    metric = classes("metrics").get(asked)
    return metric is not None and not missing(metric, Tabled) and {"label", "prediction"} <= set(metric.columns)


def _metric_of(store: Store, value: str) -> str | None:
    with suppress(UsageError):
        return str(recorded(store, value)["metric"]["name"])
    return None


def _with_tables(store: Store, listing: Listing) -> dict[str, str]:
    """Return the names of the values whose metric has a table by class, with their metrics' names."""
    made: dict[str, tuple[str, bool]] = {}
    for key in listing.evaluations:
        results = store.evaluation(key).results
        for payload in results.read():
            values = [str(value["metric"]) for value in payload["values"]]
            if payload["estimator"] == "exact" and not made.keys() >= set(values):
                has = bool(_vectors(results.tables(payload)))
                made |= dict.fromkeys(values, (str(payload["metric"]["name"]), has))
    return {value: name for value, (name, has) in sorted(made.items()) if has}


def class_lines(rows: Iterable[Plain]) -> list[str]:
    """Return the rows as aligned lines; what is the same in all is left out, but for a variant that is not raw."""
    every = [{name: _text(value) for name, value in printed(row).items()} for row in rows]
    differ = {name for name in _ABOUT if len({row.get(name) for row in every}) > 1} | {"name", "class"}
    differ |= {"variant"} if any(row["variant"] != RAW for row in every) else set()
    heads = [
        name for name in dict.fromkeys(name for row in every for name in row) if name not in _ABOUT or name in differ
    ]
    right = [name not in _ABOUT or name in ("step", "class") for name in heads]
    return align(heads, [[row.get(name, "-") for name in heads] for row in every], right)


def _text(value: Any) -> str:
    return number(value, _PLACES) if isinstance(value, float) else shown(value)


def of_now(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that are not of earlier code."""
    return [row for row in rows if not is_earlier(row["status"])]


def _tables(
    store: Store, listing: Listing, keys: Iterable[str], metric: str
) -> Iterator[tuple[Plain, Plain, dict[str, Array]]]:
    """Yield spec, record and vectors of some weights for each data set: of the best standing, then the most rows."""
    best: dict[str, tuple[Any, ...]] = {}
    for key in keys:
        spec = listing.evaluations[key].spec
        standing = listing.standing(spec)
        results = store.evaluation(key).results
        for payload in results.read():
            if payload["estimator"] == "exact" and metric in {value["metric"] for value in payload["values"]}:
                rows = sum(stop - start for start, stop in payload["coverage"])
                rank = (not standing.earlier, rows, standing is CURRENT, str(spec.get("created")), key)
                name = str(spec["data_name"])
                best[name] = max(best.get(name, ((),)), (rank, spec, payload, results), key=lambda one: one[0])
    for _, (_, spec, payload, results) in sorted(best.items()):
        if vectors := _vectors(results.tables(payload)):
            yield spec, payload, vectors


def _vectors(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return those of a record's arrays that have a number for each class."""
    length = len(arrays["support"]) if "support" in arrays else 0
    return {name: item for name, item in arrays.items() if item.shape == (length,)}


def _rows(about: dict[str, Any], arrays: Mapping[str, Array], names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    for label in range(len(arrays["support"])):
        values = {name: item[label].item() for name, item in arrays.items()}
        yield {**about, "class": label, "class_name": names.get(label), **values}
