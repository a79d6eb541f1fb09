"""A folder that cannot be listed or looked at for a while: nothing in it is taken for deleted; it is looked at later.

The disk is the tests' own layer (`_disk`): it refuses what root may do, too.
"""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests._material import Counted, Events, checkpoints, evaluation_of, go, request_of
from tests.store._disk import Disk
from tests.watch._watching import FAST, ROWS, counts, states, values

from milepost.errors import StoreError
from milepost.watch.scanner import Scanner
from milepost.watch.watch import watch

LOOKS = {"listdir", "scandir", "stat", "lstat"}


@pytest.fixture
def at_scan(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], None]]], None]:
    """Return what does things before scans, by their numbers."""

    def plan(actions: dict[int, Callable[[], None]]) -> None:
        scan = Scanner.scan

        def planned(self: Scanner, *, full: bool = False) -> None:
            if action := actions.pop(self.scans, None):
                action()
            scan(self, full=full)

        monkeypatch.setattr(Scanner, "scan", planned)

    return plan


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("first", [1, 4])
def test_a_training_folder_that_is_out_of_reach_for_a_while(
    code: int, first: int, tmp_path: Path, at_scan: Callable[[dict[int, Callable[[], None]]], None]
) -> None:
    run, events, predict = checkpoints(tmp_path / "run", 1, 2, 3), Events(), Counted()
    disk = Disk(run)

    def shut() -> None:
        disk.fault = lambda number, kind: code if kind in LOOKS else None

    def opened() -> None:
        disk.fault = lambda number, kind: None
        checkpoints(run, 4)

    at_scan({first: shut, first + 4: opened, first + 8: (run / "DONE").touch})
    with disk.watched():
        watch(request_of(evaluation_of(ROWS, predict), run, store=tmp_path / "store"), FAST, events.append)
    assert events.failures == {}
    assert counts(events) == {"evaluated": 4}
    assert all(states(events, f"step-{step}.npz").count("done") == 1 for step in range(1, 5))
    calm = tmp_path / "calm"
    go(evaluation_of(ROWS), run, store=calm)
    assert values(tmp_path / "store") == values(calm)


def test_what_stays_out_of_reach_does_not_keep_a_watch_from_its_end(
    tmp_path: Path, at_scan: Callable[[dict[int, Callable[[], None]]], None]
) -> None:
    run, events = checkpoints(tmp_path / "run", 1, 2), Events()
    disk = Disk(run)
    shut = {"listdir", "scandir", "stat", "lstat", "open", "link"}

    def out_of_reach() -> None:
        disk.fault = lambda number, kind: errno.EACCES if kind in shut else None

    at_scan({1: out_of_reach})
    (run / "DONE").touch()
    with disk.watched():
        watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, events.append)
    assert events[-1]["event"] == "done"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_store_that_is_out_of_reach_for_a_while(code: int, stride: int, tmp_path: Path) -> None:
    run, calm, evaluation = checkpoints(tmp_path / "run", 1, 2, 3), tmp_path / "calm", evaluation_of(ROWS)
    go(evaluation, run, store=calm)
    (run / "DONE").touch()

    def attempt(store: Path, first: int) -> tuple[Events, int]:
        events, disk = Events(), Disk(store.parent)
        disk.fault = lambda number, kind: code if first <= number < first + 5 else None
        with disk.watched():
            watch(request_of(evaluation, run, store=store), FAST, events.append)
        return events, disk.count

    (tmp_path / "counted").mkdir()
    _, total = attempt(tmp_path / "counted" / "store", 10**9)
    messages = []
    for first in range(1, total, stride * total // 18):
        place = tmp_path / str(first)
        place.mkdir()
        try:
            attempt(place / "store", first)
        except StoreError as error:
            messages.append(str(error))
        events: Any = Events()
        watch(request_of(evaluation, run, store=place / "store"), FAST, events.append)
        assert not events.of("failure"), first
        assert values(place / "store") == values(calm), first
    assert messages
    advice = ("nothing that was finished is lost", "have its owner let you")
    assert [text for text in messages if not any(words in text for words in advice)] == []
