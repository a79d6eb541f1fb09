"""Two checkpoints opened on the rows that they share: which evaluations of theirs go together."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from operator import itemgetter
from typing import Any

from milepost.core.capabilities import capability
from milepost.core.protocols import MeanMetric, Metric
from milepost.core.specs import spec_of
from milepost.errors import UsageError
from milepost.report._metrics_on_record import evaluations_of
from milepost.report._ranking import one_data
from milepost.report.table import Plain
from milepost.scoring.columns import Scored, holding, lacking
from milepost.store.keys import subject
from milepost.store.store import Store


def mean_metric(metric: Metric, asked: str) -> MeanMetric:
    """Return a metric as a mean over rows, under the name that the user asked for; a `UsageError` where it is none."""
    mean = capability(metric, MeanMetric)
    if mean is None or metric.headline != asked:
        raise UsageError(
            f"{asked} ({spec_of(metric)}) is no mean over rows, so that two checkpoints cannot be compared row by row; "
            "compare by one that is, such as top1 or cross_entropy"
        )
    return mean


def opened_pair(store: Store, rows: list[Plain], metric: Metric, data: str | None) -> tuple[list[Scored], list[str]]:
    """Open both on the rows that they share, with notes; of several evaluations those of the same code, that of now."""
    specs, codes = [_kept(store, row["digest"]) for row in rows], store.codes.standing()
    shared = [
        (one, two)
        for one, two in product(*(side.items() for side in specs))
        if one[1]["data"] == two[1]["data"] and one[1]["data_name"] == two[1]["data_name"]
    ]
    if not shared:
        raise UsageError(f"A and B share no data set: A has {_listed(specs[0])}; B has {_listed(specs[1])}")
    name = one_data(sorted({one[1]["data_name"] for one, _ in shared}), data)
    ranked: list[tuple[tuple[Any, ...], list[Scored], list[str]]] = []
    absent = f"A and B have no rows on {name} in common"
    for pair in shared:
        (key_a, a), (key_b, b) = pair
        if a["data_name"] != name:
            continue
        sides = {key: holding(store, key, metric) for key in (key_a, key_b)}
        opened = [side for key in (key_a, key_b) if (side := sides[key])]
        if len(opened) == len(pair):
            stop = min(side.stop for side in opened)
            same = (subject(a) == subject(b), codes.root(a) == codes.root(b))
            earlier = [codes.of(spec).earlier for spec in (a, b)]
            rank = (*same, -sum(earlier), stop, str(a.get("created")), str(b.get("created")), key_a, key_b)
            notes = [words for words, alike in zip(_APART, same, strict=True) if not alike]
            notes += [f"{letter} is of earlier code" for letter, old in zip("AB", earlier, strict=True) if old]
            notes += _other_data(store, a)
            ranked.append((rank, [replace(side, stop=stop) for side in opened], notes))
        else:
            letter, key = ("A", key_a) if sides[key_a] is None else ("B", key_b)
            absent = f"{letter}: {lacking(store, key, metric, name)}"
    if not ranked:
        raise UsageError(absent)
    return max(ranked, key=itemgetter(0))[1:]


def _other_data(store: Store, used: Plain) -> Iterator[str]:
    """Yield that the newest evaluation on a data set of this name is of other data, where it is."""
    specs = filter(None, (store.evaluation(key).spec() for key in store.evaluations()))
    named = [spec for spec in specs if spec.get("data_name") == used["data_name"]]
    newest = max(named, key=lambda spec: str(spec.get("created")), default=used)
    if newest["data"] != used["data"]:
        yield (
            f"these are rows of earlier data of the name {used['data_name']} (fingerprint {str(used['data'])[:12]}): "
            f"the newest evaluation on it is of other data (fingerprint {str(newest['data'])[:12]})"
        )


_APART = (
    "A and B were evaluated as different tasks, with different settings or in different arithmetic",
    "A and B were evaluated with different versions of the code",
)


def _kept(store: Store, weights: str) -> dict[str, dict[str, Any]]:
    """Return the specs of the evaluations of some weights that have kept anything, by key."""
    found = evaluations_of(store, weights)
    return {key: spec for key, spec in found.items() if store.evaluation(key).column_sets()}


def _listed(specs: Mapping[str, Plain]) -> str:
    known = {(spec["data_name"], str(spec["data"])[:12]) for spec in specs.values()}
    return ", ".join(f"{name} (fingerprint {digest})" for name, digest in sorted(known)) or "no kept outcomes"
