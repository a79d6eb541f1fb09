"""Two checkpoints compared on the same rows, from kept outcomes, without the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

from milepost._internal import html
from milepost.core.protocols import MeanMetric, Metric
from milepost.report._align import wrapped
from milepost.report._certainty import Rows, certainty_of
from milepost.report._metrics_on_record import direction_of, recorded
from milepost.report._numbers import count, decimals, interval, method, number
from milepost.report._pair import mean_metric, opened_pair
from milepost.report._paired import Paired, paired
from milepost.report._slice import on_slice
from milepost.report.addresses import Labels, find_evaluated
from milepost.report.table import Plain
from milepost.scoring.columns import GROUP_NUMBER, Scored
from milepost.scoring.estimators import state_of
from milepost.scoring.metric_spec import metric_of
from milepost.stats.interval import Interval
from milepost.store.store import Store

_PLACES = 6
_DESCRIBED = ("run", "path", "name", "step", "digest", "variant")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A and B on `n` rows that both have, of `size`; prints as lines.

    `a` and `b` describe the checkpoints; `value_a` and `value_b` are their values on these very rows, `difference` is A
    minus B, with its standard error and 95 % interval where these can be told.  `counts` holds both, only_a, only_b,
    neither (rows that are right), or a_better, b_better, equal where a row's share is no yes or no; and nonfinite.
    `tests` maps names to p-values.
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
    standard_error: float | None
    interval: Interval | None
    counts: Mapping[str, int]
    tests: Mapping[str, float]
    notes: tuple[str, ...] = ()
    slice: str = "all"

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        tests = [{"name": name, "p_value": value} for name, value in self.tests.items()]
        interval = None if self.interval is None else self.interval.plain()
        return {"event": "comparison", **asdict(self), "interval": interval, "tests": tests}

    def lines(self) -> list[str]:
        """Return what it prints as."""
        return _lines(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__  # what a notebook and a prompt show of the last line

    def _repr_html_(self) -> str:
        return html.facts(_facts(self)) + html.paragraphs(_notes(self))


def compare_two(
    store: Store,
    a: str,
    b: str,
    metric: str = "top1",
    data: str | None = None,
    part: str = "all",
    variant: str | None = None,
) -> Comparison:
    """Compare the checkpoints at two addresses by a metric that is a mean over rows; on a slice, `part`, alone.

    `variant` is that of both; without it, an address may name one ("6:ema").

    Raises UsageError where an address does not name one checkpoint, where one of them failed, where no data set is
    common to both, where the metric's columns are not kept, and where the metric is no mean.
    """
    checkpoints = store.listing().checkpoints()
    rows = [find_evaluated(checkpoints, address, "compare", variant) for address in (a, b)]
    labels = Labels(checkpoints)
    payload = recorded(store, metric, rows[0]["digest"])
    made, direction = metric_of(payload["metric"]), direction_of(payload)
    mean = mean_metric(made, metric)
    sides, notes = opened_pair(store, rows, made, data)
    left, right = (on_slice(store, side, part) for side in sides)
    found = reduce(Paired.merge, _pieces(left, right, made.columns, mean, higher=direction == "higher"))
    values = (_value(left, made), _value(right, made))
    difference = found.difference()
    if found.nonfinite:
        notes.append(f"{found.nonfinite} rows have no number in A or in B, and are in none of the counts")
        difference = None if None in values else difference
    pairs = _rows_of(left, right, made.columns, mean)
    sure = certainty_of(found, pairs, difference, higher=direction == "higher", grouped=left.grouped)
    if rows[0]["digest"] == rows[1]["digest"]:
        notes.append("A and B hold the same weights")
    notes += [f"{letter} is {side.partial}" for letter, side in zip("AB", sides, strict=True) if side.partial]
    if left.stop < left.size:
        notes.append(f"both have {count(left.stop)} of {count(left.size)} rows only")
    notes += [words for words in (sure.why, sure.interval and sure.interval.note) if words]
    one, other = ({**{key: row.get(key) for key in _DESCRIBED}, "label": labels.of(row)} for row in rows)
    return Comparison(
        metric=metric,
        direction=direction,
        data=left.name,
        n=found.n,
        size=left.size,
        slice=part,
        a=one,
        b=other,
        value_a=values[0],
        value_b=values[1],
        difference=difference,
        counts=_counts(found),
        standard_error=sure.standard_error,
        interval=sure.interval,
        tests=sure.p_values,
        notes=tuple(notes),
    )


def _pieces(left: Scored, right: Scored, names: Sequence[str], mean: MeanMetric, *, higher: bool) -> Iterator[Paired]:
    for (one, weights), (two, _) in zip(left.chunks(names), right.chunks(names), strict=True):
        yield paired(mean.contribution(one), mean.contribution(two), weights, higher=higher)


def _value(scored: Scored, metric: Metric) -> float | None:
    """Return the value on exactly the rows that are compared."""
    return metric.values(state_of(scored, metric))[metric.headline].value


def _counts(found: Paired) -> dict[str, int]:
    if found.boolean:
        return {name: getattr(found, name) for name in ("both", "only_a", "only_b", "neither")}
    return {"a_better": found.only_a, "b_better": found.only_b, "equal": found.both, "nonfinite": found.nonfinite}


def _rows_of(left: Scored, right: Scored, names: Sequence[str], mean: MeanMetric) -> Iterator[Rows]:
    """Yield what rows contribute to A and to B, their weights, and the numbers of their groups."""
    wanted = [*names, GROUP_NUMBER] if left.grouped else names
    for (one, weights), (two, _) in zip(left.chunks(wanted), right.chunks(names), strict=True):
        yield mean.contribution(one), mean.contribution(two), weights, one.get(GROUP_NUMBER)


COUNT_WORDS = {
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
    return f"{item['label']}{step}, {item['variant']}, {str(item['digest'])[:12]}"


def _facts(found: Comparison) -> list[tuple[str, str]]:
    places = max(_PLACES, decimals(found.n))
    rows = [(letter, _named(item)) for letter, item in (("A", found.a), ("B", found.b))]
    about = f"{found.metric}, {found.direction} is better, on the same {count(found.n)} rows of {found.data}"
    about += f", slice {found.slice}" if found.slice != "all" else ""
    rows += [("", about), ("A", number(found.value_a, places)), ("B", number(found.value_b, places))]
    rows.append(("A - B", number(found.difference, places)))
    if found.standard_error is not None:
        rows.append(("standard error", number(found.standard_error, places)))
    if found.interval is not None:
        span = interval(found.interval.low, found.interval.high, places)
        rows.append(("interval", f"{span} ({method(found.interval.plain())})"))
    rows += [(COUNT_WORDS[name], count(value)) for name, value in found.counts.items() if value or name != "nonfinite"]
    return rows + [(name, f"p = {value:.4g} (two-sided)") for name, value in found.tests.items()]


def _notes(found: Comparison) -> list[str]:
    return [f"note: {note}" for note in found.notes]


def _lines(found: Comparison) -> list[str]:
    rows = _facts(found)
    width = max(len(label) for label, _ in rows)
    lines = (f"{label.ljust(width)}  {text}" if label else text for label, text in rows)
    return [*wrapped(lines, width + 2), *wrapped(_notes(found))]
