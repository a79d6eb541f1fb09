"""Notification of changes: sooner than polling where it works, and nothing lost where it does not."""

import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests._material import Told, evaluation_of, request_of, save
from tests.watch._watching import DONE, ROWS, counts, made

from milepost.cli import doctor
from milepost.watch import notify
from milepost.watch.watch import Terms, watch

needs_watchfiles = pytest.mark.skipif(not notify.is_installed(), reason="watchfiles is not installed")
LONG = 60.0
"""Seconds between two polls: far more than a test may take."""


@needs_watchfiles
def test_a_new_checkpoint_is_seen_long_before_the_next_poll(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "step-1.npz", made(1))
    told = Told()

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") != "done":
            return
        done = sum(item["state"] == "done" for item in told.of("checkpoint"))
        if done == 1:
            save(run / ".new.npz", made(2))
            (run / ".new.npz").rename(run / "step-2.npz")
        elif done == 2:
            save(run / "step-2.npz", made(3))  # in place: its folder's time stays as it is
        else:
            (run / "DONE").touch()

    began = time.monotonic()
    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), Terms(DONE, interval=LONG), listen)
    assert counts(told) == {"evaluated": 3}
    assert time.monotonic() - began < LONG


@needs_watchfiles
def test_folders_that_come_are_listened_to_and_logs_do_not_wake(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    (first / "train.log").touch()
    folders = [str(first)]
    told: list[Collection[str]] = []
    heard = threading.Condition()

    def wake(paths: Collection[str]) -> None:
        with heard:
            told.append(paths)
            heard.notify_all()

    def until(path: str | None) -> None:
        with heard:
            assert heard.wait_for(lambda: bool(told) and (path is None or path in told[-1]), 30)

    with notify.Notifier(lambda: list(folders), wake):
        until(None)  # it listens
        with (first / "train.log").open("a") as log:
            log.write("a line\n")
        (first / "step-1.npz").touch()
        until(str(first / "step-1.npz"))
        second.mkdir()
        folders.append(str(second))
        with heard:
            before = len(told)
            assert heard.wait_for(lambda: () in told[before:], 30)  # it listens anew
        (second / "step-2.npz").touch()
        until(str(second / "step-2.npz"))
    assert not any(str(first / "train.log") in paths for paths in told)


def test_what_goes_wrong_stays_silent_and_ends_with_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def fails(*_: Any) -> Any:
        tried.set()
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(notify, "is_installed", lambda: True)
    monkeypatch.setattr(notify, "_changes", fails)
    with notify.Notifier(lambda: [str(tmp_path)], lambda paths: None):
        assert tried.wait(30)
    line = doctor._notification("x", str(tmp_path), "ext4")
    assert (line.state, "inotify watch limit reached" in line.message) == ("ok", True)
    assert notify.trouble(str(tmp_path)) is not None
    assert "polling" in line.message


def test_of_too_many_folders_those_nearest_to_the_root_are_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_MOST", 2)
    assert notify.Notifier(lambda: ["/a/b/c", "/a", "/a/b"], print)._nearest() == ["/a", "/a/b"]
