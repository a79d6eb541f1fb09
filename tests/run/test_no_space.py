"""A disk that is full, or read-only, under a run or a watch: rows that say so, and the next run does what they lack.

The disk is the tests' own layer (`_disk`), which fails at a chosen operation in this process; a real small file system
where one may be mounted.
"""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests._material import Events, checkpoints, command, contents, evaluation_of, go, leftovers, lines_of, request_of
from tests.store._disk import GROWING, Disk
from tests.watch._watching import FAST, values

from milepost.errors import StoreFull
from milepost.run.run import run
from milepost.watch import scheduler
from milepost.watch.watch import watch

ROWS = 300


@contextmanager
def small(place: Path, size: str = "600k") -> Iterator[Callable[[str], object]]:
    """Mount a small file system at a place, or skip; yields what mounts it again with other options."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if (mounted := subprocess.run(words, check=False, capture_output=True)).returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda options: subprocess.check_call(["mount", "-o", f"remount,{options}", str(place)])
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def kept(store: Path) -> dict[str, Any]:
    """Return what a store holds, less the leases and heartbeats of this process, which lives."""
    mine = ("leases/", "workers/")
    return {name: held for name, held in contents(store).items() if not any(mark in name for mark in mine)}


@pytest.fixture
def _nothing_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.usefixtures("_nothing_is_forced")
@pytest.mark.parametrize("lasts", [10**9, 4])
def test_a_run_goes_on_whenever_the_disk_is_full(lasts: int, stride: int, tmp_path: Path) -> None:
    folder, evaluation = checkpoints(tmp_path / "lenet", 1, 2, 3), evaluation_of(ROWS)

    def attempt(place: Path, first: int) -> tuple[Events, Disk]:
        place.mkdir(exist_ok=True)
        disk, events = Disk(place), Events()
        disk.fault = lambda number, kind: errno.ENOSPC if first <= number < first + lasts and kind in GROWING else None
        with disk.watched():
            run(request_of(evaluation, folder, store=place / "evals", per_pass=2), events.append)
        return events, disk

    _, calm = attempt(tmp_path / "calm", 10**9)
    chosen = [number for number, kind in enumerate(calm.kinds, 1) if kind in GROWING][:: 3 * stride]
    rows = 0
    for first in chosen:
        store = tmp_path / str(first) / "evals"
        try:
            events, _ = attempt(store.parent, first)
        except StoreFull:  # the store itself could not be made, or the code not be noted
            assert first < chosen[len(chosen) // 2]
        else:
            done, skipped, failed = events.done
            assert done + skipped + failed == 3
            assert {reason.partition(":")[0] for reason in events.failures.values()} <= {"no space"}
            assert len(events.failures) == failed
            rows += failed
        again = go(evaluation, folder, store=store)
        assert again.failures == {}, first
        assert kept(store) == kept(tmp_path / "calm" / "evals"), first
    assert rows > len(chosen) // 2


def test_a_small_disk(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", *range(1, 25)), tmp_path / "evals"
    file = tmp_path / "ev.py"
    file.write_text("from tests._material import evaluation_of\nevaluation = evaluation_of(3000)\n")
    words = ["run", file, folder, "--store", store, "--engine", "inprocess"]
    with small(store) as again:
        full = command(*words, "--json")
        assert full.returncode == 3, full.stderr
        events = lines_of(full.stdout)
        done, _, failed = events.done
        assert done >= 2
        assert done + failed == 24
        assert all(" (No space left on device); free some room" in text for text in events.failures.values())
        assert {text.partition(":")[0] for text in events.failures.values()} == {"no space"}
        assert leftovers(store) == []
        assert not list(store.rglob("failures"))
        again("size=64m")
        assert lines_of(command(*words, "--json").stdout).done == (failed, done, 0)
        assert leftovers(store) == []


def test_a_store_that_may_only_be_read(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 1, 2), tmp_path / "evals"
    file = tmp_path / "ev.py"
    file.write_text("from tests._material import evaluation_of\nevaluation = evaluation_of()\n")
    (folder / "DONE").touch()
    request = [file, folder, "--engine", "inprocess"]
    with small(store, "64m") as again:
        assert command("run", *request, "--store", store).returncode == 0
        again("ro")
        os.chmod(folder / "step-1.npz", 0o600)  # another ctime: its weights are digested again, which cannot be noted
        for verb in (
            ["run", *request],
            ["watch", *request, "--until", "done"],
            ["plan", *request],
            ["ls"],
            ["show", "1"],
            ["best", "--metric", "top1"],
            ["compare", "1", "2"],
            ["failures"],
            ["export", "csv"],
            ["score", "1", "--metric", "top_k(k=1)"],
            ["gc", folder, "--metric", "top1"],
            ["forget", "1"],
        ):
            ended = command(*verb, "--store", store)
            assert ended.returncode == 0, (verb, ended.stderr)
        checkpoints(folder, 3)
        for verb in (["run", *request], ["watch", *request, "--until", "done"], ["forget", "1", "--delete"]):
            ended = command(*verb, "--store", store)
            assert ended.returncode == 2, (verb, ended.stderr)
            assert "(Read-only file system); mount it for writing" in ended.stderr


def test_a_watch_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "FIRST_SECONDS", 0.01)
    folder, store, calm = checkpoints(tmp_path / "lenet", 1), tmp_path / "evals", tmp_path / "calm"
    evaluation, events = evaluation_of(ROWS), Events()
    for place in (store, calm):
        go(evaluation, folder, store=place)
    checkpoints(folder, 2, 3)
    go(evaluation, folder, store=calm)
    disk, waited = Disk(store), 0

    def listen(event: dict[str, Any]) -> None:
        nonlocal waited
        events.append(event)
        if event["event"] == "start":
            disk.fault = lambda number, kind: errno.ENOSPC if kind in GROWING else None
        if event["event"] == "failure":
            assert event["class"] == "no space"
            waited += 1
            if waited == 20:  # more often than anything else is tried
                disk.fault = lambda number, kind: None
                (folder / "DONE").touch()

    with disk.watched():
        watch(request_of(evaluation, folder, store=store), FAST, listen)
    assert {name: number for name, number in events[-1].items() if number} == {
        "event": "done",
        "evaluated": 2,
        "up_to_date": 1,
    }
    assert values(store) == values(calm)


def test_what_a_watch_had_pinned_when_it_ended_without_room_is_the_next_ones(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 1), tmp_path / "evals"
    evaluation, events = evaluation_of(ROWS), Events()
    go(evaluation, folder, store=store)
    checkpoints(folder, 2, 3)
    disk = Disk(store)

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            disk.fault = lambda number, kind: errno.ENOSPC if kind in GROWING else None
        if event.get("state") == "complete" and event["step"] > 1:
            Path(event["path"]).unlink()
            (folder / "DONE").touch()

    with disk.watched():
        watch(request_of(evaluation, folder, store=store), FAST, listen)
    assert events[-1]["failed"] == 2
    assert {text.partition(":")[0] for text in events.failures.values()} == {"no space"}
    later = Events()
    watch(request_of(evaluation, folder, store=store), FAST, later.append)
    assert later[-1]["evaluated"] == 2
    assert list(store.glob("pins/*")) == []
