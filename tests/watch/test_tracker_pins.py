"""What a tracker does with the pins of files that were deleted, overwritten or replaced between two scans."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.watch.test_tracker import World

from milepost._internal.fileid import identity_of
from milepost.store.pins import Pins
from milepost.watch.scanner import Scanner
from milepost.watch.scheduler import Scheduler
from milepost.watch.snapshot import Snapshot
from milepost.watch.states import Fact
from milepost.watch.tracker import Tracker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "last.npz"


@pytest.fixture
def tracker(tmp_path: Path, path: Path) -> Iterator[Tracker]:
    with Pins(tmp_path) as pins:
        scanner = Scanner(Snapshot([str(path.parent)]), pins, lambda _: False)
        yield Tracker(scanner, World(), Scheduler("oldest", None, 1), 1e9)


def look(tracker: Tracker) -> None:
    tracker.scanner.scan(full=True)
    for result in tracker.scanner.take(()):
        tracker.take_in(result)
    tracker.look()


def test_what_was_finished_and_deleted_between_two_scans_is_read_from_its_pin(path: Path, tracker: Tracker) -> None:
    path.write_text("writing 1")
    look(tracker)
    (first,) = tracker.of("writing")
    path.write_text("complete number 1")
    path.unlink()
    look(tracker)
    assert (tracker.of("complete"), first.pinned) == ([first], True)


def test_a_pin_that_somebody_removed_is_no_loss_while_the_file_is_there(path: Path, tracker: Tracker) -> None:
    path.write_text("complete 1")
    look(tracker)
    (first,) = tracker.of("complete")
    assert first.pin is not None
    shutil.rmtree(Path(first.pin.link).parent)
    assert not tracker.intact(first)
    tracker.look()
    assert (first.state, first.pinned, tracker.intact(first)) == ("complete", True, True)


def test_a_pin_that_is_lost_while_another_watcher_has_the_file_is_no_loss(path: Path, tracker: Tracker) -> None:
    path.write_text("complete 1")
    look(tracker)
    (first,) = tracker.of("complete")
    tracker.apply(first, Fact.TURN)
    tracker.apply(first, Fact.LEASED)
    assert first.pin is not None
    shutil.rmtree(Path(first.pin.link).parent)
    tracker.ask_again()  # the other watcher is gone, with nothing to show for it
    assert first.state == "complete"
    assert not tracker.intact(first)
    tracker.look()
    assert (first.state, first.pinned, tracker.intact(first)) == ("complete", True, True)


def test_what_is_overwritten_before_its_turn_has_vanished_and_what_came_has_one_record(
    path: Path, tracker: Tracker
) -> None:
    path.write_text("complete 1")
    look(tracker)
    (first,) = tracker.of("complete")
    path.write_text("complete number 2")
    look(tracker)
    (second,) = tracker.open
    assert (first.state, second.state, second.pinned) == ("vanished", "complete", True)
    assert str(first.reason).startswith("overwritten before it could be evaluated")


def test_what_was_written_over_a_checkpoint_and_deleted_between_two_scans_is_a_checkpoint_too(
    path: Path, tracker: Tracker
) -> None:
    path.write_text("complete 1")
    look(tracker)
    (first,) = tracker.of("complete")
    tracker.apply(first, Fact.TURN)
    path.write_text("complete number 2")
    path.unlink()
    tracker.apply(first, Fact.RESULTS)
    look(tracker)
    (second,) = tracker.of("complete")
    assert (first.state, first.pin, second.pinned) == ("done", None, True)
    assert second.identity.content != first.identity.content


def test_a_pin_passes_to_what_is_written_over_a_checkpoint_that_another_watcher_has(
    path: Path, tracker: Tracker
) -> None:
    path.write_text("complete 1")
    look(tracker)
    (first,) = tracker.of("complete")
    tracker.apply(first, Fact.TURN)
    tracker.apply(first, Fact.LEASED)
    path.write_text("complete number 2")
    look(tracker)
    (second,) = tracker.of("complete")
    assert (first.state, first.pin, second.pinned) == ("elsewhere", None, True)
    tracker.apply(first, Fact.RESULTS)
    assert second.pinned
    tracker.apply(second, Fact.TURN)
    tracker.apply(second, Fact.RESULTS)
    assert (second.pin, list(path.parents[1].glob("pins/*"))) == (None, [])
    assert tracker.counts == {"up_to_date": 2}


def test_a_pin_goes_to_the_record_of_what_its_inode_was_given_to(
    tmp_path: Path, path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    assert isinstance(tracker.world, World)
    path.write_text("complete 1")
    tracker.world.texts[identity_of(str(path)).content] = "complete 1"
    tracker.world.taken.add("complete 1")  # another watcher has it: it is waited for, though it goes
    look(tracker)
    (first,) = tracker.of("complete")
    os.rename(path, tmp_path / "away")
    look(tracker)
    assert (first.state, first.pin is not None) == ("elsewhere", True)
    (tmp_path / "away").write_text("complete number 2")  # the same inode, as a file system gives it away
    os.rename(tmp_path / "away", path)
    look(tracker)
    (second,) = tracker.of("complete")
    assert (first.pin, second.pin is not None) == (None, True)
    (noted,) = (identity for _, identity in tracker.scanner.pins.left())
    assert noted is not None
    assert noted.content == second.identity.content
