"""The watch over checkpoints of several files: waited for part by part, pinned whole, and one row each."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import Events, evaluation_of, go, request_of, weights_of
from tests.checkpoints._tf_writer import bundle, slowly, write_bundle
from tests.watch._watching import FAST, ROWS, counts, states, values
from tests.watch._watching import go as watched

from milepost.watch.watch import watch


def made(step: int) -> dict[str, Any]:
    return {**weights_of(step), "rest": np.full(9000, step, "f4")}


def evaluation() -> Any:
    return evaluation_of(ROWS, lambda weights, x: x @ weights["w"] + weights["b"] + 0 * weights["rest"][:1])


def clean(tmp_path: Path, *steps: int) -> Any:
    """Return the values of an undisturbed run over the same contents."""
    folder = tmp_path / "clean"
    folder.mkdir()
    for step in steps:
        write_bundle(folder / f"model.ckpt-{step}.index", made(step), shards=2)
    go(evaluation(), folder, store=tmp_path / "clean-store")
    return values(tmp_path / "clean-store")


@pytest.mark.parametrize("renamed", [True, False])
def test_tensorflows_writers_are_waited_for_in_their_own_order(renamed: bool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    events = Events()
    step = threading.Semaphore(0)  # a piece is written when the watch has looked once more

    def write() -> None:
        for number in (10, 20):
            files = bundle(f"model.ckpt-{number}", made(number), shards=2)
            slowly(run / f"model.ckpt-{number}", files, lambda: step.acquire(timeout=0.02), renamed=renamed, piece=9000)
        (run / "DONE").touch()

    writer = threading.Thread(target=write)

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            writer.start()
        step.release()

    watch(request_of(evaluation(), run, store=tmp_path / "store"), FAST, listen)
    writer.join()
    assert counts(events) == {"evaluated": 2}
    assert {Path(item["path"]).name for item in events.of("checkpoint")} == {f"model.ckpt-{n}.index" for n in (10, 20)}
    assert states(events, "model.ckpt-20.index")[-3:] == ["complete", "claimed", "done"]
    assert values(tmp_path / "store") == clean(tmp_path, 10, 20)


def test_a_shard_that_comes_late_is_waited_for_and_one_that_never_comes_is_torn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    late, never = (bundle(f"model.ckpt-{step}", made(step), shards=2) for step in (1, 2))
    shard = "model.ckpt-1.data-00001-of-00002"
    for name, content in (*late.items(), *never.items()):
        if name not in (shard, shard.replace("-1.", "-2.")):
            (run / name).write_bytes(content)
    events = Events()

    def write() -> None:
        (run / shard).write_bytes(late[shard][:-7])
        while not list((tmp_path / "store").glob(f"pins/*/{shard}")):  # the pin gets what came late
            time.sleep(0.01)
        (run / shard).write_bytes(late[shard])
        (run / "DONE").touch()

    writer = threading.Thread(target=write)

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "writing" and event["step"] == 1:
            writer.start()

    watch(request_of(evaluation(), run, store=tmp_path / "store"), FAST, listen)
    writer.join()
    assert counts(events) == {"evaluated": 1, "failed": 1}
    assert states(events, "model.ckpt-1.index") == ["seen", "writing", "complete", "claimed", "done"]
    assert states(events, "model.ckpt-2.index") == ["seen", "writing", "failed"]
    message = events.failures["model.ckpt-2.index"]
    assert message.startswith("torn: ")
    assert "model.ckpt-2.data-00001-of-00002" in message
    assert str(tmp_path / "store") not in message


def test_what_is_deleted_before_its_turn_is_evaluated_from_the_pins_of_all_its_files(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3, 4):
        write_bundle(run / f"model.ckpt-{step}.index", made(step), shards=2)
        (run / f"model.ckpt-{step}.meta").write_bytes(b"\n\x02v1")
    (run / "DONE").touch()
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "complete" and event["step"] > 1:
            for path in run.glob(f"model.ckpt-{event['step']}.*"):
                path.unlink()

    watch(request_of(evaluation(), run, store=tmp_path / "store", per_pass=1), FAST, listen)
    assert counts(events) == {"evaluated": 4}
    assert values(tmp_path / "store") == clean(tmp_path, 1, 2, 3, 4)
    assert not (tmp_path / "store" / "pins").exists()


def test_a_prefix_is_an_address_and_brings_its_shards(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        write_bundle(tmp_path / "run" / f"model.ckpt-{step}.index", made(step), shards=2)
    events = go(evaluation(), tmp_path / "run" / "model.ckpt-1", store=tmp_path / "store")
    assert events.done == (1, 0, 0)
    assert [item["step"] for item in events.of("checkpoint")][-1] == 1


def test_a_savedmodel_is_one_checkpoint_pinned_as_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (1, 2):
        variables = run / f"step-{step}" / "variables"
        variables.mkdir(parents=True)
        write_bundle(variables / "variables.index", made(step))
        (variables.parent / "saved_model.pb").write_bytes(b"\x08\x01")
    (run / "DONE").touch()
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "complete" and event["step"] == 2:
            shutil.rmtree(run / "step-2")

    watch(request_of(evaluation(), run, store=tmp_path / "store", per_pass=1), FAST, listen)
    assert counts(events) == {"evaluated": 2}
    assert {os.path.basename(item["path"]) for item in events.of("checkpoint")} == {"step-1", "step-2"}
    assert counts(watched(tmp_path, run, evaluation=evaluation())) == {"up_to_date": 1}
