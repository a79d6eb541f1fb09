"""Numbers that are known: by hand, from the literature, and from other libraries' published faults."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from milepost.core.protocols import Metric
from milepost.core.types import Array
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.tasks import Classification

CONFIDENCE = np.array([0.55, 0.62, 0.71, 0.78, 0.83, 0.88, 0.91, 0.95, 0.97, 0.99], np.float32)
CORRECT = np.array([1, 0, 1, 0, 1, 1, 1, 1, 0, 1])


def value(metric: Metric, columns: dict[str, Array], weights: Array | None = None, name: str | None = None) -> Any:
    return metric.values(metric.state(columns, weights))[name or metric.headline].value


def binned(confidence: Array, correct: Array) -> dict[str, Array]:
    rank = (np.asarray(correct) == 0).astype(np.int32)
    return {"confidence": np.float32(confidence), "rank": rank, "finite": np.ones(len(rank), np.uint8)}


# ------------------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize(("bins", "error"), [(5, 0.209), (10, 0.267), (15, 0.343)])
def test_calibration_error_depends_on_the_bins(bins: int, error: float) -> None:
    assert value(CalibrationError(bins=bins), binned(CONFIDENCE, CORRECT)) == pytest.approx(error, abs=1e-7)


def test_the_largest_gap_of_a_bin() -> None:
    name = "max_calibration_error_10_bins"
    assert value(CalibrationError(bins=10), binned(CONFIDENCE, CORRECT), name=name) == pytest.approx(0.62, abs=1e-7)


def test_the_number_of_bins_is_part_of_the_name() -> None:
    assert CalibrationError(bins=10).headline == "calibration_error_10_bins"
    assert CalibrationError().headline == "calibration_error"


def test_a_confidence_of_one_has_no_bin_of_its_own() -> None:
    assert value(CalibrationError(bins=10), binned(np.array([0.95, 1.0]), np.array([1, 0]))) == pytest.approx(
        0.475, abs=1e-7
    )


def test_an_edge_belongs_to_the_bin_below() -> None:
    metric = CalibrationError(bins=4)
    rows = binned(np.array([0.0, 0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.75, 1.0]), np.ones(6))
    assert metric.tables(metric.state(rows, None))["rows"].tolist() == [2, 1, 2, 1]


def test_an_edge_that_float32_cannot_hold_falls_where_its_float32_lies() -> None:
    # 0.6 as float32 is 0.60000002, above the edge 6/10; 0.7 is 0.69999999, below 7/10.
    metric = CalibrationError(bins=10)
    rows = metric.tables(metric.state(binned(np.array([0.6, 0.7]), np.ones(2)), None))["rows"]
    assert rows.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0]


def test_the_reliability_table() -> None:
    metric = CalibrationError(bins=5)
    table = metric.tables(metric.state(binned(CONFIDENCE, CORRECT), None))
    assert table["rows"].tolist() == [0, 0, 1, 3, 6]
    assert table["lower"].tolist() == [0.0, 0.2, 0.4, 0.6, 0.8]
    np.testing.assert_allclose(table["accuracy"], [np.nan, np.nan, 1, 1 / 3, 5 / 6])
    np.testing.assert_allclose(table["confidence"], [np.nan, np.nan, 0.55, 2.11 / 3, 5.53 / 6], atol=1e-7)


def test_states_of_other_bins_do_not_merge() -> None:
    five, ten = (CalibrationError(bins=bins).state(binned(CONFIDENCE, CORRECT), None) for bins in (5, 10))
    with pytest.raises(ValueError, match="different metrics"):
        five.merge(ten)


# ---------------------------------------------------------------------------------------------------- counts, doubled


@pytest.mark.parametrize("power", [24, 31, 53, 60])
def test_counts_stay_exact_where_floats_and_small_integers_end(power: int) -> None:
    metric = TopK(1)
    state = metric.state({"rank": np.array([0], np.int32)}, None)
    for _ in range(power):
        state = state.merge(state)
    for rank in (0, 7, 7):
        state = state.merge(metric.state({"rank": np.array([rank], np.int32)}, None))
    found = metric.values(state)["top1"]
    assert (found.numerator, found.denominator) == (2**power + 1, 2**power + 3)
    assert found.value == float(Fraction(2**power + 1, 2**power + 3))


def test_a_sum_of_losses_stays_exact_over_2_to_the_60_rows() -> None:
    metric = CrossEntropy()
    state = metric.state({"nll": np.array([0.1], np.float32), "finite": np.ones(1, np.uint8)}, None)
    for _ in range(60):
        state = state.merge(state)
    assert metric.values(state)["cross_entropy"].value == float(np.float32(0.1))


def test_a_confusion_matrix_stays_exact_and_grows() -> None:
    metric = Confusion()
    state = metric.state({"label": np.array([0]), "prediction": np.array([0])}, None)
    for _ in range(53):
        state = state.merge(state)
    state = state.merge(metric.state({"label": np.array([2]), "prediction": np.array([1])}, None))
    assert metric.tables(state)["matrix"].tolist() == [[2**53, 0, 0], [0, 0, 0], [0, 1, 0]]


# ----------------------------------------------------------------------------- ties, non-finite rows, absent classes


def reduced(scores: Any, labels: Any) -> dict[str, Array]:
    task = Classification(outputs="logits")
    labels = np.asarray(labels)
    return {**task.reduce(np.asarray(scores, np.float32), labels, frozenset(task.columns())), "label": labels}


def test_constant_logits_score_chance() -> None:
    rows = reduced(np.zeros((1000, 10)), np.arange(1000) % 10)
    assert value(TopK(1), rows) == 0.1
    assert value(TopK(5), rows) == 0.5
    assert value(Confusion(), rows) == 0.1
    assert value(TopK(5, ties="in_top_k"), rows) == 1.0
    assert value(TopK(1, ties="in_top_k"), rows) == 1.0


def test_nan_is_never_right() -> None:
    rows = reduced(np.full((4, 10), np.nan), [0, 1, 2, 3])
    assert [value(TopK(k, ties=ties), rows) for k in (1, 5, 10) for ties in ("class_index", "in_top_k")] == [0.0] * 6
    assert value(CrossEntropy(), rows) is None
    assert value(CrossEntropy(nonfinite="skip"), rows) is None
    assert value(CalibrationError(nonfinite="skip"), rows) is None
    metric = Confusion()
    assert metric.tables(metric.state(rows, None))["nonfinite"].tolist() == [1, 1, 1, 1]
    assert value(metric, rows) == 0.0


def test_one_nonfinite_row_leaves_a_mean_undefined_or_is_left_out() -> None:
    rows = reduced([[0.0, 0.0], [np.nan, 0.0]], [0, 0])
    assert value(CrossEntropy(), rows) is None
    assert value(CrossEntropy(nonfinite="skip"), rows) == float(np.float32(math.log(2)))
    assert "1 of 2 rows are non-finite" in str(CrossEntropy().values(CrossEntropy().state(rows, None)))
    assert value(TopK(1), rows) == 0.5


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.3])])
def test_a_label_of_no_probability_is_infinite_and_says_so(weights: Array | None) -> None:
    rows = reduced([[0.0, -np.inf], [0.0, 0.0]], [1, 0])
    found = CrossEntropy().values(CrossEntropy().state(rows, weights))["cross_entropy"]
    assert found.value == math.inf
    assert found.note == "infinite: 1 rows give their label no probability"


def test_an_absent_class_does_not_enter_the_mean_recall() -> None:
    metric = Confusion()
    found = metric.values(metric.state({"label": np.array([0, 0, 3]), "prediction": np.array([0, 1, 3])}, None))
    assert found["mean_per_class_accuracy"].value == 0.75
    assert found["mean_per_class_accuracy"].note == "over 2 classes present of 4"


# --------------------------------------------------------------------------------------------------------- the sums


def test_the_mean_of_float32_losses_is_rounded_once() -> None:
    nll = (np.arange(1000) / 7).astype(np.float32)
    found = CrossEntropy().values(CrossEntropy().state({"nll": nll, "finite": np.ones(1000, np.uint8)}, None))
    assert found["cross_entropy"].numerator == 71357.14285285771
    assert found["cross_entropy"].value == float(sum(map(Fraction, nll.tolist())) / 1000)


def test_weights_join_exactly() -> None:
    nll, weights = np.array([0.1, 0.7, 3e-7], np.float32), np.array([0.1, 1e17, 1 / 3])
    rows: dict[str, Array] = {"nll": nll, "finite": np.ones(3, np.uint8), "rank": np.array([0, 1, 0])}
    pairs = [(Fraction(a), Fraction(b)) for a, b in zip(nll.tolist(), weights.tolist(), strict=True)]
    whole = sum(b for _, b in pairs)
    assert value(CrossEntropy(), rows, weights) == float(sum(a * b for a, b in pairs) / whole)
    assert value(TopK(1), rows, weights) == float((pairs[0][1] + pairs[2][1]) / whole)
