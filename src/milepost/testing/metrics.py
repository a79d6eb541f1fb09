"""The laws of a metric: given the columns, one result, however the rows are parted, ordered, merged, saved and resumed.

Exact values are judged by `fractions.Fraction`, not by our own sums.

```python
@pytest.mark.parametrize("metric", variants(MyMetric))
def test_my_metric(metric: Metric) -> None:
    check_metric(metric, columns_for(metric))
```
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from milepost._internal.serialization import canonical
from milepost.core.capabilities import capability
from milepost.core.protocols import Bounded, FastBatches, MeanMetric, Metric, Sampled, ShareMetric, Tabled
from milepost.core.specs import spec_of
from milepost.core.types import Array, Columns, Value
from milepost.metrics._states import Tally, from_bytes
from milepost.registry import classes, load
from milepost.testing._capabilities import check_capabilities
from milepost.testing._refusals import refused
from milepost.testing.variants import variants

_TRIALS = 4


def columns_for(metric: Metric, rows: int = 400, seed: int = 0) -> dict[str, Array]:
    """Return columns that a metric reads, of rows that a registered task made of its own hard samples.

    Raises LookupError where no registered task gives every column.
    """
    wanted = frozenset(metric.columns)
    for name, cls in classes("tasks").items():
        for task in variants(cls):
            sampled = capability(task, Sampled)
            if sampled is not None and wanted <= task.columns().keys() | {"label"}:
                outputs, labels = sampled.sample(np.random.default_rng([seed, len(name)]), rows)
                made = {**task.reduce(outputs, labels, wanted), "label": labels}
                return {item: made[item] for item in metric.columns}
    raise LookupError(f"no registered task with a `sample` gives the columns {', '.join(sorted(wanted))}")


def check_metric(metric: Metric, columns: Columns, weights: Array | None = None) -> None:
    """Check a metric against every law on these rows (any number of them); raise `AssertionError` where it fails.

    `weights` are finite and above 0, one a row.
    """
    kept = {name: _locked(columns[name]) for name in metric.columns}
    case = _MetricCase(metric, kept, None if weights is None else _locked(weights))
    laws = [_declares, _rebuilds, _has_no_value_without_rows, _gives_named_values, _gives_the_same_by_batches]
    laws += [_ignores_parts_and_order, _resumes, _counts_weights_as_copies, _knows_no_scale_of_weights]
    for law in (*laws, _refuses_foreign_states, _is_the_mean_of_its_contributions, _is_the_share_of_its_hits):
        law(case)


@dataclass(frozen=True, slots=True)
class _MetricCase:
    """A metric and the rows on which it is judged."""

    metric: Metric
    columns: Columns
    weights: Array | None

    @property
    def size(self) -> int:
        return len(next(iter(self.columns.values())))

    def whole(self) -> Any:
        return self.metric.state(self.columns, self.weights)

    def state(self, rows: Array) -> Any:
        taken = {name: item[rows] for name, item in self.columns.items()}
        return self.metric.state(taken, None if self.weights is None else self.weights[rows])

    def weighted(self, rows: Array, weights: Array) -> dict[str, Value]:
        return self.metric.values(self.metric.state({name: item[rows] for name, item in self.columns.items()}, weights))

    def parts(self, random: np.random.Generator) -> list[Any]:
        """States of a random partition of the rows in a random order; some parts may be empty."""
        cuts = np.sort(random.integers(0, self.size + 1, int(random.integers(1, 7))))
        return [self.state(part) for part in np.split(random.permutation(self.size), cuts)]


def _locked(array: Array) -> Array:
    """Copy into read-only memory: a metric that writes into its columns raises."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def _declares(case: _MetricCase) -> None:
    metric = case.metric
    check_capabilities(metric, Metric)
    for name, text in {"name": metric.name, "headline": metric.headline}.items():
        assert isinstance(text, str), f"{metric}.{name} is no text"
    directions = {"higher", "lower", "none"}
    assert metric.direction in directions, f"{metric}.direction is {metric.direction!r}, expected one of {directions}"
    low, high = _bounds(metric)
    assert low < high, f"{metric}.range is {(low, high)}: expected the smallest and the largest possible value"
    assert isinstance(metric.columns, tuple), f"{metric}.columns is no tuple of names"
    assert metric.columns, f"{metric}.columns is empty"


def _rebuilds(case: _MetricCase) -> None:
    metric = case.metric
    spec = json.loads(canonical(spec_of(metric)))
    fields = {name: item for name, item in spec.items() if name not in ("name", "version")}
    again = load("metrics", metric.name)(**fields)
    assert again == metric, f"the spec {spec} of {metric} rebuilds {again}"
    assert hash(again) == hash(metric), f"{metric} and the same again have two hashes"
    assert again.headline == metric.headline, f"the spec {spec} rebuilds another headline"


def _has_no_value_without_rows(case: _MetricCase) -> None:
    metric = case.metric
    empty = case.state(np.arange(0))
    for name, item in metric.values(empty).items():
        assert item.value is None, f"{name} of no rows is {item.value}, expected None"
        assert item.note, f"{name} of no rows does not say why it is undefined"
    whole = case.whole()
    for merged in (whole.merge(empty), empty.merge(whole)):
        assert merged.to_bytes() == whole.to_bytes(), f"{metric}: merging the state of no rows changes a state"


def _gives_named_values(case: _MetricCase) -> None:
    metric = case.metric
    values = metric.values(case.whole())
    first = next(iter(values))
    assert first == metric.headline, f"the first value of {metric} is {first}, not its headline"
    assert list(values) == list(metric.values(case.state(np.arange(0)))), "the values' names vary"
    for name, item in values.items():
        assert isinstance(item, Value), f"{name} is no Value"
        assert item.value is None or type(item.value) in (int, float), f"{name} is a {type(item.value).__name__}"
        assert item.value is None or not math.isnan(item.value), f"{name} is NaN; an undefined value is None"
        assert item.value is not None or item.note, f"{name} does not say why it is undefined"
        if item.proportion:
            numbers = item.numerator, item.denominator
            whole = all(type(number) is int for number in numbers)
            assert whole, f"{name}: a proportion of {numbers}; expected integers"
            top, bottom = int(item.numerator or 0), int(item.denominator or 0)
            assert 0 <= top <= bottom, f"{name}: a proportion of {top} in {bottom}"
            assert item.value == (top / bottom if bottom else None), f"{name}: {item.value} is not {top} in {bottom}"
    value = values[metric.headline].value
    low, high = _bounds(metric)
    assert value is None or low <= value <= high, f"{metric.headline} is {value}, outside its range {low} to {high}"


def _bounds(metric: Metric) -> tuple[float, float]:
    bounded = capability(metric, Bounded)
    return (-math.inf, math.inf) if bounded is None else bounded.range


def _gives_the_same_by_batches(case: _MetricCase) -> None:
    metric, fast = case.metric, capability(case.metric, FastBatches)
    if fast is None or not case.size:
        return
    for size in (7, 100, case.size):
        at_once = fast.batch_values(case.columns, case.weights, size)
        for batch, low in enumerate(range(0, case.size, size)):
            alone = metric.values(case.state(np.arange(low, min(low + size, case.size))))
            found = {name: values[batch] for name, values in at_once.items()}
            assert found == alone, f"{metric}: batch_values gives {found}, the batch's own state {alone}"


def _ignores_parts_and_order(case: _MetricCase) -> None:
    metric = case.metric
    whole = case.whole()
    for random in _randoms():
        other = _merged(case.parts(random), random)
        assert other.to_bytes() == whole.to_bytes(), f"{metric}: other parts, order or merges give another state"
        assert metric.values(other) == metric.values(whole), f"{metric}: one state has two values"
        _same_tables(metric, other, whole)


def _resumes(case: _MetricCase) -> None:
    metric = case.metric
    whole = case.whole()
    data = whole.to_bytes()
    again = from_bytes(data)
    assert again.to_bytes() == data, f"{metric}: from_bytes(to_bytes()) is another state"
    assert metric.values(again) == metric.values(whole), f"{metric}: a restored state has other values"
    _same_tables(metric, again, whole)
    for random in _randoms():
        saved = [from_bytes(state.to_bytes()) for state in case.parts(random)]
        assert _merged(saved, random).to_bytes() == data, f"{metric}: a resumed pass ends in another state"


def _counts_weights_as_copies(case: _MetricCase) -> None:
    metric = case.metric
    times = np.arange(case.size) % 3 + 1
    copies = _MetricCase(metric, case.columns, None).state(np.repeat(np.arange(case.size), times))
    weighted = metric.state(case.columns, times.astype(np.float64))
    for name, item in metric.values(copies).items():
        found = metric.values(weighted)[name].value
        assert found == item.value, f"{name} is {found} by whole weights, {item.value} by as many copies of the rows"


def _knows_no_scale_of_weights(case: _MetricCase) -> None:
    """Multiplied by one number, without rounding, weights mean the same; sums of inexact products show here.

    A value that twice the weights change too (a total) is no ratio, and is not judged.
    """
    for random in _randoms():
        for size in (1, 1, 1, 2, 3, 7, case.size):
            rows = random.integers(0, case.size, size) if case.size else np.arange(0)
            times = random.integers(1, 4, size if case.size else 0).astype(np.float64)
            scale = float(random.integers(1 << 50, 1 << 51) | 1) * 2.0 ** int(random.integers(-120, 60))
            once, twice, scaled = (case.weighted(rows, times * by) for by in (1.0, 2.0, scale))
            for name, item in once.items():
                same = item.value == scaled[name].value or item.value != twice[name].value
                assert same, (
                    f"{case.metric}: {name} of {size} rows is {item.value!r}, and {scaled[name].value!r} with all "
                    f"weights times {scale!r}: a sum is not exact"
                )


def _refuses_foreign_states(case: _MetricCase) -> None:
    metric = case.metric
    own, foreign = case.whole(), Tally({"a count of another metric": np.int64(1)})
    for left, right in ((own, foreign), (foreign, own)):
        with refused(ValueError, f"{metric}: its state merges with that of another metric"):
            left.merge(right)


def _is_the_mean_of_its_contributions(case: _MetricCase) -> None:
    metric, mean = case.metric, capability(case.metric, MeanMetric)
    if mean is None:
        return
    shares = np.asarray(mean.contribution(case.columns), np.float64)
    assert shares.shape == (case.size,), f"{metric}: contributions of shape {shares.shape}, expected one a row"
    low, high = mean.range
    outside = shares[(shares < low) | (shares > high)]
    assert not outside.size, f"{metric}: a contribution is {outside[:1]}, outside the range {low} to {high}"
    fine = ~np.isnan(shares)
    for weights in (case.weights, np.random.default_rng(case.size).lognormal(0.0, 3.0, case.size)):
        value = metric.values(metric.state(case.columns, weights))[metric.headline].value
        if value is None:
            assert not fine.all() or not case.size, f"{metric} is undefined, though every row has a contribution"
            continue
        expected = _mean(shares[fine].tolist(), (np.ones(case.size) if weights is None else weights)[fine].tolist())
        assert value == expected, f"{metric} is {value!r}, the mean of its contributions {expected!r}"


def _is_the_share_of_its_hits(case: _MetricCase) -> None:
    metric, share = case.metric, capability(case.metric, ShareMetric)
    found = None if share is None else share.hits(case.columns)
    if found is None:
        return
    hits, counted = (np.asarray(item) for item in found)
    for what, item in (("hits", hits), ("counted rows", counted)):
        assert item.dtype == np.bool_ and item.shape == (case.size,), f"{metric}: {what} are {item.dtype} {item.shape}"  # noqa: PT018
    for weights in (case.weights, np.random.default_rng(case.size).lognormal(0.0, 3.0, case.size)):
        value = metric.values(metric.state(case.columns, weights))[metric.headline].value
        if not counted.any():
            assert value is None, f"{metric} is {value!r}, though no row counts"
            continue
        weight = (np.ones(case.size) if weights is None else weights)[counted].tolist()
        expected = _mean(hits[counted].astype(float).tolist(), weight)
        assert value == expected, f"{metric} is {value!r}, the share of its hits {expected!r}"


def _mean(values: list[float], weights: list[float]) -> float:
    """Return the weighted mean, rounded once."""
    if not all(map(math.isfinite, values)):
        return sum(value for value in values if not math.isfinite(value))
    total = sum((Fraction(value) * Fraction(weight) for value, weight in zip(values, weights, strict=True)), Fraction())
    return float(total / sum(map(Fraction, weights)))


def _randoms() -> Iterator[np.random.Generator]:
    return map(np.random.default_rng, range(_TRIALS))


def _merged(states: list[Any], random: np.random.Generator) -> Any:
    while len(states) > 1:
        one, two = (states.pop(int(random.integers(len(states)))) for _ in range(2))
        states.append(one.merge(two))
    return states[0]


def _same_tables(metric: Metric, one: Any, two: Any) -> None:
    tabled = capability(metric, Tabled)
    if tabled is None:
        return
    left, right = tabled.tables(one), tabled.tables(two)
    assert list(left) == list(right), f"{metric}: one state has two sets of tables"
    for name, item in left.items():
        assert isinstance(item, np.ndarray), f"{metric}: the table {name} is no array"
        assert item.dtype.kind in "iufbU", f"{metric}: the table {name} has dtype {item.dtype}, which cannot be stored"
        assert item.tobytes() == right[name].tobytes(), f"{metric}: the table {name} of one state differs"
        assert item.shape == right[name].shape, f"{metric}: the table {name} of one state has two shapes"
