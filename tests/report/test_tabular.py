"""Results by column, as data frames and by class: of a run, and of its store."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import recall_score
from tests._material import CLASSES, checkpoints, evaluation_of, examples, save, weights_of

import milepost
from milepost.data.arrays import Arrays
from milepost.errors import MissingExtra, UsageError
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.report.tabular import Tabular
from milepost.store.store import Store

NAMES = [f"kind {number}" for number in range(CLASSES)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The results of a run, and its store: two steps with averages (at 0 the weights themselves), and a bad file."""
    folder = tmp_path_factory.mktemp("tabular")
    checkpoints(folder / "lenet")
    for step in (0, 10):
        averages = {f"ema.{name}": array for name, array in weights_of(step * 2).items()}
        save(folder / "lenet" / f"step-{step}.npz", {**weights_of(step), **averages})
    (folder / "lenet" / "noise.pt").write_bytes(bytes(range(256)) * 8)
    evaluation = evaluation_of(
        data={"test": Arrays(*examples(300), class_names=NAMES, slices={"half": np.arange(300) % 2})},
        variants=("raw", "ema"),
        metrics=[TopK(1), CrossEntropy(), Confusion()],
    )
    results = evaluation.run(str(folder / "lenet"), store=str(folder / "evals"))
    return results, milepost.open_store(folder / "evals")


@pytest.fixture(params=[0, 1], ids=["run", "store"])
def table(request: pytest.FixtureRequest, made: tuple[Any, Any]) -> Tabular:
    found: Tabular = made[request.param]
    return found


def test_columns_are_those_of_the_table_row_by_row(table: Tabular) -> None:
    rows = list(zip(table["name"], table["variant"], table["status"], strict=True))
    assert [row[:2] for row in rows[:-1]] == [(f"step-{n}", v) for n in (0, 10) for v in ("raw", "ema")]
    assert rows[-1] == ("noise", "raw", "corrupt")
    assert np.isnan(table["top1"]).tolist() == [False] * 4 + [True]
    assert table["top1"].dtype == table["step"].dtype == np.float64  # a step is not known of every row
    assert table["top1"][0] == table["top1"][1]  # the same weights
    with pytest.raises(UsageError, match=r"no column 'accuracy'; there are: run, step, name, .*, top1, cross_entropy"):
        _ = table["accuracy"]


def test_value_and_column_agree(made: tuple[Any, Any]) -> None:
    results, _ = made
    assert results.value("top1", step=10) == results["top1"][2]
    assert results.value("top1", step=10, variant="ema") == results["top1"][3]
    assert results.value("top1", step=0) == results.value("top1", step=0, variant="ema")
    with pytest.raises(UsageError, match="expected one record"):
        results.value("top1", step=10, variant="swa")


def test_wide_has_a_row_a_checkpoint_and_a_column_a_metric(table: Tabular) -> None:
    pytest.importorskip("pandas", reason="pandas is an extra")
    frame = table.to_pandas()
    assert list(frame.columns[:8]) == ["run", "step", "name", "variant", "data", "slice", "n", "status"]
    assert set(frame.columns[8:]) == {"top1", "cross_entropy", "mean_per_class_accuracy"}
    assert len(frame) == 5
    assert frame["top1"].to_numpy()[:4].tolist() == table["top1"][:4].tolist()
    assert (str(frame["step"].dtype), str(frame["top1"].dtype)) == ("Int64", "float64")
    assert frame["step"].isna().tolist() == [False] * 4 + [True]


def test_long_has_a_row_a_value_with_slices(table: Tabular, made: tuple[Any, Any]) -> None:
    pytest.importorskip("pandas", reason="pandas is an extra")
    frame = table.to_pandas_long()
    assert len(frame) == len(made[1].records(part=None))
    assert set(frame["slice"]) == {"all", "half=0", "half=1"}
    exact = frame[(frame["metric"] == "top1") & (frame["estimator"] == "exact") & (frame["slice"] == "all")]
    assert exact["value"].tolist() == table["top1"][:4].tolist()
    assert exact["also"].tolist()[:2] == ["lenet:step-0:ema", "lenet:step-0:raw"]
    assert exact["also"].isna().tolist() == [False, False, True, True]


def test_by_class_is_what_another_library_says_under_the_names_of_the_data(
    table: Tabular, made: tuple[Any, Any]
) -> None:
    rows = table.by_class("mean_per_class_accuracy")
    assert len(rows) == 4 * CLASSES
    _, labels = examples(300)
    for address, step, variant in (("10", 10, "raw"), ("10:ema", 10, "ema")):
        ours = [row for row in rows if (row["step"], row["variant"]) == (step, variant)]
        predicted = made[1].columns(address)["prediction"]
        expected = recall_score(labels, predicted, labels=range(CLASSES), average=None, zero_division=math.nan)
        np.testing.assert_allclose([row["recall"] for row in ours], expected, rtol=1e-12)
        assert [row["class_name"] for row in ours] == NAMES
        assert [row["support"] for row in ours] == np.bincount(labels, minlength=CLASSES).tolist()
    with pytest.raises(UsageError, match=r"top1 \(top_k\) has no table by class"):
        table.by_class("top1")
    with pytest.raises(UsageError, match="no value 'recall' is on record"):
        table.by_class("recall")


def test_by_class_as_a_frame(table: Tabular) -> None:
    pytest.importorskip("pandas", reason="pandas is an extra")
    frame = table.to_pandas_by_class("mean_per_class_accuracy")
    held = frame[(frame["step"] == 10) & (frame["variant"] == "raw")].set_index("class_name")
    assert list(held.index) == NAMES
    assert {"class", "support", "recall", "precision", "nonfinite"} <= set(held.columns)


def test_without_pandas_the_error_has_the_pip_line(table: Tabular, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (table.to_pandas, table.to_pandas_long, lambda: table.to_pandas_by_class("mean_per_class_accuracy")):
        with pytest.raises(MissingExtra, match=r"pip install 'milepost\[pandas\]'"):
            call()


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is an extra")
    Store.create(tmp_path / "evals")
    store = milepost.open_store(tmp_path / "evals")
    assert store["step"].shape == (0,)
    assert len(store.to_pandas()) == len(store.to_pandas_long()) == 0


def test_a_curve_is_drawn_into_the_axes_that_are_given_or_new_ones(made: tuple[Any, Any]) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    for held in made:
        axes = held.plot("top1")
        assert axes.get_xlabel() == "step"
        _, own = plt.subplots()
        assert held.plot("top1", ax=own) is own
        drawn = {tuple(line.get_ydata()) for line in own.get_lines() if list(line.get_xdata()) == [0, 10]}
        rows = [row for row in held.to_pandas().to_dict("records") if row["step"] in (0, 10)]
        ours = {row["step"]: row["top1"] for row in rows if row["variant"] == "raw"}
        assert (ours[0], ours[10]) in drawn
        with pytest.raises(UsageError, match="'f1'"):
            held.plot("f1")
    plt.close("all")
