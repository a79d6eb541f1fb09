"""Intervals from kept columns: the same bits for every order and split, fractions as their judge, and who has none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.core.protocols import Metric
from milepost.core.types import Array, Value
from milepost.data._grouped_order import grouped
from milepost.data._order import make_order
from milepost.metrics import BalancedAccuracy, Brier, CrossEntropy, FBeta, Precision, Recall, Specificity, TopK
from milepost.metrics._states import ExactSums, Tally
from milepost.scoring import columns as scoring_columns
from milepost.scoring.columns import Scored
from milepost.scoring.estimators import exact
from milepost.scoring.slices import rows_by_label, slice_records
from milepost.stats.clustered import Spread
from milepost.stats.means import t_interval
from milepost.stats.wilson import wilson, wilson_of

METRICS = (TopK(1), CrossEntropy(nonfinite="skip"), Brier(nonfinite="skip"))


@dataclass(frozen=True)
class Reader:
    """Columns in memory, in the order of the pass."""

    columns: dict[str, Array]

    @property
    def names(self) -> set[str]:
        return set(self.columns)

    def slice(self, name: str, start: int, stop: int) -> Array:
        return self.columns[name][start:stop]

    def take(self, name: str, positions: Array) -> Array:
        return self.columns[name][positions]


def rows_of(n: int, seed: int = 0, *, weights: bool = False, groups: int = 0) -> dict[str, Array]:
    """Return columns of n rows in the source's order: a fifth is wrong, three have no finite scores."""
    random = np.random.default_rng(seed)
    found: dict[str, Array] = {
        "label": random.integers(0, 3, n),
        "prediction": random.integers(0, 3, n),
        "rank": (random.random(n) < 0.2).astype(np.int32),
        "nll": random.exponential(0.5, n).astype(np.float32),
        "squared_error": (2 * random.random(n) ** 3).astype(np.float32),
        "finite": np.ones(n, np.uint8),
    }
    for row in random.integers(0, n, 3):
        found["finite"][row], found["nll"][row], found["squared_error"][row] = 0, np.nan, np.nan
    if weights:
        found["weight"] = random.lognormal(0.0, 1.0, n)
    if groups:
        found["group"] = np.sort(random.integers(0, groups, n))
    return found


def scored_of(rows: dict[str, Array], order: str = "natural", seed: int = 0) -> Scored:
    n = len(rows["rank"])
    made = grouped(order, rows["group"], seed) if "group" in rows else make_order(order, n, seed)
    at = made.rows(np.arange(n))
    data: Any = Reader({name: item[at] for name, item in rows.items() if name in ("label", "weight", "group")})
    kept: Any = Reader({name: item[at] for name, item in rows.items() if name not in data.names})
    return Scored(kept, data, made, n, n, "test")


@dataclass(frozen=True)
class Right:
    """A share without hits row by row."""

    name = "right"
    headline = "right"
    direction = "higher"
    columns = ("rank",)

    def state(self, columns: Mapping[str, Array], _: Array | None) -> Tally:
        return Tally({"right": np.int64((columns["rank"] == 0).sum()), "n": np.int64(len(columns["rank"]))})

    def values(self, state: Tally) -> dict[str, Value]:
        right, n = state.count("right"), state.count("n")
        return {"right": Value(right / n, right, n, proportion=True)}


def values_of(metric: Metric, scored: Scored) -> dict[str, Any]:
    return dict(exact(scored, metric)[0][0])


def interval(metric: Metric, scored: Scored) -> dict[str, Any]:
    (found,) = values_of(metric, scored)["intervals"]
    return dict(found)


@pytest.mark.parametrize("metric", METRICS)
@given(st.booleans(), st.sampled_from([0, 12, 40]), st.integers(0, 5))
@settings(max_examples=10)
def test_no_order_or_split_changes_a_bit(metric: Metric, weighted: bool, groups: int, seed: int) -> None:
    rows = rows_of(120, seed, weights=weighted, groups=groups)
    whole = interval(metric, scored_of(rows))
    within = np.random.default_rng(seed).permutation(120)
    if groups:
        within = within[np.argsort(rows["group"][within], kind="stable")]  # other orders of the rows of a group
    for chunk in (7, 64, 1 << 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scoring_columns, "CHUNK", chunk)
            assert interval(metric, scored_of(rows)) == whole
            assert interval(metric, scored_of(rows, "seeded", seed)) == whole
            assert interval(metric, scored_of({name: item[within] for name, item in rows.items()})) == whole


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [0, 25])
def test_it_is_that_of_the_rows_in_memory(weighted: bool, groups: int) -> None:
    rows = rows_of(200, 3, weights=weighted, groups=groups)
    scored, weights, numbers = scored_of(rows, "seeded", 1), rows.get("weight"), rows.get("group")
    right = (rows["rank"] == 0).astype(float)
    if weighted or groups:
        assert interval(TopK(1), scored) == pytest.approx(
            wilson_of(float(np.average(right, weights=weights)), Spread.of(right, weights, numbers)).plain()
        )
    else:
        assert interval(TopK(1), scored) == wilson(int(right.sum()), 200).plain()
    fine = rows["finite"] == 1
    losses, shares = rows["nll"][fine].astype(float), None if weights is None else weights[fine]
    spread = Spread.of(losses, shares, None if numbers is None else numbers[fine])
    expected = t_interval(float(np.average(losses, weights=shares)), spread)
    assert expected is not None
    assert interval(METRICS[1], scored) == pytest.approx(expected.plain())


@pytest.mark.parametrize("metric", [Recall(label=1), Precision(label=1), Specificity(label=1), Recall(average="micro")])
@pytest.mark.parametrize(("weighted", "groups"), [(True, 0), (False, 25), (True, 25)])
def test_a_share_of_some_rows_is_about_these(metric: Metric, weighted: bool, groups: int) -> None:
    rows = rows_of(300, 3, weights=weighted, groups=groups)
    label, prediction, one = rows["label"], rows["prediction"], rows["label"] == 1
    counted = {"precision_class_1": prediction == 1, "recall_class_1": one, "specificity_class_1": ~one}
    chosen = counted.get(metric.headline, np.ones(300, bool))
    hits = (prediction != 1 if metric.name == "specificity" else label == prediction)[chosen].astype(float)
    weights, numbers = (None if name not in rows else rows[name][chosen] for name in ("weight", "group"))
    expected = wilson_of(float(np.average(hits, weights=weights)), Spread.of(hits, weights, numbers))
    assert interval(metric, scored_of(rows, "seeded", 1)) == pytest.approx(expected.plain())


def test_repeated_rows_of_a_group_add_no_certainty() -> None:
    rows = rows_of(60)
    many = {name: np.repeat(item, 20) for name, item in rows.items()}
    alone, plain = interval(TopK(1), scored_of(rows)), interval(TopK(1), scored_of(many))
    clustered = interval(TopK(1), scored_of({**many, "group": np.repeat(np.arange(60), 20)}))
    assert plain["high"] - plain["low"] < 0.3 * (alone["high"] - alone["low"])
    assert (clustered["low"], clustered["high"]) == pytest.approx((alone["low"], alone["high"]), abs=0.01)
    assert (clustered["groups"], "groups" in plain) == (60, False)


def test_a_slice_is_clustered_by_the_groups_that_it_has() -> None:
    rows = {**rows_of(300, 5, groups=30), "site": np.arange(300) % 3}
    scored = scored_of(rows, "seeded", 2)
    site = rows["site"][scored.order.rows(np.arange(300))]
    slices = next(slice_records(scored, [TopK(1)], [], "site", rows_by_label(scored, "site", site)))["slices"]
    for value in range(3):
        chosen = {name: item[rows["site"] == value] for name, item in rows.items()}
        assert slices[f"site={value}"][0]["intervals"] == [interval(TopK(1), scored_of(chosen))]


def test_who_has_none_and_says_why() -> None:
    rows = rows_of(100, 1, groups=10)
    for metric, why in (
        (Right(), "no interval: rows belong to groups, and it has no value a row"),
        (FBeta(label=1), None),
        (Recall(), None),
        (BalancedAccuracy(), None),
    ):
        assert (values_of(metric, scored_of(rows))["intervals"], values_of(metric, scored_of(rows))["note"]) == (
            [],
            why,
        )
    one = {**rows, "group": np.zeros(100, np.int64)}
    assert values_of(TopK(1), scored_of(one))["note"] == "no interval: it takes two groups of like weight"
    heavy = {**rows_of(100), "weight": np.array([1e9] + [1.0] * 99)}
    assert values_of(TopK(1), scored_of(heavy))["note"] == "no interval: it takes two rows of like weight"
    alike = {**rows_of(100), "nll": np.full(100, 0.5, np.float32), "finite": np.ones(100, np.uint8)}
    found = values_of(CrossEntropy(), scored_of(alike))
    assert (found["intervals"], found["note"]) == ([], "no interval: every row has the same value")
    undefined = values_of(CrossEntropy(), scored_of(rows))
    assert undefined["intervals"] == []
    assert "no interval" not in undefined["note"]


@dataclass(frozen=True)
class Size:
    """A mean of float64 numbers of any size."""

    name = "size"
    headline = "size"
    direction = "lower"
    columns = ("size",)
    range = (-math.inf, math.inf)

    def contribution(self, columns: Mapping[str, Array]) -> Array:
        return columns["size"]

    def state(self, columns: Mapping[str, Array], _: Array | None) -> Tally:
        return Tally({"n": np.int64(len(columns["size"]))}, {"size": ExactSums.of(columns["size"])})

    def values(self, state: Tally) -> dict[str, Value]:
        return {"size": Value(state.sums["size"].ratio(state.count("n")))}


@pytest.mark.parametrize("groups", [0, 20])
@pytest.mark.parametrize("rows", [100, 1000])
def test_numbers_that_cannot_be_squared_have_none(rows: int, groups: int) -> None:
    large = {**rows_of(rows, groups=groups), "size": np.arange(1.0, rows + 1) * 1e300}
    found = values_of(Size(), scored_of(large))
    assert (found["intervals"], found["note"]) == ([], "no interval: the values are too large to be squared")


def test_bounds_are_possible_values() -> None:
    rows = {**rows_of(60), "finite": np.ones(60, np.uint8)}
    rows["squared_error"] = np.array([0.0] * 57 + [2.0, 1.0, 0.5], np.float32)
    assert interval(Brier(), scored_of(rows))["low"] == 0.0
