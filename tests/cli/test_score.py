"""`score`: new metrics from kept outcomes, and the small syntax in which they are asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests._material import columns_of, contents
from tests.cli._runs import ROWS, evaluated

from milepost.cli import main
from milepost.cli._metric_spec import metric_from, spec_from
from milepost.errors import UsageError
from milepost.metrics.top_k import TopK

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("scored"), 100, 900)


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "evals"))


def lines(capsys: Shown) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_new_metric_is_what_a_run_with_it_would_have_recorded(store: Path, tmp_path: Path, capsys: Shown) -> None:
    assert main(["score", "900", "--metric", "top_k(k=3)", "--store", str(store), "--json"]) == 0
    exact, mean = lines(capsys)
    assert (exact["metric"], exact["estimator"], mean["estimator"]) == ("top3", "exact", "batch_mean")
    assert (exact["denominator"], mean["batch_size"], mean["checkpoint"]["step"]) == (ROWS, 64, 900)
    ranks = [columns_of(store, which)["rank"] for which in (0, 1)]
    assert exact["numerator"] in [int((rank < 3).sum()) for rank in ranks]
    other = evaluated(tmp_path / "other", 100, 900, metrics=[TopK(3)])
    assert main(["show", "900", "--store", str(other), "--json"]) == 0
    assert [line["value"] for line in lines(capsys)] == [exact["value"], mean["value"]]


def test_all_scores_all_and_asking_again_changes_nothing(store: Path, capsys: Shown) -> None:
    words = ["score", "--all", "--metric", "top_k(k=2)", "--metric", "top_k(k=7)", "--store", str(store)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert {"top2", "top7"} <= set(shown.out.splitlines()[0].split())
    assert "top2, top7 of 2 checkpoints" in shown.err
    before = contents(store)
    assert main([*words, "--json"]) == 0
    assert len(lines(capsys)) == 8
    assert contents(store) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["900", "--metric", "top_k(k=3, ties='in_top_k')"], r"reads the column 'above', which is not kept on test"),
        (["900", "--metric", "top_k(k=3, ties='in_top_k')"], "keep='all'"),
        (["900", "--metric", "top_j"], "unknown metric 'top_j'; available: "),
        (["900", "--metric", "top_k(j=3)"], "top_k has no setting 'j'; it has: k, ties"),
        (["900", "--metric", "top_k(k=0)"], "expected an integer from 1"),
        (["900", "--metric", "cross_entropy(nonfinite='skip')"], "is on record as"),
        (["900", "--metric", "top_k(k=3)", "--metric", "top_k(k=3)"], "two metrics give the value 'top3'"),
        (["--metric", "top_k(k=3)"], "name the checkpoints, or say --all"),
        (["900", "--all", "--metric", "top_k(k=3)"], "name the checkpoints, or say --all"),
        (["7", "--metric", "top_k(k=3)"], "no checkpoint is at '7'"),
    ],
)
def test_what_cannot_be_scored_is_an_error_and_nothing_is_kept(
    store: Path, words: list[str], message: str, capsys: Shown
) -> None:
    before = contents(store)
    assert main(["score", *words, "--store", str(store)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    assert contents(store) == before


def test_among_all_one_without_the_column_is_no_silent_hole(store: Path, capsys: Shown) -> None:
    evaluated(store.parent, 300, keep="all")
    words = ["score", "--all", "--metric", "top_k(k=3, ties='in_top_k')", "--store", str(store), "--json"]
    # step 300 was evaluated with every column, 100 and 900 without `above`.
    assert main(words) == 3
    shown = capsys.readouterr()
    assert {json.loads(line)["checkpoint"]["step"] for line in shown.out.splitlines()} == {300}
    assert shown.err.count("not scored") == 2


@pytest.mark.parametrize(
    "text",
    [
        "", "top_k(3)", "top_k(k=open('x'))", "top_k(**{'k': 3})", "a.b(k=1)", "top_k(k=3)(k=4)", "1", "top_k(k=(1)",
        "top_k(name='x')", "__import__('os').system('true')", "(" * 400, "x" * 501, "top_k(k=[1 for _ in ()])",
    ],
)  # fmt: skip
def test_nothing_but_names_and_literals_is_read(text: str) -> None:
    with pytest.raises(UsageError, match="expected name or name"):
        spec_from(text)


def test_settings_reach_the_metric() -> None:
    assert metric_from(" top_k(k=4, ties='in_top_k') ") == TopK(4, "in_top_k")
    assert metric_from("top_k") == metric_from("top_k()") == TopK(1)
