"""`best` over the real thing: direction, rivals, data sets and runs."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, evaluation_of, examples, go, unwrapped
from tests.cli._runs import evaluated

from milepost.cli import main
from milepost.data.arrays import Arrays
from milepost.metrics.confusion import Confusion
from milepost.metrics.top_k import TopK

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("best"), 100, 300, 900)


def line(capsys: Shown) -> dict[str, Any]:
    (text,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(text)
    return found


def values(store: Path, metric: str, capsys: Shown) -> dict[int, float]:
    assert main(["ls", "--store", str(store), "--json"]) == 0
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    return {
        item["checkpoint"]["step"]: item["value"]
        for item in records
        if item["metric"] == metric and item["estimator"] == "exact"
    }


@pytest.mark.parametrize(("metric", "direction", "pick"), [("top1", "higher", max), ("cross_entropy", "lower", min)])
def test_the_best_by_either_direction(store: Path, metric: str, direction: str, pick: Any, capsys: Shown) -> None:
    known = values(store, metric, capsys)
    assert main(["best", "--metric", metric, "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert (found["event"], found["direction"], found["data"], found["compared"]) == ("best", direction, "test", 3)
    assert found["best"]["checkpoint"]["step"] == pick(known, key=lambda step: known[step])
    assert found["best"]["value"] == pick(known.values())


def test_in_words(store: Path, capsys: Shown) -> None:
    assert main(["best", "--metric", "top1", "--store", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("place"))
    table = lines[head : head + 2]
    first, last = unwrapped("\n".join(lines[:head])), unwrapped("\n".join(lines[head + 2 :]))
    assert first.startswith("top1 (higher is better) on test, ok: 0.")
    assert "/700 [0." in first
    assert "(95 % wilson, population) selected among 3: cross-fitted 0." in first
    assert [line.split()[0] for line in table] == ["place", "best"]
    assert table[0].split()[-1] == "checkpoint"
    assert "McNemar exact, Bonferroni over all pairs (3)" in last
    assert last.endswith(".npz: holds these weights")


def test_a_name_that_is_not_on_record(store: Path, tmp_path: Path, capsys: Shown) -> None:
    store = Path(shutil.copytree(store, tmp_path / "copy"))
    assert main(["best", "--metric", "top3", "--store", str(store)]) == 2
    error = capsys.readouterr().err
    assert "no value 'top3' is on record; there are: cross_entropy, top1, top5; `milepost score --all" in error
    advice = shlex.split(error.partition("`milepost ")[2].partition("`")[0])
    assert main([*advice, "--store", str(store)]) == 0
    assert main(["best", "--metric", "top3", "--store", str(store)]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("asked", ["accuracy", "acc", "val_accuracy", "Acc@1", "top-1", "prec1"])
def test_what_a_value_is_called_elsewhere_is_understood_in_the_error(store: Path, capsys: Shown, asked: str) -> None:
    assert main(["best", "--metric", asked, "--store", str(store)]) == 2
    assert "cross_entropy, top1, top5 (did you mean top1?); `milepost score` computes" in capsys.readouterr().err


def test_failures_are_counted(tmp_path: Path, capsys: Shown) -> None:
    (tmp_path / "lenet").mkdir()
    (tmp_path / "lenet" / "noise.pt").write_bytes(b"noise" * 99)
    store = evaluated(tmp_path, 100)
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    assert line(capsys)["failed"] == 1
    assert main(["best", "--metric", "top1", "--store", str(store)]) == 0
    assert "1 failed, and have no value: `milepost failures` lists them" in capsys.readouterr().out


def test_runs_and_data_sets(tmp_path: Path, capsys: Shown) -> None:
    two = {"test": Arrays(*examples(100)), "other": Arrays(*examples(100, seed=1))}
    runs = [checkpoints(tmp_path / name, step) for name, step in (("a", 1), ("b", 2))]
    go(evaluation_of(data=two), *runs, store=tmp_path / "evals")
    place = ["--store", str(tmp_path / "evals")]
    assert main(["best", "--metric", "top1", *place]) == 2
    assert "several data sets are on record: other, test; name one with --data" in capsys.readouterr().err
    for run in ("a", "b"):
        assert main(["best", "--metric", "top1", "--data", "other", "--run", run, "--json", *place]) == 0
        found = line(capsys)
        assert (found["best"]["run"], found["compared"], found["data"]) == (run, 1, "other")
    assert main(["best", "--metric", "top1", "--data", "nowhere", *place]) == 2
    assert "there are: other, test" in capsys.readouterr().err


def test_other_data_under_the_same_name_is_not_compared(tmp_path: Path, capsys: Shown) -> None:
    old = evaluated(tmp_path, 100)
    inputs, labels = examples(700)
    swapped = Arrays(inputs, np.roll(labels, 1))
    store = evaluated(tmp_path / "new", 300)
    go(evaluation_of(data={"test": swapped}), checkpoints(tmp_path / "more", 500), store=store)
    assert old.exists()
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert found["compared"] == 1
    assert len(found["elsewhere"]) == 1


def test_what_was_all_evaluated_again_on_new_data_is_compared_on_it(
    tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = evaluated(tmp_path, 100, 300)
    inputs, labels = examples(700)
    swapped = evaluation_of(data={"test": Arrays(inputs, np.roll(labels, 1))})
    monkeypatch.setattr("milepost.run.publishing.now", lambda: "2999-01-01T00:00:00+00:00")
    go(swapped, checkpoints(tmp_path / "more", 100, 300), store=store)
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert (found["compared"], found["elsewhere"]) == (2, [])
    assert found["best"]["value"] < 0.5  # the newest evaluation's: labels beside their rows


def test_a_limited_run_is_named_and_not_compared(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100)
    go(evaluation_of(), checkpoints(tmp_path / "more", 500), store=store, limit=50)
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert found["best"]["checkpoint"]["step"] == 100
    assert [item["status"] for item in found["partial"]] == ["partial 50/700"]


def test_pairs_are_those_of_the_kept_rows_for_either_metric(store: Path, capsys: Shown) -> None:
    for metric in ("top1", "cross_entropy"):
        assert main(["best", "--metric", metric, "--store", str(store), "--json"]) == 0
        found = line(capsys)
        best, others = found["best"]["checkpoint"], [*found["tied"], *found["worse"]]
        assert (len(others), found["untested"], found["test"]["pairs"]) == (2, [], 3)
        for other in others:
            words = [str(best["step"]), str(other["checkpoint"]["step"])]
            assert main(["compare", *words, "--metric", metric, "--store", str(store), "--json"]) == 0
            pair = line(capsys)
            assert other["difference"] == pytest.approx(pair["difference"], rel=1e-9)
            assert other["standard_error"] == pytest.approx(pair["standard_error"], rel=1e-9)
            assert other["p_value"] == pytest.approx(pair["tests"][0]["p_value"], rel=1e-6)
            assert (other in found["worse"]) == (other["p_value"] < found["test"]["threshold"])
        selection = found["selection"]
        assert selection["among"] == 3
        sign = 1 if found["direction"] == "higher" else -1
        assert selection["optimism"] == pytest.approx(sign * (found["best"]["value"] - selection["value"]))
        assert selection["interval"]["low"] < selection["value"] < selection["interval"]["high"]
        assert main(["best", "--metric", metric, "--store", str(store), "--json"]) == 0
        assert line(capsys) == found  # the same store says the same


def test_what_is_no_mean_is_untested(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100, 300, metrics=[TopK(1), Confusion()])
    assert main(["best", "--metric", "mean_per_class_accuracy", "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert [item["why"] for item in found["untested"]] == ["mean_per_class_accuracy is no mean over rows"]
    assert (found["tied"], found["worse"], found["test"], found["selection"]) == ([], [], None, None)


def test_what_another_file_gave_is_untested(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100, version="1")
    other = replace(evaluation_of(700, version="2"), file=str(tmp_path / "other" / "eval.py"))
    go(other, checkpoints(tmp_path / "more", 300), store=store)
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    assert [item["why"] for item in line(capsys)["untested"]] == ["it was evaluated with another version of the code"]


def test_what_earlier_code_gave_is_not_compared(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100, version="1")
    go(evaluation_of(700, version="2"), checkpoints(tmp_path / "more", 300), store=store)
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    found = line(capsys)
    assert (found["best"]["checkpoint"]["step"], found["compared"]) == (300, 1)
    assert [(item["checkpoint"]["step"], item["status"]) for item in found["earlier"]] == [(100, "earlier code")]


def test_weights_groups_and_slices_are_tested(tmp_path: Path, capsys: Shown) -> None:
    inputs, labels = examples(700)
    rows = np.arange(700)
    kinds: dict[str, dict[str, Any]] = {
        "weights": {"weights": np.linspace(0.5, 2.0, 700)},
        "groups": {"groups": rows // 14},
        "few": {"groups": rows // 100},
    }
    for name, given in kinds.items():
        data = {"test": Arrays(inputs, labels, slices={"half": rows % 2}, **given)}
        store = evaluated(tmp_path / name, 100, 300, 900, data=data)
        for part in ("all", "half=1"):
            assert main(["best", "--metric", "top1", "--slice", part, "--store", str(store), "--json"]) == 0
            found = line(capsys)
            if name == "few":
                assert {item["why"] for item in found["untested"]} == {"too few groups (7 effective; 10 are needed)"}
            else:
                assert found["test"]["name"].startswith("paired t")
                assert len(found["tied"]) + len(found["worse"]) == 2


def test_a_file_that_holds_the_weights_is_named_or_what_became_of_it(tmp_path: Path, capsys: Shown) -> None:
    store = evaluated(tmp_path, 100, 300)
    asked = ["best", "--metric", "top1", "--store", str(store)]
    assert main([*asked, "--json"]) == 0
    found = line(capsys)
    best, other = found["file"]["path"], found["tied" if found["tied"] else "worse"][0]["checkpoint"]["path"]
    assert (found["file"]["state"], found["still_there"]) == ("holds these weights", None)
    kept = tmp_path / "elsewhere.npz"
    shutil.copy2(best, kept)
    Path(best).write_bytes(Path(other).read_bytes())
    assert main([*asked, "--json"]) == 0
    found = line(capsys)
    assert found["file"] == {"path": best, "state": "overwritten since"}
    assert found["still_there"]["file"] == {"path": other, "state": "holds these weights"}
    Path(best).unlink()
    Path(other).unlink()
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert f"{best}: gone" in shown
    assert "no file holds the weights of any of those compared" in shown
    copy = tmp_path / "lenet" / "copy.npz"
    kept.rename(copy)
    go(evaluation_of(), tmp_path / "lenet", store=store)
    assert main([*asked, "--json"]) == 0
    assert line(capsys)["file"] == {"path": str(copy), "state": "holds these weights"}
