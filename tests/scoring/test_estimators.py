"""The metrics of a classification user by both estimators: exact, and the mean of batches in the source's own order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as judge
from tests.metrics._stream import ALL, Stream

from milepost.core.protocols import Metric
from milepost.core.types import Array, Value
from milepost.data._order import make_order
from milepost.metrics import (
    BalancedAccuracy,
    Brier,
    CohenKappa,
    CrossEntropy,
    FBeta,
    Matthews,
    Precision,
    Recall,
    Specificity,
)
from milepost.metrics._states import Tally
from milepost.scoring.columns import Scored
from milepost.scoring.records import records

ROWS, SIZE = 230, 64


@dataclass(frozen=True)
class Reader:
    """Columns in memory, in the order of the pass."""

    columns: dict[str, Array]

    @property
    def names(self) -> set[str]:
        return set(self.columns)

    def environments(self) -> list[Any]:
        return []

    def slice(self, name: str, start: int, stop: int) -> Array:
        return self.columns[name][start:stop]

    def take(self, name: str, positions: Array) -> Array:
        return self.columns[name][positions]


def both(metric: Metric, stream: Stream, *, weighted: bool) -> list[dict[str, Any]]:
    """Return the headline's entries, exact and of the batch mean, for a pass in a seeded order."""
    order = make_order("seeded", ROWS, 3)
    rows = order.rows(np.arange(ROWS))
    data = {"label": stream.labels[rows]} | ({"weight": stream.weights[rows]} if weighted else {})
    outcomes = {name: item[rows] for name, item in stream.columns.items() if name != "label"}
    kept: Any = Reader(outcomes)
    shared: Any = Reader(data)
    scored = Scored(kept, shared, order, ROWS, ROWS, "test")
    return [record["values"][0] for record, _ in records(scored, [metric], [SIZE])]


Judge = Callable[..., float]
JUDGED: list[tuple[Metric, Judge]] = [
    (Precision(classes=5), lambda t, p, w: judge.precision_score(t, p, labels=ALL, average="macro", sample_weight=w)),
    (Recall(average="micro"), lambda t, p, w: judge.accuracy_score(t, p, sample_weight=w)),
    (FBeta(2, label=3), lambda t, p, w: judge.fbeta_score(t, p, beta=2, labels=[3], average="macro", sample_weight=w)),
    (BalancedAccuracy(), lambda t, p, w: judge.balanced_accuracy_score(t, p, sample_weight=w)),
    (CohenKappa(), lambda t, p, w: judge.cohen_kappa_score(t, p, sample_weight=w)),
    (
        CohenKappa(distance="quadratic"),
        lambda t, p, w: judge.cohen_kappa_score(t, p, weights="quadratic", sample_weight=w),
    ),
    (Matthews(), lambda t, p, w: judge.matthews_corrcoef(t, p, sample_weight=w)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("metric", "expected"), JUDGED, ids=lambda item: None if callable(item) else str(item)[:40])
def test_counted_ones(metric: Metric, expected: Judge, weighted: bool) -> None:
    stream = Stream("tied", ROWS)

    def of(rows: slice) -> float:
        return expected(stream.labels[rows], stream.best[rows], stream.weights[rows] if weighted else None)

    exact, batches = both(metric, stream, weighted=weighted)
    assert exact["value"] == pytest.approx(of(slice(None)), rel=1e-12)
    mean = np.mean([of(slice(begin, begin + SIZE)) for begin in range(0, ROWS, SIZE)])
    assert batches["value"] == pytest.approx(mean, rel=1e-12)
    assert batches["gap"]["value"] == batches["value"] - exact["value"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "metric", [Brier(), CrossEntropy(label_smoothing=0.2), Specificity(average="micro", classes=5)]
)
def test_the_others(metric: Metric, weighted: bool) -> None:
    stream = Stream("plain", ROWS)

    def of(rows: slice) -> Any:
        columns = {name: stream.columns[name][rows] for name in metric.columns}
        return metric.values(metric.state(columns, stream.weights[rows] if weighted else None))[metric.headline].value

    exact, batches = both(metric, stream, weighted=weighted)
    assert exact["value"] == of(slice(None))
    mean = np.mean([of(slice(begin, begin + SIZE)) for begin in range(0, ROWS, SIZE)])
    assert batches["value"] == pytest.approx(mean, rel=1e-14)


def test_a_share_of_rows_has_an_interval_and_no_other() -> None:
    stream = Stream("plain", ROWS)
    for metric, intervals in ((Recall(label=2), 1), (Precision(average="micro"), 1), (Recall(), 0), (FBeta(), 0)):
        assert len(both(metric, stream, weighted=False)[0]["intervals"]) == intervals
        assert len(both(metric, stream, weighted=True)[0]["intervals"]) == intervals


def test_a_batch_without_a_value_leaves_the_batch_mean_undefined() -> None:
    stream = Stream("plain", ROWS)
    stream.labels[:SIZE] = 0
    exact, batches = both(Recall(label=1), stream, weighted=False)
    assert exact["value"] is not None
    assert (batches["value"], batches["note"]) == (None, "undefined: 1 of 4 batches have no value")


@dataclass(frozen=True)
class ClassDistance:
    """The mean distance between prediction and label: a ratio of integers that is no share of rows."""

    name = "class_distance"
    headline = "class_distance"
    direction = "lower"
    columns = ("label", "prediction")

    def state(self, columns: Mapping[str, Array], weights: Array | None) -> Tally:
        apart = np.abs(columns["label"].astype(np.int64) - columns["prediction"])
        return Tally({"apart": np.int64(apart.sum()), "n": np.int64(len(apart))})

    def values(self, state: Tally) -> dict[str, Value]:
        apart, n = state.count("apart"), state.count("n")
        return {"class_distance": Value(apart / n, apart, n) if n else Value(None, note="undefined: no rows")}


def test_a_ratio_of_integers_that_is_no_share_has_no_interval() -> None:
    exact, _ = both(ClassDistance(), Stream("tied", ROWS), weighted=False)
    assert exact["numerator"] > exact["denominator"]
    assert exact["intervals"] == []
