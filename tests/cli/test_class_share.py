"""A share of some rows (the recall of a class) has an interval; checkpoints are not paired by it, and that is printed.

Of precision, which rows count is up to the model: a difference over the rows that count in both is none of precisions.
"""

import json
from pathlib import Path

import pytest
from tests._material import checkpoints, command, evaluation_of, go


@pytest.fixture
def store(tmp_path: Path) -> Path:
    go(evaluation_of(3000), checkpoints(tmp_path / "lenet", 1, 2, 3), store=tmp_path / "evals")
    ended = command(
        *("score", "--all", "--metric", "recall(label=1)", "--metric", "precision(label=1)"),
        "--store",
        tmp_path / "evals",
    )
    assert ended.returncode == 0
    return tmp_path / "evals"


@pytest.mark.parametrize("metric", ["recall_class_1", "precision_class_1"])
def test_none_is_worse_and_compare_refuses(metric: str, store: Path) -> None:
    found = json.loads(command("best", "--metric", metric, "--json", "--store", store).stdout)
    assert found["tied"] == found["worse"] == []
    assert [item["why"] for item in found["untested"]] == [f"{metric} is no mean over rows"] * 2
    assert found["best"]["intervals"]
    ended = command("compare", "1", "2", "--metric", metric, "--store", store)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{metric} " in ended.stderr
    assert "cannot be compared row by row" in ended.stderr
    kept = command(
        "gc", store.parent / "lenet", "--metric", metric, "--keep-best", "1", "--keep-last", "1", "--store", store
    )
    assert f"untested: {metric} is no mean over rows" in kept.stdout
    assert "3 kept; 0 would be deleted" in kept.stdout
