"""Two checkpoints compared on the same rows, from kept outcomes, without the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from milepost._internal.serialization import spec_of
from milepost.core.capabilities import capability
from milepost.core.protocols import MeanMetric, Metric
from milepost.errors import UsageError
from milepost.report._metrics_on_record import direction_of, recorded
from milepost.report._numbers import count, decimals, number
from milepost.report._paired import Paired, joined, paired
from milepost.report.addresses import find
from milepost.report.best import one_data
from milepost.report.table import Plain
from milepost.scoring.columns import Scored, holding, lacking, slices_of
from milepost.scoring.metric_spec import metric_of
from milepost.scoring.slices import parts_of
from milepost.stats.mcnemar import mcnemar_exact, mcnemar_mid_p
from milepost.store.keys import subject
from milepost.store.store import Store

_CHUNK = 1 << 16
_PLACES = 6


@dataclass(frozen=True, slots=True)
class Comparison:
    """A and B on `n` rows that both have, of `size`; prints as lines.

    `a` and `b` describe the checkpoints; `value_a` and `value_b` are their values on these very rows, `difference` is A
    minus B.  `counts` holds both, only_a, only_b, neither (rows that are right), or a_better, b_better, equal where a
    row's share is no yes or no; and spoiled.  `tests` maps names to p-values.
    """

    metric: str
    direction: str
    data: str
    a: Plain
    b: Plain
    n: int
    size: int
    value_a: float | None
    value_b: float | None
    difference: float | None
    counts: Mapping[str, int]
    tests: Mapping[str, float]
    notes: tuple[str, ...] = ()
    slice: str = "all"

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        names = ("metric", "direction", "data", "slice", "a", "b", "n", "size", "value_a", "value_b", "difference")
        found = {"event": "comparison", **{name: getattr(self, name) for name in names}, "counts": dict(self.counts)}
        tests = [{"name": name, "p_value": value} for name, value in self.tests.items()]
        return {**found, "tests": tests, "notes": list(self.notes)}

    def __str__(self) -> str:
        """Return the comparison as lines."""
        return "\n".join(_lines(self))


def compare_two(
    store: Store, a: str, b: str, metric: str = "top1", data: str | None = None, part: str = "all"
) -> Comparison:
    """Compare the checkpoints at two addresses by a metric that is a mean over rows; on a slice, `part`, alone.

    Raises UsageError where an address does not name one checkpoint, where one of them failed, where no data set is
    common to both, where the metric's columns are not kept, and where the metric is no mean.
    """
    checkpoints = store.listing().checkpoints()
    rows = [_evaluated(find(checkpoints, address), address) for address in (a, b)]
    payload = _recorded(store, metric, rows[0]["digest"])
    made = metric_of(payload["metric"])
    mean = _mean(made, metric)
    left, right, notes = _opened(store, rows, made, data)
    if part != "all":
        left, right = _part(store, left, part), _part(store, right, part)
    higher = direction_of(payload) == "higher"
    found = joined(_pieces(left, right, made.columns, mean, higher=higher))
    values = [_value(scored, made) for scored in (left, right)]
    difference = found.difference()
    if found.nonfinite:
        notes.append(f"{found.nonfinite} rows have no number in A or in B, and are in none of the counts")
        difference = None if None in values else difference
    if rows[0]["digest"] == rows[1]["digest"]:
        notes.append("A and B hold the same weights")
    notes += [f"{letter} is {one.partial}" for letter, one in (("A", left), ("B", right)) if one.partial]
    if left.stop < left.size:
        notes.append(f"both have {count(left.stop)} of {count(left.size)} rows only")
    tests = _tests(found)
    if found.boolean and not tests:
        notes.append("rows have weights: McNemar's test, which counts every row once, does not apply")
    return Comparison(
        metric=metric,
        direction="higher" if higher else "lower",
        data=left.name,
        n=found.n,
        size=left.size,
        slice=part,
        a=_described(rows[0]),
        b=_described(rows[1]),
        value_a=values[0],
        value_b=values[1],
        difference=difference,
        counts=_counts(found),
        tests=tests,
        notes=tuple(notes),
    )


def _evaluated(row: Plain, address: str) -> Plain:
    if not row["digest"]:
        raise UsageError(f"{address}: this checkpoint failed, so there are no outcomes to compare")
    return row


def _described(row: Plain) -> dict[str, Any]:
    return {key: row.get(key) for key in ("run", "path", "name", "step", "digest", "variant")}


def _recorded(store: Store, metric: str, weights: str) -> dict[str, Any]:
    """Return a record of the metric, A's own where there is one: others may have other settings."""
    try:
        return recorded(store, metric, weights)
    except UsageError:
        return recorded(store, metric)


def _mean(metric: Metric, asked: str) -> MeanMetric:
    mean = capability(metric, MeanMetric)
    if mean is None or metric.headline != asked:
        raise UsageError(
            f"{asked} ({spec_of(metric)}) is no mean over rows, so that two checkpoints cannot be compared row by row; "
            "compare by one that is, such as top1 or cross_entropy"
        )
    return mean


def _opened(store: Store, rows: list[Plain], metric: Metric, data: str | None) -> tuple[Scored, Scored, list[str]]:
    """Open both on the rows that they share; several evaluations of one are told apart by code and coverage."""
    held = [_specs(store, row["digest"]) for row in rows]
    shared = [
        (one, two)
        for one in held[0].items()
        for two in held[1].items()
        if one[1]["data"] == two[1]["data"] and one[1]["data_name"] == two[1]["data_name"]
    ]
    if not shared:
        raise UsageError(f"A and B share no data set: A has {_listed(held[0])}; B has {_listed(held[1])}")
    name = one_data(sorted({one[1]["data_name"] for one, _ in shared}), data)
    best: tuple[tuple[Any, ...], Scored, Scored, list[str]] | None = None
    for (key_a, spec_a), (key_b, spec_b) in shared:
        if spec_a["data_name"] == name:
            left, right = holding(store, key_a, metric), holding(store, key_b, metric)
            if left is not None and right is not None:
                stop = min(left.stop, right.stop)
                same = (subject(spec_a) == subject(spec_b), spec_a["code"] == spec_b["code"])
                rank = (*same, stop, str(spec_a.get("created")), str(spec_b.get("created")), key_a, key_b)
                if best is None or rank > best[0]:
                    told = [words for words, alike in zip(_APART, same, strict=True) if not alike]
                    best = (rank, replace(left, stop=stop), replace(right, stop=stop), told)
    if best is None:
        raise UsageError(_missing(store, [pair for pair in shared if pair[0][1]["data_name"] == name], metric, name))
    return best[1:]


_APART = (
    "A and B were evaluated as different tasks, with different settings or in different arithmetic",
    "A and B were evaluated with different versions of the code",
)


def _part(store: Store, scored: Scored, part: str) -> Scored:
    """Return the rows of one slice, `name=value`; a UsageError lists those on record."""
    found: dict[str, Scored] = {}
    for name, values in slices_of(store, scored.digest, scored.stop).items():
        found |= parts_of(scored, name, values)
    if part not in found:
        raise UsageError(f"--slice {part}: no such slice of these rows is on record; there are: {', '.join(found)}")
    return found[part]


def _specs(store: Store, weights: str) -> dict[str, dict[str, Any]]:
    """Return the specs of the evaluations of some weights that have kept anything, by key."""
    found = {}
    for key in store.evaluations():
        folder = store.evaluation(key)
        spec = folder.spec()
        if spec is not None and spec["weights"] == weights and folder.column_sets():
            found[key] = spec
    return found


def _listed(specs: Mapping[str, Plain]) -> str:
    known = {(spec["data_name"], str(spec["data"])[:12]) for spec in specs.values()}
    return ", ".join(f"{name} (fingerprint {digest})" for name, digest in sorted(known)) or "no kept outcomes"


def _missing(store: Store, pairs: list[Any], metric: Metric, name: str) -> str:
    for one, two in pairs:
        for letter, (key, _) in (("A", one), ("B", two)):
            if holding(store, key, metric) is None:
                return f"{letter}: {lacking(store, key, metric, name)}"
    return f"A and B have no rows on {name} in common"


def _pieces(left: Scored, right: Scored, names: Sequence[str], mean: MeanMetric, *, higher: bool) -> Iterator[Paired]:
    for start in range(0, left.n, _CHUNK):
        stop = min(start + _CHUNK, left.n)
        (one, weights), (two, _) = (scored.columns(names, start, stop) for scored in (left, right))
        yield paired(mean.contribution(one), mean.contribution(two), weights, higher=higher)


def _value(scored: Scored, metric: Metric) -> float | None:
    """Return the value on exactly the rows that are compared."""
    state: Any = None
    for start in range(0, scored.n, _CHUNK):
        piece = metric.state(*scored.columns(metric.columns, start, min(start + _CHUNK, scored.n)))
        state = piece if state is None else state.merge(piece)
    return metric.values(state)[metric.headline].value


def _counts(found: Paired) -> dict[str, int]:
    if found.boolean:
        return {name: getattr(found, name) for name in ("both", "only_a", "only_b", "neither")}
    return {"a_better": found.only_a, "b_better": found.only_b, "equal": found.both, "nonfinite": found.nonfinite}


def _tests(found: Paired) -> dict[str, float]:
    if not found.boolean or found.weight is not None:
        return {}
    return {
        "McNemar exact": mcnemar_exact(found.only_a, found.only_b),
        "McNemar mid-p": mcnemar_mid_p(found.only_a, found.only_b),
    }


_WORDS = {
    "both": "both right",
    "only_a": "only A right",
    "only_b": "only B right",
    "neither": "neither right",
    "a_better": "A better",
    "b_better": "B better",
    "equal": "equal",
    "nonfinite": "no number",
}


def _named(item: Plain) -> str:
    step = "" if item["step"] is None else f", step {item['step']}"
    return f"{item['run']}:{item['name']}{step}, {item['variant']}, {str(item['digest'])[:12]}"


def _lines(found: Comparison) -> list[str]:
    places = max(_PLACES, decimals(found.n))
    rows = [(letter, _named(item)) for letter, item in (("A", found.a), ("B", found.b))]
    about = f"{found.metric}, {found.direction} is better, on the same {count(found.n)} rows of {found.data}"
    about += f", slice {found.slice}" if found.slice != "all" else ""
    rows += [("", about), ("A", number(found.value_a, places)), ("B", number(found.value_b, places))]
    rows.append(("A - B", number(found.difference, places)))
    rows += [(_WORDS[name], count(value)) for name, value in found.counts.items() if value or name != "nonfinite"]
    rows += [(name, f"p = {value:.4g} (two-sided)") for name, value in found.tests.items()]
    width = max(len(label) for label, _ in rows)
    return [f"{label.ljust(width)}  {text}" if label else text for label, text in rows] + [
        f"note: {note}" for note in found.notes
    ]
