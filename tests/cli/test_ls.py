"""`ls` as it is asked for: some metrics, the best first, one run or variant, and what a metric gives by class."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests._material import CLASSES, checkpoints, command, evaluation_of, examples, go, lines_of, save, weights_of

from milepost.data.arrays import Arrays
from milepost.metrics.balanced_accuracy import BalancedAccuracy
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.recall import Recall
from milepost.metrics.top_k import TopK

KINDS = [f"kind-{number}" for number in range(CLASSES)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ls")
    data = {"test": Arrays(*examples(200), class_names=KINDS)}
    evaluation = evaluation_of(data=data, metrics=[TopK(1), BalancedAccuracy(), CrossEntropy()])
    runs = [checkpoints(folder / "a", 1, 2, 3), checkpoints(folder / "b", 4, 5)]
    (runs[0] / "noise.pt").write_bytes(b"noise" * 99)
    go(evaluation, *runs, store=folder / "evals")
    return folder / "evals"


def listed(store: Path, *words: str) -> list[list[str]]:
    ended = command("ls", *words, "--store", store)
    assert ended.returncode == 0, ended.stderr
    return [line.split() for line in ended.stdout.splitlines()]


@pytest.mark.parametrize(("metric", "sign"), [("top1", -1), ("cross_entropy", 1)])
def test_the_best_come_first_and_what_has_no_value_last(store: Path, metric: str, sign: int) -> None:
    heads, *rows = listed(store, "--metric", metric, "--sort", metric)
    assert "balanced_accuracy" not in heads
    values = [float(row[heads.index(metric)]) for row in rows[:-1]]
    assert values == sorted(values, key=lambda value: sign * value)
    assert rows[-1][heads.index("name")] == "noise"
    records = lines_of(command("ls", "--metric", metric, "--sort", metric, "--json", "--store", store).stdout)
    exact = [item["value"] for item in records.of("record") if item["estimator"] == "exact"]
    assert {item["metric"] for item in records.of("record")} == {metric}
    assert exact == sorted(exact, key=lambda value: sign * value)
    assert len(exact) == 5
    assert len(records.of("failure")) == 1


def test_metrics_stand_in_the_order_in_which_they_are_asked_for(store: Path) -> None:
    heads = listed(store, "--metric", "cross_entropy", "--metric", "top1")[0]
    assert [head for head in heads if head in ("top1", "cross_entropy", "balanced_accuracy")] == [
        "cross_entropy",
        "top1",
    ]


def test_one_run(store: Path) -> None:
    heads, *rows = listed(store, "--run", "b")
    assert [row[heads.index("step")] for row in rows] == ["4", "5"]
    records = lines_of(command("ls", "--run", "b", "--json", "--store", store).stdout)
    assert {item["run"] for item in records} == {"b"}


def test_classes_are_rows_with_their_names(store: Path) -> None:
    heads, *rows = listed(store, "--classes", "balanced_accuracy", "--run", "b")
    assert heads == ["step", "name", "class", "class_name", "accuracy", "predicted", "right", "support"]
    assert [row[heads.index("class_name")] for row in rows] == KINDS * 2
    _, labels = examples(200)
    assert [int(row[-1]) for row in rows[:CLASSES]] == np.bincount(labels, minlength=CLASSES).tolist()
    events = lines_of(command("ls", "--classes", "balanced_accuracy", "--json", "--store", store).stdout).of("class")
    assert len(events) == 5 * CLASSES
    assert {event["class_name"] for event in events} == set(KINDS)


def test_classes_of_a_metric_by_its_name_where_one_value_of_it_has_a_table(tmp_path: Path) -> None:
    data = {"test": Arrays(*examples(200), class_names=KINDS)}
    evaluation = evaluation_of(data=data, metrics=[TopK(1), Recall()])
    go(evaluation, checkpoints(tmp_path / "a", 1), store=tmp_path / "evals")
    by_name = listed(tmp_path / "evals", "--classes", "recall")
    assert by_name == listed(tmp_path / "evals", "--classes", "recall_macro_present")
    assert (set(by_name[0]) > {"recall", "support"}, len(by_name)) == (True, 1 + CLASSES)
    assert command("score", "--all", "--metric", "recall(label=1)", "--store", tmp_path / "evals").returncode == 0
    several = command("ls", "--classes", "recall", "--store", tmp_path / "evals")
    assert (several.returncode, several.stdout) == (2, "")
    assert "recall has 2 values with a table by class; name one of: recall_class_1, recall_macro_p" in several.stderr


def test_where_no_value_has_a_table_the_advice_adds_one(tmp_path: Path) -> None:
    go(evaluation_of(100, metrics=[TopK(1)]), checkpoints(tmp_path / "a", 1), store=tmp_path / "evals")
    nothing = command("ls", "--classes", "recall", "--store", tmp_path / "evals")
    assert nothing.returncode == 2
    advice = nothing.stderr.partition("`milepost ")[2].partition("`")[0].split()
    assert command(*advice, "--store", tmp_path / "evals").returncode == 0
    assert len(listed(tmp_path / "evals", "--classes", "recall")) == 1 + CLASSES


def test_classes_keep_the_variant_column_where_a_variant_is_not_raw(tmp_path: Path) -> None:
    raw, ema = weights_of(1), weights_of(2)
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "step-1.npz", {**raw, **{f"ema.{name}": value for name, value in ema.items()}})
    evaluation = evaluation_of(100, variants=("raw", "ema"), metrics=[BalancedAccuracy()])
    go(evaluation, tmp_path / "a", store=tmp_path / "evals")
    for words, variants in ((["--variant", "ema"], {"ema"}), ([], {"raw", "ema"})):
        heads, *rows = listed(tmp_path / "evals", "--classes", "balanced_accuracy", *words)
        assert {row[heads.index("variant")] for row in rows} == variants
    assert "variant" not in listed(tmp_path / "evals", "--classes", "balanced_accuracy", "--variant", "raw")[0]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--sort", "accuracy"], "no value 'accuracy' is on record; there are: "),
        (["--metric", "accuracy"], "no value 'accuracy' is on record; there are: "),
        (
            ["--classes", "top1"],
            "top1 (top_k) has no table by class; with a table by class, name one of: balanced_accuracy",
        ),
        (["--classes", "accuracy"], "no value 'accuracy' is on record; with a table by class, name one of: balanced_"),
        (["--classes", "calibration_error"], "'calibration_error' is on record; with a table by class, name one of:"),
        (["--run", "c"], "'c' is no run of this store; expected one of: a, b"),
    ],
)
def test_what_is_not_there_is_an_error(store: Path, words: list[str], why: str) -> None:
    ended = command("ls", *words, "--store", store)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert why in ended.stderr


@pytest.mark.parametrize("metric", ["recall", "confusion", "cohen_kappa"])
def test_the_command_that_is_named_adds_the_table(store: Path, metric: str, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "evals")
    words = ["--all", "--metric", metric, "--store", tmp_path / "evals"]
    ended = command("ls", "--classes", metric, "--store", tmp_path / "evals")
    assert f"no value '{metric}' is on record: `milepost score --all --metric {metric}` adds it" in ended.stderr
    assert command("score", *words).returncode == 0
    assert listed(tmp_path / "evals", "--classes", metric)
