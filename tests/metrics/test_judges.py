"""Other libraries' numbers for the same rows, after every row of a stream."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn import metrics as judge
from torchmetrics import classification as peer

from milepost.core.protocols import Metric
from milepost.core.types import Array, Value
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.tasks import Classification

ROWS, CLASSES = 80, 6
ALL = list(range(CLASSES))


class Stream:
    """Random rows without ties; logits, their probabilities in float64, labels, weights, columns."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, CLASSES, ROWS)
        logits = random.normal(size=(ROWS, CLASSES)) * random.choice([0.2, 3.0])
        logits[np.arange(ROWS), self.labels] += random.random(ROWS) * 2
        self.logits = logits.astype(np.float32)
        exponentials = np.exp(self.logits.astype(np.float64))
        self.shares = exponentials / exponentials.sum(axis=1, keepdims=True)
        self.weights = random.integers(1, 50, ROWS) / 7
        task = Classification(outputs="logits")
        self.columns = {**task.reduce(self.logits, self.labels, frozenset(task.columns())), "label": self.labels}

    def values(self, metric: Metric, weights: Array | None = None) -> Iterator[tuple[int, dict[str, Value]]]:
        """Yield (rows so far, values), merging one row after another."""
        state = None
        for n in range(ROWS):
            row = {name: self.columns[name][n : n + 1] for name in metric.columns}
            new = metric.state(row, None if weights is None else weights[n : n + 1])
            state = new if state is None else state.merge(new)
            yield n + 1, metric.values(state)


@pytest.fixture(params=[0, 1, 2])
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


def test_accuracy(stream: Stream) -> None:
    best = stream.logits.argmax(axis=1)
    for n, values in stream.values(TopK(1)):
        assert values["top1"].value == judge.accuracy_score(stream.labels[:n], best[:n])
    for n, values in stream.values(TopK(1), stream.weights):
        expected = judge.accuracy_score(stream.labels[:n], best[:n], sample_weight=stream.weights[:n])
        assert values["top1"].value == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_top_k(stream: Stream, k: int) -> None:
    for n, values in stream.values(TopK(k)):
        expected = judge.top_k_accuracy_score(stream.labels[:n], stream.logits[:n], k=k, labels=ALL)
        assert values[f"top{k}"].value == expected


def test_cross_entropy(stream: Stream) -> None:
    for n, values in stream.values(CrossEntropy()):
        expected = judge.log_loss(stream.labels[:n], stream.shares[:n], labels=ALL)
        assert values["cross_entropy"].value == pytest.approx(expected, rel=2e-7)
    for n, values in stream.values(CrossEntropy(), stream.weights):
        expected = judge.log_loss(stream.labels[:n], stream.shares[:n], labels=ALL, sample_weight=stream.weights[:n])
        assert values["cross_entropy"].value == pytest.approx(expected, rel=2e-7)


def test_mean_per_class_accuracy(stream: Stream) -> None:
    best = stream.logits.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # early prefixes predict classes that no label has yet
        for n, values in stream.values(Confusion()):
            expected = judge.balanced_accuracy_score(stream.labels[:n], best[:n])
            assert values["mean_per_class_accuracy"].value == pytest.approx(expected, rel=1e-14)


def test_confusion_matrix_and_each_class(stream: Stream) -> None:
    metric = Confusion()
    best = stream.logits.argmax(axis=1)
    for weights in (None, stream.weights):
        tables = metric.tables(metric.state(stream.columns, weights))
        matrix = judge.confusion_matrix(stream.labels, best, labels=ALL, sample_weight=weights)
        np.testing.assert_allclose(tables["matrix"], matrix, rtol=1e-13)
        precision, recall, _, support = judge.precision_recall_fscore_support(
            stream.labels, best, labels=ALL, sample_weight=weights, zero_division=np.nan
        )
        np.testing.assert_allclose(tables["precision"], precision, rtol=1e-13)
        np.testing.assert_allclose(tables["recall"], recall, rtol=1e-13)
        np.testing.assert_allclose(tables["support"], support, rtol=1e-13)


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration(stream: Stream, bins: int) -> None:
    expected = peer.MulticlassCalibrationError(CLASSES, n_bins=bins, norm="l1")
    largest = peer.MulticlassCalibrationError(CLASSES, n_bins=bins, norm="max")
    for n, values in stream.values(CalibrationError(bins=bins)):
        row = torch.tensor(stream.shares[n - 1 : n], dtype=torch.float32), torch.tensor(stream.labels[n - 1 : n])
        for item in (expected, largest):
            item.update(*row)
        first, second = values.values()
        assert first.value == pytest.approx(float(expected.compute()), abs=1e-6)
        assert second.value == pytest.approx(float(largest.compute()), abs=1e-6)


def test_top5_of_the_peer(stream: Stream) -> None:
    expected = peer.MulticlassAccuracy(CLASSES, top_k=5, average="micro")
    for n, values in stream.values(TopK(5)):
        expected.update(torch.tensor(stream.logits[n - 1 : n]), torch.tensor(stream.labels[n - 1 : n]))
        assert values["top5"].value == pytest.approx(float(expected.compute()), abs=1e-6)
