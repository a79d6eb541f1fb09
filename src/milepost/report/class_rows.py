"""What a metric gives by class, as rows: one a checkpoint, data set and class."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report._align import align, shown
from milepost.report._metrics_on_record import recorded
from milepost.report._numbers import number
from milepost.report.table import Plain
from milepost.store.code_standing import CURRENT, is_earlier
from milepost.store.listing import Listing
from milepost.store.store import Store

_PLACES = 4
_ABOUT = ("run", "step", "name", "variant", "data", "status", "class", "class_name")


def class_rows(store: Store, listing: Listing, checkpoints: Iterable[Plain], metric: str) -> list[dict[str, Any]]:
    """Return rows of the metric that gives the value `metric`, of the evaluation that the table shows.

    Each has run, step, name, variant, data, status, class and class_name (None where the data has no names), then the
    metric's numbers of this class, such as recall and support; NaN where undefined.  Raises UsageError where there is
    no such value, and where its metric has no table by class.
    """
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
            about = {key: row.get(key) for key in ("run", "step", "name", "variant")}
            found += _rows({**about, "data": spec["data_name"], "status": status}, arrays, names[spec["data"]])
    if not found:
        name = recorded(store, metric)["metric"]["name"]
        raise UsageError(
            f"{metric} ({name}) has no table by class; metrics that have one: confusion, balanced_accuracy"
        )
    return found


def class_lines(rows: Iterable[Plain]) -> list[str]:
    """Return the rows as aligned lines; what is the same in all of them is left out."""
    every = [{name: _text(value) for name, value in row.items()} for row in rows]
    differ = {name for name in _ABOUT if len({row.get(name) for row in every}) > 1} | {"name", "class"}
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
        arrays = results.tables(payload)
        length = len(arrays["support"]) if "support" in arrays else 0
        vectors = {name: item for name, item in arrays.items() if item.shape == (length,)}
        if vectors:
            yield spec, payload, vectors


def _rows(about: dict[str, Any], arrays: Mapping[str, Array], names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    for label in range(len(arrays["support"])):
        values = {name: item[label].item() for name, item in arrays.items()}
        yield {**about, "class": label, "class_name": names.get(label), **values}
