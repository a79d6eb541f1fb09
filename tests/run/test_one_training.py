"""The folders that one training leaves are one run, for every verb and whatever was named."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import command, evaluation_of, go, request_of, save, weights_of
from tests.watch._watching import FAST
from tests.watch._watching import go as watched

from milepost.errors import UsageError
from milepost.run.run import plan
from milepost.signals import Signals
from milepost.store.store import Store
from milepost.watch.stop_conditions import StopConditions
from milepost.watch.watch import WatchOptions

STEPS = (900, 9900, 10000)
ENDED = WatchOptions(StopConditions(idle=0.2), interval=0.05)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make the folders of a trainer: the weights beside what an evaluation does not read."""
    folder = tmp_path / "runs" / "bert"
    for step in STEPS:
        made(folder, step)
    return folder


def made(folder: Path, step: int) -> Path:
    own = folder / f"checkpoint-{step}"
    own.mkdir(parents=True)
    save(own / "model.npz", weights_of(step))
    (own / "optimizer.pt").write_bytes(b"x" * 1000)
    (own / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return own


def listed(store: Path) -> list[tuple[Any, ...]]:
    rows = Store.open(store).listing().checkpoints()
    return [(row["run"], row["step"], tuple(item["name"] for item in row["checkpoints"])) for row in rows]


EXPECTED = [("bert", step, (f"checkpoint-{step}",)) for step in STEPS]


@pytest.mark.parametrize("named", ["runs", "runs/bert", "runs/bert/checkpoint-900"])
def test_a_run_is_the_same_whatever_was_named(named: str, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "evals"
    go(evaluation_of(), tmp_path / named, store=store)
    assert listed(store) == EXPECTED[: 1 if named.endswith("900") else 3]
    watched(tmp_path, run.parent, how=ENDED)
    go(evaluation_of(), run, store=store)
    assert listed(store) == EXPECTED
    assert [found["id"] for found in Store.open(store).runs()] == ["bert"]
    rows = plan(request_of(evaluation_of(), tmp_path / named, store=store), lambda _: None)
    assert {(row["run"], row["action"]) for row in rows} == {("bert", "skip")}


@pytest.mark.parametrize("named", ["runs", "runs/bert", "runs/bert/checkpoint-900"])
def test_a_watch_finds_the_same_run(named: str, run: Path, tmp_path: Path) -> None:
    events = watched(tmp_path, tmp_path / named, how=ENDED)
    assert {event["run"] for event in events.of("checkpoint")} == {"bert"}
    assert listed(tmp_path / "store") == EXPECTED[: 1 if named.endswith("900") else 3]


def test_every_verb_agrees_from_another_folder(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = tmp_path / "elsewhere"
    store = str(tmp_path / "evals")
    (run / "checkpoint-20000").mkdir()
    (run / "checkpoint-20000" / "model.npz").write_bytes(b"PK\3\4 and no more")
    go(evaluation_of(), run, store=Path(store))

    def asked(*words: str) -> str:
        found = command(*words, "--store", store, cwd=here)
        assert found.returncode == 0, found.stderr
        return found.stdout

    table = [line.split()[:5] for line in asked("ls").splitlines()]
    assert [line[:2] for line in table[1:5]] == [["bert", str(step)] for step in (*STEPS, 20000)]
    for name in ("bert", "runs/bert", str(run), f"{run}/checkpoint-900"):
        best = json.loads(asked("best", "--metric", "top1", "--run", name, "--json"))
        assert best["best"]["run"] == "bert"
    for address in ("9900", "checkpoint-9900", "bert:9900", "runs/bert:checkpoint-9900", "checkpoint-9900/model"):
        assert str(run / "checkpoint-9900" / "model.npz") in asked("show", address)
    (failure,) = map(json.loads, asked("failures", "--run", "runs/bert", "--json").splitlines())
    assert (failure["run"], failure["step"]) == ("bert", 20000)
    lines = [json.loads(line) for line in asked("gc", str(run), "--metric", "top1", "--json").splitlines()][:-1]
    assert {(line["run"], line["name"]) for line in lines} == {
        ("bert", f"checkpoint-{step}") for step in (*STEPS, 20000)
    }
    for name in ("bert", "runs/bert", str(run), str(run / "checkpoint-900")):
        assert [found.step for found in Signals(store, name, "top1").history()] == list(STEPS)


def test_early_stopping_stops(run: Path, tmp_path: Path) -> None:
    for step in (20000, 30000):
        worse = made(run, step)
        save(worse / "model.npz", {"w": np.zeros((8, 10), "f"), "b": np.eye(10, dtype="f")[0] * step})
    go(evaluation_of(), run, store=tmp_path / "evals")
    verdict = Signals(tmp_path / "evals", run, "cross_entropy").verdict(patience=2)
    assert verdict.stop, verdict.reason


def test_two_files_of_the_same_weights_are_one_checkpoint(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "checkpoint-900" / "model.npz", run / "checkpoint-900" / "pytorch_model.bin")
    save(run / "checkpoint-9900" / "ema.npz", weights_of(1))
    events = go(evaluation_of(), run, store=tmp_path / "evals")
    assert events.done == (4, 1, 0)
    assert listed(tmp_path / "evals") == [
        ("bert", 900, ("checkpoint-900", "checkpoint-900")),
        ("bert", 9900, ("checkpoint-9900/ema",)),
        ("bert", 9900, ("checkpoint-9900/model",)),
        ("bert", 10000, ("checkpoint-10000",)),
    ]
    shown = command("ls", "--store", tmp_path / "evals").stdout
    assert "checkpoint-900 " in shown
    assert "checkpoint-900," not in shown
    both = command("show", "checkpoint-9900", "--store", tmp_path / "evals")
    assert (both.returncode, "fits 2 checkpoints" in both.stderr) == (2, True)


def test_names_are_without_any_ending(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "rn50"
    folder.mkdir(parents=True)
    for step, name in enumerate(("checkpoint_006.pth.tar", "model_best.pth.tar", "best.pt")):
        save(folder / "x.npz", weights_of(step))
        (folder / "x.npz").rename(folder / name)
    go(evaluation_of(), folder, store=tmp_path / "evals")
    assert {name for _, _, names in listed(tmp_path / "evals") for name in names} == {
        "checkpoint_006",
        "model_best",
        "best",
    }
    for name in ("model_best", "best", "checkpoint_006", "rn50:model_best", "model_best.pth.tar"):
        found = command("show", name, "--store", tmp_path / "evals")
        assert found.returncode == 0, found.stderr


# -------------------------------------------------------------------------------------------------- the store's place


def test_everything_in_one_folder_works(tmp_path: Path) -> None:
    save(tmp_path / "model.npz", weights_of(1))
    go(evaluation_of(), tmp_path / "model.npz", store=tmp_path / "milepost-store")
    assert listed(tmp_path / "milepost-store") == [(tmp_path.name, None, ("model",))]
    watched(tmp_path, tmp_path / "model.npz", how=ENDED)


@pytest.mark.parametrize(
    ("named", "store"),
    [
        ("runs/bert", "runs/bert/evals"),
        ("runs", "runs/evals"),
        ("runs/bert/checkpoint-900/model.npz", "runs/bert/checkpoint-900/evals"),
        ("runs/bert/checkpoint-900/model.npz", "runs/bert/checkpoint-900/deep/evals"),
    ],
)
def test_a_store_within_what_was_named_or_within_a_checkpoint_is_refused(
    named: str, store: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="would lie in the training folder"):
        go(evaluation_of(), tmp_path / named, store=tmp_path / store)
    with pytest.raises(UsageError, match="would lie in the training folder"):
        watched(tmp_path / Path(store).parent, tmp_path / named, how=FAST, evaluation=evaluation_of())
    assert not (tmp_path / store).exists()
    assert not (tmp_path / Path(store).parent / "store").exists()


def test_a_watch_refuses_a_store_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would lie in the training folder"):
        watched(tmp_path / "later", tmp_path / "later", how=FAST)
    assert os.listdir(tmp_path) == []
