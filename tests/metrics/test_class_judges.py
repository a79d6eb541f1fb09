"""Precision, recall, F and specificity after every row of a stream, beside scikit-learn and torchmetrics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as judge
from tests.metrics._stream import ALL, CLASSES, KINDS, Stream
from torchmetrics import classification as peer

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.metrics import FBeta, Precision, Recall, Specificity

Ratio = Precision | Recall | FBeta | Specificity


@pytest.fixture(params=KINDS)
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


def prefixes(stream: Stream, weights: Array | None) -> Iterator[tuple[Array, Array, Array | None]]:
    for n in range(1, len(stream.labels) + 1):
        yield stream.labels[:n], stream.best[:n], None if weights is None else weights[:n]


def members(classes: Any, truth: Array, best: Array) -> list[int]:
    """Return the classes over which a macro average goes."""
    if classes == "present":
        return sorted(set(truth.tolist()))
    return sorted({*truth.tolist(), *best.tolist()}) if classes == "seen" else ALL


def agree(metric: Ratio, stream: Stream, expected: list[float]) -> None:
    """Compare the values of every prefix, without weights and then with; NaN stands for undefined."""
    found = [
        values[metric.headline].value
        for weights in (None, stream.weights)
        for _, values in stream.values(metric, weights)
    ]
    for one, other in zip(found, expected, strict=True):
        assert one is None if np.isnan(other) else one == pytest.approx(other, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("undefined", ["zero", "skip"])
@pytest.mark.parametrize(
    ("average", "classes"), [("macro", "present"), ("macro", "seen"), ("macro", CLASSES), ("weighted", "present")]
)
def test_averages(stream: Stream, average: Any, classes: Any, undefined: Any) -> None:
    settings: dict[str, Any] = {"average": average, "classes": classes, "undefined": undefined}
    metrics: list[Ratio] = [Precision(**settings), Recall(**settings), FBeta(0.5, **settings)]
    expected: list[list[float]] = [[], [], []]
    zero_division = 0.0 if undefined == "zero" else np.nan
    for weights in (None, stream.weights):
        for truth, best, weight in prefixes(stream, weights):
            scores = judge.precision_recall_fscore_support(
                truth,
                best,
                beta=0.5,
                labels=members("present" if average == "weighted" else classes, truth, best),
                average=average,
                sample_weight=weight,
                zero_division=zero_division,
            )
            for one, score in zip(expected, scores, strict=False):
                one.append(score)
    for metric, one in zip(metrics, expected, strict=True):
        agree(metric, stream, one)


def test_micro_averages(stream: Stream) -> None:
    expected = [
        judge.fbeta_score(truth, best, beta=2, labels=ALL, average="micro", sample_weight=weight)
        for weights in (None, stream.weights)
        for truth, best, weight in prefixes(stream, weights)
    ]
    for metric in (FBeta(2, average="micro"), Precision(average="micro"), Recall(average="micro", classes=CLASSES)):
        agree(metric, stream, expected)


@pytest.mark.parametrize("label", [1, 2, 4])
def test_one_class(stream: Stream, label: int) -> None:
    expected: list[list[float]] = [[], [], []]
    for weights in (None, stream.weights):
        for truth, best, weight in prefixes(stream, weights):
            scores = judge.precision_recall_fscore_support(
                truth, best, labels=[label], sample_weight=weight, zero_division=np.nan
            )
            for one, score in zip(expected, scores, strict=False):
                one.append(score[0])
    metrics: list[Ratio] = [Precision(label=label), Recall(label=label), FBeta(label=label)]
    for metric, one in zip(metrics, expected, strict=True):
        agree(metric, stream, one)


def specificities(stream: Stream) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield labels, predictions, true negatives and false positives of each class, from scikit-learn's tables."""
    for weights in (None, stream.weights):
        for truth, best, weight in prefixes(stream, weights):
            tables = judge.multilabel_confusion_matrix(truth, best, labels=ALL, sample_weight=weight)
            whole = np.round(tables * 7)  # weights are multiples of 1/7; their true negatives are differences of sums
            yield truth, best, whole[:, 0, 0], whole[:, 0, 1]


@pytest.mark.parametrize("classes", ["present", "seen", CLASSES])
def test_specificity(stream: Stream, classes: Any) -> None:
    macro, zero, micro, alone = [], [], [], []
    with np.errstate(invalid="ignore"):
        for truth, best, right, wrong in specificities(stream):
            each = right / (right + wrong)
            own = each[members(classes, truth, best)]
            macro.append(own[~np.isnan(own)].mean() if (~np.isnan(own)).any() else np.nan)
            zero.append(np.nan_to_num(own).mean())
            over = members(CLASSES if isinstance(classes, int) else "seen", truth, best)
            micro.append(right[over].sum() / (right + wrong)[over].sum())
            alone.append(each[3])
    agree(Specificity(classes=classes), stream, macro)
    agree(Specificity(classes=classes, undefined="zero"), stream, zero)
    agree(Specificity(classes=classes, average="micro"), stream, micro)
    agree(Specificity(label=3), stream, alone)


PEERS: list[tuple[Ratio, Any]] = [
    (Precision(classes="seen"), peer.MulticlassPrecision(CLASSES, average="macro")),
    (Recall(classes="seen"), peer.MulticlassRecall(CLASSES, average="macro")),
    (FBeta(2, classes="seen"), peer.MulticlassFBetaScore(2.0, CLASSES, average="macro")),
    (FBeta(average="weighted"), peer.MulticlassF1Score(CLASSES, average="weighted")),
    (Specificity(average="micro", classes=CLASSES), peer.MulticlassSpecificity(CLASSES, average="micro")),
]


@pytest.mark.parametrize(("metric", "other"), PEERS, ids=lambda item: type(item).__name__)
def test_the_peer(stream: Stream, metric: Ratio, other: Any) -> None:
    other.reset()
    for n, values in stream.values(metric):
        other.update(torch.tensor(stream.best[n - 1 : n]), torch.tensor(stream.labels[n - 1 : n]))
        assert values[metric.headline].value == pytest.approx(float(other.compute()), abs=1e-6)


def test_one_documented_rule_for_absent_classes() -> None:
    # Class 3 has no rows, class 2 is only predicted: seven libraries give five numbers for this macro recall.
    truth, best = np.array([0] * 8 + [1] * 8), np.array([0] * 8 + [1] * 6 + [2] * 2, np.int32)
    rows = {"label": truth, "prediction": best}
    found = [
        metric.values(metric.state(rows, None))[metric.headline].value
        for metric in (
            Recall(),
            Recall(classes="seen"),
            Recall(classes=4),
            Recall(classes=4, undefined="skip"),
        )
    ]
    assert found == [0.875, 1.75 / 3, 0.4375, 0.875]


def test_tables_are_by_class_whatever_the_average(stream: Stream) -> None:
    for weights in (None, stream.weights):
        scores = judge.precision_recall_fscore_support(
            stream.labels, stream.best, labels=ALL, sample_weight=weights, zero_division=np.nan
        )
        for metric, expected in zip(
            (Precision(classes=CLASSES), Recall(average="micro", classes=CLASSES), FBeta(classes=CLASSES)),
            scores,
            strict=False,
        ):
            tables = metric.tables(metric.state(stream.columns, weights))
            np.testing.assert_allclose(next(iter(tables.values())), expected, rtol=1e-12)
            np.testing.assert_allclose(tables["support"], scores[3], rtol=1e-12)


def test_what_a_number_is_out_of() -> None:
    rows = {"label": np.array([0, 0, 1, 1]), "prediction": np.array([0, 1, 1, -1], np.int32)}
    expected: list[tuple[Ratio, tuple[float, Any, Any]]] = [
        (Precision(average="micro"), (2 / 3, 2, 3)),
        (Recall(average="micro"), (0.5, 2, 4)),
        (Recall(label=1), (0.5, 1, 2)),
        (Precision(label=1), (0.5, 1, 2)),
        (Specificity(label=0), (1.0, 2, 2)),
        (Specificity(average="micro"), (0.75, None, None)),
        (FBeta(label=1), (0.5, None, None)),
        (Recall(), (0.5, None, None)),
    ]
    for metric, numbers in expected:
        found = metric.values(metric.state(rows, None))[metric.headline]
        assert (found.value, found.numerator, found.denominator) == numbers, metric
        if numbers[1] is not None:
            assert (type(found.numerator), type(found.denominator)) == (int, int)
    weighted = Recall(label=1)
    halves = weighted.values(weighted.state(rows, np.full(4, 0.5)))["recall_class_1"]
    assert (halves.numerator, halves.denominator) == (0.5, 1.0)


def test_undefined_is_named_and_never_zero() -> None:
    rows = {"label": np.array([1, 1]), "prediction": np.array([-1, -1], np.int32)}
    expected: list[tuple[Ratio, str]] = [
        (Precision(label=1), "undefined: class 1 has no predictions"),
        (Precision(average="micro"), "undefined: there are no predictions"),
        (Precision(undefined="skip"), "undefined: no class has predictions"),
        (Recall(label=7), "undefined: class 7 has no rows"),
        (FBeta(label=0), "undefined: class 0 has no rows or predictions"),
        (Specificity(), "undefined: no class has rows of other classes"),
        (Specificity(label=1), "undefined: class 1 has no rows of other classes"),
    ]
    for metric, note in expected:
        found = metric.values(metric.state(rows, None))[metric.headline]
        assert (found.value, found.note) == (None, note)
    zero = Precision().values(Precision().state(rows, None))["precision_macro_present"]
    assert (zero.value, zero.note) == (0.0, "over 1 of 2 classes; 1 without predictions count as 0")


def test_names_say_what_they_are() -> None:
    names = [
        FBeta(2.5).headline,
        FBeta(1, average="weighted").headline,
        Precision(classes=10, undefined="skip").headline,
        Specificity(undefined="zero").headline,
        Specificity(average="micro", classes=10).headline,
    ]
    assert names == [
        "f2.5_macro_present",
        "f1_weighted",
        "precision_macro_of_10_skip",
        "specificity_macro_present_zero",
        "specificity_micro_of_10",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"average": "none"}, r"Recall\(average\)='none': expected 'macro' or"),
        ({"classes": "all"}, r"Recall\(classes\)='all': expected 'present' or 'seen'"),
        ({"classes": 0}, "expected an integer from 1"),
        ({"undefined": "nan"}, "expected 'zero' or 'skip'"),
        ({"label": -1}, r"Recall\(label\)=-1: expected the index of a class"),
        ({"label": "cat"}, "expected the index of a class"),
        ({"label": 1, "average": "micro"}, "about one class: leave out average, classes and undefined"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recall(**fields)


def test_a_class_beyond_the_declared_ones_is_refused() -> None:
    for label, best in ((5, 0), (0, 5)):
        with pytest.raises(UsageError, match=r"Recall\(classes=5\): class 5 occurs among the rows; expected 0 to 4"):
            Recall(classes=5).state({"label": np.array([label]), "prediction": np.array([best])}, None)


@pytest.mark.parametrize("beta", [0, -1.0, float("inf"), float("nan"), True, "1"])
def test_wrong_betas_are_refused(beta: Any) -> None:
    with pytest.raises(UsageError, match=r"FBeta\(beta\)=.*expected a finite number above 0"):
        FBeta(beta)
