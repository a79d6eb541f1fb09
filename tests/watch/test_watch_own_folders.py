"""The watch over checkpoints that have a folder of their own: what an evaluation reads of it is pinned, too."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests._material import Events, evaluation_of, request_of, save, weights_of
from tests.watch._watching import FAST, ROWS, counts

from milepost.store.pins import Pins
from milepost.store.store import Store
from milepost.watch.scanner import Scanner
from milepost.watch.snapshot import Snapshot
from milepost.watch.watch import watch


def made(own: Path, step: int, *later: str) -> None:
    own.mkdir(parents=True, exist_ok=True)
    files = {"model.npz", "config.json", "trainer_state.json", "optimizer.pt"} - set(later)
    for name in files:
        write(own / name, step)


def write(path: Path, step: int) -> None:
    if path.suffix == ".npz":
        save(path, weights_of(step))
    else:
        path.write_text(json.dumps({"global_step": step}))


def pinned(store: Path) -> set[str]:
    return {path.name for path in (store / "pins").rglob("*") if path.is_file() and path.name[0] != "@"}


def test_pins_hold_all_that_an_evaluation_reads_also_what_comes_later(tmp_path: Path) -> None:
    own = tmp_path / "runs" / "checkpoint-500"
    made(own, 500, "trainer_state.json")
    (tmp_path / "store").mkdir()
    with Pins(tmp_path / "store") as pins:
        scanner = Scanner(Snapshot([str(tmp_path / "runs")]), pins, lambda file: False)
        scanner.scan(full=True)
        assert pinned(tmp_path / "store") == {"model.npz", "config.json"}
        write(own / "trainer_state.json", 500)
        scanner.scan(full=True)
        assert pinned(tmp_path / "store") == {"model.npz", "config.json", "trainer_state.json"}
        (pin,) = (pin for pin, _ in pins.left())
        shutil.rmtree(own)
        assert Path(pin.link).with_name("trainer_state.json").read_text() == '{"global_step": 500}'


def test_a_file_beside_that_cannot_be_linked_costs_no_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "runs" / "checkpoint-500"
    made(own, 500)
    (own / "a_pipe").symlink_to("/dev/null")
    link = os.link

    def refused(source: str, target: str) -> None:
        if os.path.basename(source) == "config.json":
            raise PermissionError(1, "not permitted")
        link(source, target)

    monkeypatch.setattr(os, "link", refused)
    (tmp_path / "store").mkdir()
    with Pins(tmp_path / "store") as pins:
        Scanner(Snapshot([str(tmp_path / "runs")]), pins, lambda file: False).scan(full=True)
        assert pinned(tmp_path / "store") == {"model.npz", "trainer_state.json"}
        assert pins.trouble is None


def test_a_folder_that_is_deleted_at_once_is_evaluated_under_its_name(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "bert"
    for step in (900, 10000):
        made(run / f"checkpoint-{step}", step)
    for best in (run, run / "best"):  # its step stands in the trainer's file alone
        made(best, 900)
        save(best / "model.npz", weights_of(len(str(best))))
        (best / "model.npz").rename(best / "model.safetensors")  # known by what it holds, whatever its name
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            shutil.rmtree(run)
            run.mkdir()
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 4}
    rows = Store.open(tmp_path / "store").listing().checkpoints()
    assert [(row["run"], row["step"], row["name"]) for row in rows] == [
        ("bert", 900, "best"),
        ("bert", 900, "checkpoint-900"),
        ("bert", 900, "model"),
        ("bert", 10000, "checkpoint-10000"),
    ]


def test_a_folder_that_is_renamed_once_it_is_whole_is_no_checkpoint_before(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "bert"
    made(run / "tmp-checkpoint-500", 500)
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            assert pinned(tmp_path / "store") == set()
            os.rename(run / "tmp-checkpoint-500", run / "checkpoint-500")
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 1}
    assert {event["path"] for event in events.of("checkpoint")} == {str(run / "checkpoint-500" / "model.npz")}


@pytest.mark.parametrize("named", ["runs", "runs/bert"])
def test_one_that_vanished_is_of_the_same_run(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "bert"
    made(run / "checkpoint-1", 1)
    made(run / "checkpoint-2", 2)
    monkeypatch.setattr(os, "link", _no_link)
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            shutil.rmtree(run / "checkpoint-2")
            (tmp_path / named / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), tmp_path / named, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 1, "vanished": 1}
    (failure,) = events.of("failure")
    assert (failure["run"], failure["step"], failure["class"]) == ("bert", 2, "vanished")
    rows = Store.open(tmp_path / "store").listing().checkpoints()
    assert [(row["run"], row["name"]) for row in rows] == [("bert", "checkpoint-1"), ("bert", "checkpoint-2")]


def _no_link(*_: object) -> None:
    raise PermissionError(1, "not permitted")
