"""A metric of float64 values: its weighted mean is the true one rounded once, and the laws find where it is not."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.core.types import Array, Columns, Value
from milepost.metrics._mean import mean, summed
from milepost.metrics._states import ExactSums, Tally
from milepost.testing import metrics as laws
from milepost.testing.metrics import check_metric, columns_for


@dataclass(frozen=True)
class ReciprocalRank:
    """Mean of 1 / (1 + rank of the label); 0 where non-finite.  It does not say that it is a mean."""

    name: ClassVar[str] = "reciprocal_rank"
    headline: ClassVar[str] = "mrr"
    columns: ClassVar[tuple[str, ...]] = ("rank", "finite")
    direction: ClassVar[str] = "higher"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        return summed(self.shares(columns), np.ones(len(columns["rank"])), weights)

    def values(self, state: Tally) -> dict[str, Value]:
        return {"mrr": mean(state, skip=False)}

    @staticmethod
    def shares(columns: Columns) -> Array:
        return np.where(columns["finite"] != 0, 1.0 / (1.0 + columns["rank"].astype(np.float64)), 0.0)


class MeanReciprocalRank(ReciprocalRank):
    """The same, which says that it is a mean."""

    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def contribution(self, columns: Columns) -> Array:
        return self.shares(columns)


class Boundless(ReciprocalRank):
    """Gives contributions and no range, so that nothing takes it as a mean."""

    def contribution(self, columns: Columns) -> Array:
        return self.shares(columns) / 2


def for_float32(values: Array, weights: Array, cells: Array | None = None, shape: tuple[int, ...] = ()) -> ExactSums:
    """Sum products as is exact for values that fit float32 alone: weights are cut, values are not."""
    weight = np.ascontiguousarray(weights, np.float64)
    high = (weight.view(np.int64) & -(1 << 27)).view(np.float64)
    wide = np.asarray(values, np.float64)
    return ExactSums.of(wide * high, cells, shape).merge(ExactSums.of(wide * (weight - high), cells, shape))


@pytest.mark.parametrize("metric", [ReciprocalRank(), MeanReciprocalRank()], ids=lambda item: type(item).__name__)
def test_it_keeps_the_laws(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: type(metric))
    check_metric(metric, columns_for(metric))


@pytest.mark.parametrize(
    ("metric", "words"),
    [(ReciprocalRank(), "a sum is not exact"), (MeanReciprocalRank(), "a sum is not exact|mean of its contributions")],
    ids=lambda item: type(item).__name__ if isinstance(item, ReciprocalRank) else "",
)
def test_the_laws_find_a_sum_that_is_not_exact(metric: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: type(metric))
    monkeypatch.setattr(ExactSums, "products", staticmethod(for_float32))
    with pytest.raises(AssertionError, match=words):
        check_metric(metric, columns_for(metric))


def test_a_mean_without_a_range_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: Boundless)
    with pytest.raises(AssertionError, match="has methods of MeanMetric and lacks range"):
        check_metric(Boundless(), columns_for(Boundless()))


@given(st.lists(st.tuples(st.integers(0, 999), st.floats(1e-60, 1e60)), min_size=1, max_size=30))
def test_any_weights_give_the_true_mean_rounded_once(rows: list[tuple[int, float]]) -> None:
    ranks, weights = (np.array(item) for item in zip(*rows, strict=True))
    metric = ReciprocalRank()
    found = metric.values(metric.state({"rank": ranks, "finite": np.ones(len(rows))}, weights))["mrr"]
    total = sum(Fraction(1.0 / (1.0 + rank)) * Fraction(weight) for rank, weight in rows)
    assert found.value == float(total / sum(Fraction(weight) for _, weight in rows))
