"""Figures show what the store holds: numbers judged by scikit-learn or by the records, few and many of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, recall_score
from tests._material import CLASSES, checkpoints, evaluation_of, examples, go, save, weights_of

import milepost
from milepost.data.arrays import Arrays
from milepost.errors import UsageError
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.registry import classes
from milepost.report.chart.model import Band, Bars, Points, Polyline
from milepost.report.chart.svg import svg
from milepost.report.chart.text import text_lines
from milepost.report.figures._request import FigureRequest
from milepost.report.figures.classes import ClassRecall
from milepost.report.figures.confusion import ConfusionMatrix
from milepost.report.figures.curve import Curve, Series
from milepost.report.figures.flips import Flips
from milepost.report.figures.gap import Gap
from milepost.report.figures.reliability import Reliability
from milepost.store.store import Store

NAMES = [f"kind {number}" for number in range(CLASSES)]
ROWS = 700


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps with averages beside the raw weights, on data with class names and a slice, and a bad file."""
    folder = tmp_path_factory.mktemp("figures")
    runs = checkpoints(folder / "lenet")
    for step in (100, 300, 900):
        averages = {f"ema.{name}": array for name, array in weights_of(step + 50).items()}
        save(runs / f"step-{step}.npz", {**weights_of(step), **averages})
    (runs / "step-500.pt").write_bytes(bytes(range(256)) * 8)
    inputs, labels = examples(ROWS)
    data = {"test": Arrays(inputs, labels, class_names=NAMES, slices={"half": np.arange(ROWS) % 2})}
    metrics = [TopK(1), CrossEntropy(), CalibrationError()]
    go(evaluation_of(data=data, variants=("raw", "ema"), metrics=metrics, batch_size=64), runs, store=folder / "evals")
    return folder / "evals"


@pytest.fixture
def store(place: Path) -> Store:
    return Store.open(place)


def kept(place: Path, address: str) -> dict[str, Any]:
    return milepost.open_store(place).columns(address)


def test_the_curve_has_the_values_of_the_records(store: Store, place: Path) -> None:
    curve = Curve.of(store, FigureRequest("top1"))
    assert [(one.run.partition("-")[0], one.variant) for one in curve.series] == [("lenet", "raw"), ("lenet", "ema")]
    held = {
        (item["checkpoint"]["variant"], item["checkpoint"]["step"]): item
        for item in milepost.open_store(place).records(metric="top1")
        if item["estimator"] == "exact"
    }
    for one in curve.series:
        for step, value, low, n in zip(one.step, one.value, one.low, one.n, strict=True):
            record = held[one.variant, int(step)]
            assert (value, low, n) == (record["value"], record["intervals"][0]["low"], record["n"])
    assert [(step, why) for _, step, _, why in curve.failed] == [(500.0, "corrupt")]
    best = milepost.open_store(place).best("top1")
    assert curve.best == best.best["checkpoint"]["digest"]
    assert curve.tied == {rival.record["checkpoint"]["digest"] for rival in best.tied}


def test_the_curve_marks_the_best_the_tied_and_the_failed(store: Store) -> None:
    marks = Curve.of(store, FigureRequest("top1")).chart().panels[0].marks
    shapes = {mark.shape for mark in marks if isinstance(mark, Points)}
    assert {"dot", "star", "cross"} <= shapes
    assert sum(isinstance(mark, Band) for mark in marks) == 2
    assert sum(isinstance(mark, Polyline) and mark.faint for mark in marks) == 2


def test_a_curve_of_a_slice_and_of_one_variant(store: Store) -> None:
    curve = Curve.of(store, FigureRequest("cross_entropy", variant="raw", part="half=1"))
    assert curve.slice == "half=1"
    assert [one.variant for one in curve.series] == ["raw"]
    assert set(curve.series[0].n) == {ROWS // 2}
    with pytest.raises(UsageError, match="one slice"):
        Curve.of(store, FigureRequest("top1", part="half"))


def test_a_value_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    with pytest.raises(UsageError, match=r"'f1'.*top1.*cross_entropy"):
        Curve.of(store, FigureRequest("f1"))


def test_the_confusion_matrix_is_scikit_learns(store: Store, place: Path) -> None:
    columns = kept(place, "step-900")
    found = ConfusionMatrix.of(store, FigureRequest(addresses=("step-900",)))
    np.testing.assert_array_equal(
        found.matrix, confusion_matrix(columns["label"], columns["prediction"], labels=range(CLASSES))
    )
    assert found.classes == tuple(NAMES)
    off = found.matrix - np.diag(np.diag(found.matrix))
    assert found.pairs()[0][2] == off.max()


def test_without_an_address_a_figure_is_of_the_best(store: Store, place: Path) -> None:
    best = milepost.open_store(place).best("top1").best["label"]
    assert ConfusionMatrix.of(store, FigureRequest()).place.startswith(best)


def test_the_reliability_is_scikit_learns(store: Store, place: Path) -> None:
    columns = kept(place, "step-900")
    right = columns["prediction"] == columns["label"]
    found = Reliability.of(store, FigureRequest(addresses=("step-900",)))
    truth, mean = calibration_curve(right, columns["confidence"], n_bins=15)
    fine = found.count > 0
    np.testing.assert_allclose(found.accuracy[fine], truth, rtol=1e-12)
    np.testing.assert_allclose(found.confidence[fine], mean, rtol=1e-6)
    assert found.count.sum() == ROWS
    assert (found.low[fine] <= found.accuracy[fine]).all()
    assert (found.high[fine] >= found.accuracy[fine]).all()


def test_the_classes_are_scikit_learns_recall_the_worst_first(store: Store, place: Path) -> None:
    columns = kept(place, "step-100")
    found = ClassRecall.of(store, FigureRequest(addresses=("step-100",)))
    truth = recall_score(columns["label"], columns["prediction"], average=None, labels=range(CLASSES), zero_division=0)
    by_name = dict(zip(found.classes, found.recall, strict=True))
    assert by_name == {name: value for name, value in zip(NAMES, truth, strict=True) if name in by_name}
    assert (np.diff(found.recall) >= 0).all()


def test_flips_are_the_rows_that_differ(store: Store, place: Path) -> None:
    a, b = kept(place, "step-100"), kept(place, "step-900")
    right_a, right_b = a["prediction"] == a["label"], b["prediction"] == b["label"]
    found = Flips.of(store, FigureRequest(addresses=("step-100", "step-900")))
    for name, only_a, only_b, rows in zip(found.classes, found.only_a, found.only_b, found.rows, strict=True):
        ours = a["label"] == NAMES.index(name)
        truth = (ours & right_a & ~right_b).sum(), (ours & right_b & ~right_a).sum(), ours.sum()
        assert (only_a, only_b, rows) == truth
    assert found.rows.sum() == ROWS


def test_the_gap_is_batch_mean_minus_exact(store: Store) -> None:
    found = Gap.of(store, FigureRequest("top1"))
    line = next(mark for mark in found.chart().panels[0].marks if isinstance(mark, Polyline))
    one = found.curve.series[0]
    np.testing.assert_array_equal(line.y, one.batch_mean - one.value)
    assert np.abs(line.y).max() > 0


@pytest.mark.parametrize("name", sorted(classes("report.figures")))
def test_every_figure_says_how_many_rows_it_rests_on_and_has_a_table(store: Store, name: str) -> None:
    kind = classes("report.figures")[name]
    chart = kind.of(store, FigureRequest(addresses=("step-100", "step-900")[: kind.needs[1]])).chart()
    assert any(f"n = {ROWS}" in note for note in chart.notes)
    assert chart.table.heads
    assert all(len(row) == len(chart.table.heads) for row in chart.table.rows)
    assert chart.title in svg(chart)
    assert max(map(len, text_lines(chart, 80))) < 130


def many(count: int, runs: int = 1) -> Curve:
    steps = np.arange(1.0, count + 1) * 100
    random = np.random.default_rng(0)
    series = []
    for number in range(runs):
        value = 0.9 - 0.5 * np.exp(-np.arange(count) / count * 6) + random.normal(0, 0.004, count)
        names = tuple(f"step-{step:.0f}" for step in steps)
        digests = tuple(f"{number}-{step}" for step in steps)
        spans = (value - 0.01, value + 0.01, np.full(count, np.nan))
        series.append(Series(f"run {number}", "raw", names, digests, steps, value, *spans, (10_000,) * count))
    return Curve("top1", "test", "all", True, tuple(series))  # noqa: FBT003 - the fields in their order


def test_a_curve_of_5000_points_is_small_and_keeps_its_peak() -> None:
    curve = many(5000)
    curve.series[0].value[4321] = 0.99
    drawn = svg(curve.chart())
    assert len(drawn) < 100_000
    assert len(curve.chart().table.rows) == 5000


def test_24_runs_are_lines_that_look_different() -> None:
    chart = many(40, runs=24).chart()
    drawn = svg(chart)
    assert not [mark for mark in chart.panels[0].marks if isinstance(mark, Band)]
    looks = {(mark.colour % 8, mark.colour // 8) for mark in chart.panels[0].marks if isinstance(mark, Polyline)}
    assert len(looks) == 24
    assert "intervals are left out beside 24 lines" in drawn


def test_a_matrix_of_1000_classes_shows_those_that_are_confused_side_by_side() -> None:
    matrix = np.diag(np.full(1000, 40))
    for label in range(0, 40, 2):
        matrix[label, label + 501] = 5 + label
    found = ConfusionMatrix("a", "n = 40,000", matrix, np.zeros(1000, np.int64), tuple(map(str, range(1000))))
    shown = found.shown()
    assert len(shown) <= 30
    assert shown[:2] in ([38, 539], [539, 38])
    assert all(abs(shown.index(one) - shown.index(one + 501)) == 1 for one in shown if one < 500)
    assert "of 1,000 classes" in svg(found.chart())


@pytest.mark.parametrize(("rows", "classes_"), [(3, 3), (3000, 1000)])
def test_flips_of_three_and_of_three_thousand_rows(rows: int, classes_: int) -> None:
    random = np.random.default_rng(1)
    a = np.bincount(random.integers(0, classes_, rows), minlength=classes_)
    order = np.argsort(-a)
    names = tuple(f"class {number}" for number in order)
    found = Flips("top1", "test", "all", "a", "b", 50_000, names, a[order], a[order] * 0, a[order] + 50)
    bars = [mark for mark in found.chart().panels[0].marks if isinstance(mark, Bars)]
    assert bars[0].x1.min() == -a.max()
    assert len(svg(found.chart())) < 40_000
