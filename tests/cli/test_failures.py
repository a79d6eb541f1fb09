"""`failures`: one line a failed checkpoint, whether its file failed or its evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from milepost.cli import main
from milepost.core.types import Identity
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

Shown = pytest.CaptureFixture[str]


def events(capsys: Shown) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_file_that_failed_is_one_line_with_exactly_these_keys(store: Path, capsys: Shown) -> None:
    assert main(["failures", "--store", str(store), "--json"]) == 0
    (line,) = events(capsys)
    assert list(line) == ["event", "run", "path", "step", "variant", "class", "message", "attempts"]
    assert line["message"] == "step-200.pt: checksum of fc.weight\nsecond line"
    assert (line["event"], line["run"], line["step"], line["class"]) == ("failure", "lenet", 200, "corrupt")
    assert line["attempts"] == 1


def test_attempts_are_those_of_the_newest_try(store: Path, tmp_path: Path, capsys: Shown) -> None:
    made = Store.open(store)
    path = str(tmp_path / "lenet" / "step-300.pt")
    for attempt in (1, 2, 3):
        failure = ("torn", f"{attempt} bytes missing")
        seen = f"2026-01-0{attempt}T00:00:00Z"
        identity = Identity(1, 50, 100, 1, 1)
        made.add_checkpoint(
            CheckpointRecord("lenet", path, identity, "step-300", step=300, failure=failure, attempt=attempt, seen=seen)
        )
    assert main(["failures", "--store", str(store), "--json"]) == 0
    lines = events(capsys)
    assert [(line["step"], line["attempts"], line["message"]) for line in lines if line["class"] == "torn"] == [
        (300, 3, "3 bytes missing")
    ]


def test_an_evaluation_that_failed_is_a_line(store: Path, tmp_path: Path, capsys: Shown) -> None:
    made = Store.open(store)
    digest = "abcd" * 8
    path = str(tmp_path / "lenet" / "step-400.pt")
    made.add_checkpoint(CheckpointRecord("lenet", path, Identity(1, 60, 1, 1, 1), "step-400", step=400, digest=digest))
    folder = made.evaluation("ab" * 16)
    folder.describe({"weights": digest})
    for attempt in (1, 2):
        folder.failures.publish(attempt, {"kind": "crashed", "message": f"signal 9, time {attempt}"})
    assert main(["failures", "--store", str(store), "--json"]) == 0
    line = events(capsys)[-1]
    assert (line["path"], line["class"], line["attempts"], line["message"]) == (path, "crashed", 2, "signal 9, time 2")


def test_the_table_has_whole_messages(store: Path, capsys: Shown) -> None:
    assert main(["failures", "--store", str(store)]) == 0
    shown = capsys.readouterr()
    head, row, _, title, *message = shown.out.splitlines()
    assert head.split() == ["run", "step", "class", "attempts", "path"]
    assert row.split()[:4] == ["lenet", "200", "corrupt", "1"]
    assert title.endswith("step-200.pt: corrupt")
    assert message[:2] == ["  step-200.pt: checksum of fc.weight", "  second line"]
    assert message[2].startswith("  next: copy it again from where it is whole")
    assert message[2].endswith("then: milepost failures --retry")


def test_one_run_only(store: Path, tmp_path: Path, capsys: Shown) -> None:
    made = Store.open(store)
    (tmp_path / "other").mkdir()
    run = made.run_of(tmp_path / "other")
    assert main(["failures", "--store", str(store), "--run", run]) == 0
    assert capsys.readouterr().out == "no failures\n"
    assert main(["failures", "--store", str(store), "--run", "lenet", "--json"]) == 0
    assert len(events(capsys)) == 1
    assert main(["failures", "--store", str(store), "--run", "nowhere"]) == 2
    assert "'nowhere' is no run of this store; expected one of: lenet, other" in capsys.readouterr().err


def test_a_failed_file_is_asked_for_again_once(store: Path, capsys: Shown) -> None:
    made = Store.open(store)
    (failed,) = [seen for seen in made.checkpoints() if seen.failure]
    assert not made.retry_requests.has(failed)
    assert main(["failures", "--store", str(store), "--retry", "200"]) == 0
    assert "1 will be tried again by the next `milepost run`" in capsys.readouterr().out
    assert made.retry_requests.has(failed)
    second = replace(failed, attempt=2)
    made.add_checkpoint(second)
    assert not made.retry_requests.has(second)  # the request was for the first failure, not for every later one
    assert len(list(made.checkpoints())) == 6  # a retry request is no checkpoint


def test_a_failed_evaluation_is_asked_for_again_once(store: Path, tmp_path: Path, capsys: Shown) -> None:
    made = Store.open(store)
    digest = "abcd" * 8
    path = str(tmp_path / "lenet" / "step-400.pt")
    made.add_checkpoint(CheckpointRecord("lenet", path, Identity(1, 60, 1, 1, 1), "step-400", step=400, digest=digest))
    folder = made.evaluation("ab" * 16)
    folder.describe({"weights": digest})
    folder.failures.publish(1, {"kind": "model error", "message": "no"})
    assert main(["failures", "--store", str(store), "--retry", "--json", "step-400"]) == 0
    assert [line["step"] for line in events(capsys)] == [400]
    assert folder.failures.retry_requested()
    assert len(folder.failures.list()) == 1
    folder.failures.publish(2, {"kind": "model error", "message": "no"})
    assert not folder.failures.retry_requested()
    assert not any(
        made.retry_requests.has(seen) for seen in made.checkpoints() if seen.failure
    )  # only the one that was named


def test_an_address_that_did_not_fail_is_refused(store: Path, capsys: Shown) -> None:
    assert main(["failures", "--store", str(store), "--retry", "900"]) == 2
    assert "no checkpoint is at '900'" in capsys.readouterr().err
