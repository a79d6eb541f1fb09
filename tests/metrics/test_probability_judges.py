"""Brier score and smoothed cross-entropy after every row of a stream, beside scikit-learn, PyTorch and torchmetrics."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn import metrics as judge
from tests.metrics._stream import ALL, KINDS, Stream

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.metrics import Brier, CrossEntropy
from milepost.tasks import Classification

TORCH_LOSS = torch.nn.functional.cross_entropy


@pytest.fixture(params=KINDS)
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


@pytest.mark.parametrize("weighted", [False, True])
def test_brier(stream: Stream, weighted: bool) -> None:
    weights = stream.weights if weighted else None
    for n, values in stream.values(Brier(), weights):
        expected = judge.brier_score_loss(
            stream.labels[:n],
            stream.shares[:n],
            labels=ALL,
            sample_weight=None if weights is None else weights[:n],
            scale_by_half=False,
        )
        assert values["brier"].value == pytest.approx(expected, rel=3e-6, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.1, 0.75, 1.0])
def test_label_smoothing(stream: Stream, smoothing: float) -> None:
    metric = CrossEntropy(label_smoothing=smoothing)
    logits, labels = torch.tensor(stream.logits, dtype=torch.float64), torch.tensor(stream.labels)
    rows = TORCH_LOSS(logits, labels, label_smoothing=smoothing, reduction="none").numpy()
    for weights in (None, stream.weights):
        for n, values in stream.values(metric, weights):
            expected = np.average(rows[:n], weights=None if weights is None else weights[:n])
            assert values[metric.headline].value == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_is_the_log_loss_of_two_distributions(stream: Stream) -> None:
    uniform = -np.log(stream.shares).mean(axis=1)
    for n, values in stream.values(CrossEntropy(label_smoothing=0.3)):
        plain = judge.log_loss(stream.labels[:n], stream.shares[:n], labels=ALL)
        expected = 0.7 * plain + 0.3 * uniform[:n].mean()
        assert values["cross_entropy_smoothed_0.3"].value == pytest.approx(expected, rel=1e-6)


def test_any_smoothing_is_asked_of_the_same_columns() -> None:
    nll, uniform = np.array([0.1, 3.0], np.float32), np.array([2.0, 0.7], np.float32)
    rows: dict[str, Array] = {"nll": nll, "uniform_nll": uniform, "finite": np.ones(2, np.uint8)}
    for smoothing in (1e-9, 0.1, 0.9, 1.0):
        metric = CrossEntropy(label_smoothing=smoothing)
        losses = [
            Fraction(float(np.float32((1 - smoothing) * float(own) + smoothing * float(every))))
            for own, every in zip(nll, uniform, strict=True)
        ]
        assert metric.values(metric.state(rows, None))[metric.headline].value == float(sum(losses) / 2)
    tiny = CrossEntropy(label_smoothing=1e-300)
    assert tiny.contribution(rows).tolist() == CrossEntropy().contribution(rows).tolist()


def test_a_masked_class_makes_smoothed_labels_infinite_and_says_so() -> None:
    task = Classification(outputs="logits")
    rows = task.reduce(np.array([[0.0, -np.inf, 0.0], [0.0, 0.0, 0.0]]), np.array([0, 1]), frozenset(task.columns()))
    for metric in (CrossEntropy(label_smoothing=0.1), CrossEntropy(label_smoothing=1.0)):
        found = metric.values(metric.state(rows, None))[metric.headline]
        assert (found.value, found.note) == (np.inf, "infinite: 1 rows give some class no probability")
    assert CrossEntropy().values(CrossEntropy().state(rows, None))["cross_entropy"].value == pytest.approx(
        (np.log(2) + np.log(3)) / 2
    )


@pytest.mark.parametrize("metric", [Brier(), CrossEntropy(label_smoothing=0.1)])
def test_nonfinite_rows_leave_it_undefined_or_are_left_out(metric: Brier | CrossEntropy) -> None:
    task = Classification(outputs="logits")
    rows = task.reduce(np.array([[0.0, 0.0], [np.nan, 0.0]]), np.array([0, 1]), frozenset(task.columns()))
    found = metric.values(metric.state(rows, None))[metric.headline]
    assert found.value is None
    assert "1 of 2 rows are non-finite" in str(found.note)
    skip = dataclasses.replace(metric, nonfinite="skip")
    expected = 0.5 if isinstance(metric, Brier) else float(np.float32(np.log(2)))
    assert skip.values(skip.state(rows, None))[skip.headline].value == expected


def test_a_sure_row_has_a_brier_score_within_its_range() -> None:
    task = Classification(outputs="logits")
    logits = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32) * 12
    squares = np.concatenate(
        [task.reduce(logits, np.full(2000, label), frozenset({"squared_error"}))["squared_error"] for label in range(4)]
    )
    assert squares.min() >= 0.0
    assert squares.max() <= 2.0


def test_the_uniform_column_worked_out() -> None:
    wanted = frozenset({"uniform_nll"})
    logits = np.array([[0.0, np.log(3.0)], [1000.0, -1000.0]])
    found = Classification(outputs="logits").reduce(logits, np.array([0, 0]), wanted)["uniform_nll"]
    np.testing.assert_allclose(found, [(np.log(4) + np.log(4 / 3)) / 2, 1000.0], rtol=1e-7)
    shares = np.array([[0.25, 0.75], [1.0, 0.0], [np.nan, 0.5]])
    found = Classification(outputs="probabilities").reduce(shares, np.zeros(3, int), wanted)["uniform_nll"]
    np.testing.assert_allclose(found, [(np.log(4) + np.log(4 / 3)) / 2, np.inf, np.nan], rtol=1e-7)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan"), True, "0.1"])
def test_wrong_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(UsageError, match=r"smoothing\)=.*expected a number from 0 to 1"):
        CrossEntropy(label_smoothing=smoothing)
