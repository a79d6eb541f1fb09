"""`compare` over the real thing: counts checked against kept columns, and clear errors."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from tests._material import checkpoints, evaluation_of, examples, go
from tests.cli._runs import ROWS, evaluated

from milepost.cli import main
from milepost.data.arrays import Arrays
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.stats.mcnemar import mcnemar_exact, mcnemar_mid_p
from milepost.store.store import Store

Shown = pytest.CaptureFixture[str]
METRICS = [TopK(1), CrossEntropy(), Confusion()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("compare"), 100, 900, metrics=METRICS)


def compared(capsys: Shown, store: Path, *words: str) -> dict[str, Any]:
    assert main(["compare", *words, "--store", str(store), "--json"]) == 0
    (text,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(text)
    return found


def columns(store: Path, digest: str) -> dict[str, Any]:
    opened = Store.open(store)
    for key in opened.evaluations():
        folder = opened.evaluation(key)
        if (folder.spec() or {})["weights"] == digest:
            reader = folder.parts(folder.column_sets()[0]).read()
            return {name: reader.slice(name, 0, ROWS) for name in reader.names}
    raise AssertionError(digest)


def test_counts_are_those_of_the_kept_columns(store: Path, capsys: Shown) -> None:
    found = compared(capsys, store, "100", "900")
    right = [columns(store, found[side]["digest"])["rank"] == 0 for side in ("a", "b")]
    counts = found["counts"]
    assert counts == {
        "both": int((right[0] & right[1]).sum()),
        "only_a": int((right[0] & ~right[1]).sum()),
        "only_b": int((~right[0] & right[1]).sum()),
        "neither": int((~right[0] & ~right[1]).sum()),
    }
    assert sum(counts.values()) == found["n"] == ROWS
    assert found["value_a"] == int(right[0].sum()) / ROWS
    assert found["difference"] == float(Fraction(counts["only_a"] - counts["only_b"], ROWS))
    disagree = counts["only_a"], counts["only_b"]
    assert [(item["name"], item["p_value"]) for item in found["tests"]] == [
        ("McNemar exact", mcnemar_exact(*disagree)),
        ("McNemar mid-p", mcnemar_mid_p(*disagree)),
    ]
    away = right[0].astype(float) - right[1]
    assert found["standard_error"] == pytest.approx(scipy.stats.sem(away))
    assert found["interval"]["method"] == "tango"
    assert found["interval"]["low"] < found["difference"] < found["interval"]["high"]
    assert (found["a"]["step"], found["b"]["step"], found["direction"], found["data"]) == (100, 900, "higher", "test")


def test_the_other_way_round_is_the_mirror(store: Path, capsys: Shown) -> None:
    one, two = compared(capsys, store, "100", "900"), compared(capsys, store, "900", "100")
    assert one["difference"] == -two["difference"]
    assert one["counts"]["only_a"] == two["counts"]["only_b"]
    assert one["tests"] == two["tests"]


def test_another_mean_has_an_exact_difference(store: Path, capsys: Shown) -> None:
    found = compared(capsys, store, "100", "900", "--metric", "cross_entropy")
    nll = [columns(store, found[side]["digest"])["nll"] for side in ("a", "b")]
    exact = sum(map(Fraction, nll[0].tolist())) - sum(map(Fraction, nll[1].tolist()))
    assert found["difference"] == float(exact / ROWS)
    assert found["counts"] == {
        "a_better": int((nll[0] < nll[1]).sum()),
        "b_better": int((nll[0] > nll[1]).sum()),
        "equal": int((nll[0] == nll[1]).sum()),
        "nonfinite": 0,
    }
    judge = scipy.stats.ttest_rel(*(side.astype(np.float64) for side in nll))
    assert [(item["name"], item["p_value"]) for item in found["tests"]] == [("paired t", pytest.approx(judge.pvalue))]
    assert found["standard_error"] == pytest.approx(scipy.stats.sem(nll[0].astype(float) - nll[1]))
    assert found["interval"]["low"] < found["difference"] < found["interval"]["high"]


def test_in_words(store: Path, capsys: Shown) -> None:
    assert main(["compare", "100", "900", "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    for piece in (
        "top1, higher is better, on the same 700 rows of test",
        "only A right",
        "standard error",
        "tango",
        "McNemar mid-p",
        "p = ",
    ):
        assert piece in shown


def test_one_with_itself(store: Path, capsys: Shown) -> None:
    found = compared(capsys, store, "900", "step-900")
    assert (found["difference"], found["counts"]["only_a"], found["tests"][0]["p_value"]) == (0.0, 0, 1.0)
    assert found["notes"] == ["A and B hold the same weights"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["100", "900", "--metric", "mean_per_class_accuracy"], "is no mean over rows"),
        (["100", "900", "--metric", "top9"], "no value 'top9' is on record; there are: cross_entropy, mean_per"),
        (["100", "7"], "no checkpoint is at '7'"),
        (["100", "900", "--data", "other"], "there are: test"),
    ],
)
def test_what_cannot_be_compared_is_an_error(store: Path, words: list[str], message: str, capsys: Shown) -> None:
    assert main(["compare", *words, "--store", str(store)]) == 2
    assert message in capsys.readouterr().err


def test_different_data_is_an_error(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100)
    inputs, labels = examples(ROWS)
    other = evaluation_of(data={"test": Arrays(inputs, np.roll(labels, 1))})
    go(other, checkpoints(tmp_path / "more", 500), store=store)
    assert main(["compare", "100", "500", "--store", str(store)]) == 2
    errors = capsys.readouterr().err
    assert "A and B share no data set: A has test (fingerprint " in errors
    assert "; B has test (fingerprint " in errors


def test_columns_that_one_has_not_kept(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100, metrics=[TopK(1), CrossEntropy()])
    go(evaluation_of(metrics=[TopK(1)]), checkpoints(tmp_path / "more", 500), store=store)
    assert main(["compare", "100", "500", "--metric", "cross_entropy", "--store", str(store)]) == 2
    errors = capsys.readouterr().err
    assert "B: cross_entropy reads the column 'nll', which is not kept on test" in errors
    assert "keep='all'" in errors


def test_fewer_rows_of_one_are_compared_on_what_both_have(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100)
    go(evaluation_of(), checkpoints(tmp_path / "more", 500), store=store, limit=50)
    found = compared(capsys, store, "100", "500")
    assert (found["n"], found["size"], sum(found["counts"].values())) == (50, ROWS, 50)
    assert found["notes"] == ["both have 50 of 700 rows only"]


def test_weights_take_the_linearised_test(tmp_path: Path, capsys: Shown) -> None:
    inputs, labels = examples(ROWS)
    weights = np.linspace(0.5, 2.0, ROWS)
    store = evaluated(tmp_path, 100, 900, data={"test": Arrays(inputs, labels, weights=weights)})
    found = compared(capsys, store, "100", "900")
    assert [item["name"] for item in found["tests"]] == ["paired t"]
    right = [columns(store, found[side]["digest"])["rank"] == 0 for side in ("a", "b")]
    kept = Store.open(store)
    spec = kept.evaluation(kept.evaluations()[0]).spec() or {}
    weight = kept.dataset(spec["data"]).read().slice("weight", 0, ROWS)
    away = right[0].astype(float) - right[1]
    mean = np.average(away, weights=weight)
    pulls = weight * (away - mean) / (weight.sum() - weight)
    assert found["standard_error"] == pytest.approx(np.sqrt((pulls**2).sum() * (ROWS - 1) / ROWS))
    assert found["difference"] == pytest.approx(found["value_a"] - found["value_b"], rel=1e-12)


def test_rows_of_a_group_count_as_one_and_few_groups_are_too_few(tmp_path: Path, capsys: Shown) -> None:
    inputs, labels = examples(ROWS)
    for groups, name in ((50, "many"), (7, "few")):
        data = {"test": Arrays(inputs, labels, groups=np.arange(ROWS) * groups // ROWS)}
        found = compared(capsys, evaluated(tmp_path / name, 100, 900, data=data), "100", "900")
        if name == "many":
            assert [item["name"] for item in found["tests"]] == ["paired t"]
            assert found["interval"]["groups"] == groups
        else:
            assert (found["tests"], found["interval"], found["standard_error"]) == ([], None, None)
            assert found["notes"] == ["no test: too few groups (7 effective; 10 are needed)"]
