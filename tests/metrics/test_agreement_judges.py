"""Balanced accuracy, kappa and Matthews after every row of a stream, beside scikit-learn and torchmetrics."""

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as judge
from tests.metrics._stream import ALL, CLASSES, KINDS, Stream
from torchmetrics import classification as peer

from milepost.core.protocols import Metric
from milepost.core.types import Array, Value
from milepost.errors import UsageError
from milepost.metrics import BalancedAccuracy, CohenKappa, Confusion, Matthews
from milepost.metrics.matthews import _root


@pytest.fixture(params=KINDS)
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


def agree(metric: Metric, stream: Stream, expected: Any) -> None:
    """Compare every prefix's value, without weights and with; an undefined one is NaN for the judge."""
    for weights in (None, stream.weights):
        for n, values in stream.values(metric, weights):
            weight = None if weights is None else weights[:n]
            other = expected(stream.labels[:n], stream.best[:n], sample_weight=weight)
            found = values[metric.headline]
            if found.value is None:
                assert np.isnan(other), found
            else:
                assert found.value == pytest.approx(other, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_balanced_accuracy(stream: Stream, adjusted: bool) -> None:
    def expected(truth: Array, best: Array, **weight: Any) -> float:
        score = judge.balanced_accuracy_score(truth, best, adjusted=adjusted, **weight)
        return float(score) if not adjusted or len(set(truth.tolist())) > 1 else math.nan

    agree(BalancedAccuracy(adjusted=adjusted), stream, expected)


@pytest.mark.parametrize("weights", [None, np.array([0.1, 1e9, 1 / 3] * 8)])
def test_balanced_accuracy_is_the_headline_of_the_matrix(stream: Stream, weights: Array | None) -> None:
    short, long = BalancedAccuracy(), Confusion()
    found = short.values(short.state(stream.columns, weights))["balanced_accuracy"]
    assert found == long.values(long.state(stream.columns, weights))["mean_per_class_accuracy"]


def test_accuracy_by_class(stream: Stream) -> None:
    metric = BalancedAccuracy()
    for weights in (None, stream.weights):
        tables = metric.tables(metric.state(stream.columns, weights))
        here = range(len(tables["accuracy"]))
        recall = judge.recall_score(
            stream.labels, stream.best, labels=here, average=None, sample_weight=weights, zero_division=np.nan
        )
        np.testing.assert_allclose(tables["accuracy"], recall, rtol=1e-12)
        whole = np.ones(len(stream.labels)) if weights is None else weights
        for name, chosen in (("support", stream.labels), ("predicted", stream.best)):
            expected = np.bincount(chosen, weights=whole, minlength=len(here))
            np.testing.assert_allclose(tables[name], expected, rtol=1e-12)


@pytest.mark.parametrize("distance", ["equal", "linear", "quadratic"])
def test_kappa(stream: Stream, distance: Any) -> None:
    def expected(truth: Array, best: Array, **weight: Any) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of undefined prefixes
            kind = None if distance == "equal" else distance
            return float(judge.cohen_kappa_score(truth, best, labels=ALL, weights=kind, **weight))

    agree(CohenKappa(distance=distance), stream, expected)


@pytest.mark.parametrize("distance", ["equal", "linear", "quadratic"])
def test_kappa_of_the_peer(stream: Stream, distance: Any) -> None:
    other = peer.MulticlassCohenKappa(CLASSES, weights="none" if distance == "equal" else distance)
    metric = CohenKappa(distance=distance)
    for n, values in stream.values(metric):
        other.update(torch.tensor(stream.best[n - 1 : n]), torch.tensor(stream.labels[n - 1 : n]))
        value = values[metric.headline].value
        if value is not None:
            assert value == pytest.approx(float(other.compute()), abs=1e-5)


def test_matthews(stream: Stream) -> None:
    def expected(truth: Array, best: Array, **weight: Any) -> float:
        one = min(len(set(truth.tolist())), len(set(best.tolist()))) == 1  # there it says 0
        return math.nan if one else float(judge.matthews_corrcoef(truth, best, **weight))

    agree(Matthews(), stream, expected)


def value(metric: Metric, label: Any, prediction: Any, weights: Array | None = None) -> Value:
    rows = {"label": np.array(label), "prediction": np.array(prediction, np.int32)}
    return metric.values(metric.state(rows, weights))[metric.headline]


def test_nonfinite_rows_are_predicted_as_a_class_of_their_own() -> None:
    label, prediction = [0, 1, 1, 2, 2, 0], [0, 1, -1, 2, -1, 1]
    assert value(Matthews(), label, prediction).value == pytest.approx(judge.matthews_corrcoef(label, prediction))
    assert value(CohenKappa(), label, prediction).value == pytest.approx(judge.cohen_kappa_score(label, prediction))
    assert value(BalancedAccuracy(), label, prediction).value == 0.5
    fine = np.array(prediction) >= 0
    for distance in ("equal", "linear", "quadratic"):
        kept = CohenKappa(distance=distance, nonfinite="skip")
        weights = np.arange(1.0, 7.0)
        expected = value(kept, np.array(label)[fine], np.array(prediction)[fine], weights[fine])
        assert value(kept, label, prediction, weights) == expected
    found = value(CohenKappa(distance="linear"), label, prediction)
    assert found.value is None
    assert "2 rows are non-finite, at no distance from a label" in str(found.note)


def test_undefined_is_named_and_never_zero() -> None:
    one = ([1, 1, 1], [1, 1, 1])
    for metric in (CohenKappa(), CohenKappa(distance="linear"), CohenKappa(distance="quadratic")):
        assert value(metric, *one) == Value(None, note="undefined: labels and predictions are all one class")
    assert value(Matthews(), *one) == Value(None, note="undefined: all labels are one class")
    assert value(Matthews(), [0, 1], [1, 1]) == Value(None, note="undefined: all predictions are one class")
    assert value(Matthews(), [0, 1], [-1, -1]) == Value(None, note="undefined: all predictions are one class")
    assert value(BalancedAccuracy(adjusted=True), *one) == Value(None, note="undefined: all rows are of one class")
    assert value(CohenKappa(nonfinite="skip"), [0, 1], [-1, -1]).note == "undefined: all 2 rows are non-finite"


def test_the_ends_of_the_ranges() -> None:
    label, opposite = [0, 0, 3, 3], [3, 3, 0, 0]
    for metric in (Matthews(), CohenKappa(), CohenKappa(distance="linear"), CohenKappa(distance="quadratic")):
        assert value(metric, label, label).value == 1.0
        assert value(metric, label, opposite).value == -1.0
        assert value(metric, [0, 0, 1, 1], [0, 1, 0, 1]).value == 0.0
    assert value(BalancedAccuracy(adjusted=True), label, opposite).value == -1.0


def test_matthews_stays_exact_where_floats_lose_rows() -> None:
    # The squares of 2^27 rows need more than 53 bits; one wrong row must not get lost in them.
    metric = Matthews()
    state = metric.state({"label": np.array([0, 1]), "prediction": np.array([0, 1], np.int32)}, None)
    for _ in range(26):
        state = state.merge(state)
    state = state.merge(metric.state({"label": np.array([0]), "prediction": np.array([1], np.int32)}, None))
    half, n = 2**26, 2**27 + 1
    # Labels are half + 1 and half, predictions half and half + 1: both factors under the root are the same.
    expected = Fraction(2 * half * n - 2 * half * (half + 1), n * n - (half + 1) ** 2 - half**2)
    assert metric.values(state)["matthews"].value == float(expected) < 1.0


@pytest.mark.parametrize("scale", [1, 3, 10**40, 2**1074])
def test_the_root_is_rounded_once(scale: int) -> None:
    random = np.random.default_rng(0)
    for top, bottom in random.integers(1, 10**9, (200, 2)).tolist():
        low = _root(top * scale, bottom * scale)
        below, above = (Fraction(math.nextafter(low, end)) for end in (-math.inf, math.inf))
        square = Fraction(top, bottom)
        assert ((Fraction(low) + below) / 2) ** 2 <= square <= ((Fraction(low) + above) / 2) ** 2
    assert _root(0, 5 * scale) == 0.0
    assert _root(9 * scale, 4 * scale) == 1.5


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        (CohenKappa, {"distance": "cubic"}, r"CohenKappa\(distance\)='cubic': expected 'equal' or"),
        (CohenKappa, {"nonfinite": "zero"}, "expected 'undefined' or 'skip'"),
        (BalancedAccuracy, {"adjusted": 1}, r"BalancedAccuracy\(adjusted\)=1: expected True or False"),
    ],
)
def test_wrong_settings_are_refused(cls: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cls(**fields)


def test_the_root_knows_on_which_side_of_half_a_unit_it_is() -> None:
    half = (2**53 + 1) ** 2 << 400  # the square of what lies midway between 1 and the next float
    assert _root(half, 1 << 506) == 1.0
    assert _root(half + 1, 1 << 506) == 1.0 + 2.0**-52
