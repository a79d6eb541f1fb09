"""The facts of a watch: what scans, reader and evaluations show of each checkpoint."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace

from milepost._internal.fileid import identity_of
from milepost.checkpoints._files.shards import main_file, moved, reworded
from milepost.checkpoints.discovery import would_search
from milepost.checkpoints.names import is_candidate
from milepost.core.types import CheckpointFiles
from milepost.errors import Vanished
from milepost.store.pins import Pin
from milepost.watch.effects import Effects, World
from milepost.watch.scanner import Scanner, ScanResult
from milepost.watch.scheduler import Scheduler
from milepost.watch.snapshot import ScannedFile, main_path
from milepost.watch.states import ENDS, OPEN, Fact, Tracked

_SCANS = 2
"""A file that stood still for so many scans is not being written in this moment."""
_RESTS_SECONDS = 10.0
_HEAD = 4096
_LOST = (
    "{how} before it could be evaluated, and it was not pinned; raise keep-last (max_to_keep), or put the store on the "
    "same file system as the checkpoints so that they can be pinned"
)


class Tracker(Effects):
    """Turns what scans, reader and evaluations show into facts."""

    def __init__(self, scanner: Scanner, world: World, scheduler: Scheduler, torn_after: float) -> None:
        """Wait `torn_after` seconds since its last change for an incomplete file."""
        super().__init__(scanner, world)
        self._scheduler = scheduler
        self._torn_after = torn_after
        self._handed_on = set[Pin]()
        self._hidden = dict[Tracked, str]()

    def take_in(self, result: ScanResult) -> None:
        """Take in what a scan found; `look` then reads what is new."""
        changes, pins = result
        present = {file.key[1:]: file for file in changes.new}
        for file in changes.gone:
            self._gone(file, present)
        for file in changes.new:
            self._changed(file, pins.get(file.key))
        for path in {main_path(file.path): None for file in changes.members}:
            tracked = self.at_path.get(str(path))
            if tracked is not None and tracked.state != "ignored":
                self.apply(tracked, Fact.CHANGED)

    def adopt(self) -> bool:
        """Take in what is pinned or noted without a record, as another watch left it; say if anything is open."""
        by_key = {tracked.file.key: tracked for tracked in (*self.at_path.values(), *self.open)}
        held = {tracked.pin for tracked in self.open}
        for pin, file in self.scanner.left():
            if pin in held or pin in self._handed_on:
                continue
            tracked = by_key.get(file.key)
            there = self.scanner.snapshot.file(file.path)
            if tracked is not None:
                self._take_over(tracked, pin)
            elif there is not None and there.key == file.key:
                continue  # the next scan result brings it
            elif not pin.holds and self.scanner.snapshot.holds(file):
                self.scanner.release(pin)  # it was renamed
            else:
                lost = self.start(file, pin)
                if not pin.holds:
                    self.lose(lost, "deleted while no watch was there")
        self.look()
        return bool(self.open)

    def look(self) -> None:
        """Read what is to be read, and what could not be looked at when it was last tried."""
        for tracked in self._hidden:
            tracked.unread = True
        self._hidden = {}
        while unread := [tracked for tracked in self.open if tracked.unread]:
            places = {}
            for tracked in unread:
                tracked.unread = False
                places[tracked] = tracked.pin.link if tracked.pin is not None and tracked.pin.holds else tracked.path
            read = self.world.read(list(places.values()))
            for tracked, place in places.items():
                self._was_read(tracked, read.get(place), place)
            for tracked in self._scheduler.left_out([item for item in places if item.state == "complete"]):
                self.apply(tracked, Fact.LEFT_OUT, "left out by --every")

    def wait_or_give_up(self, *, ending: bool) -> None:
        """Give up on what is incomplete and stood still for too long, and believe a refusal of what stands still."""
        for tracked, why in list(self._hidden.items()) if ending else ():
            if self.scanner.scans - tracked.still >= _SCANS:
                self.apply(tracked, Fact.GONE, f"could not be looked at: {why}")
        for tracked in self.of("writing"):
            age = time.monotonic() - tracked.since
            still = self.scanner.scans - tracked.still >= _SCANS
            if tracked.at is not None and tracked.at.state == "failed":
                if still or age >= _RESTS_SECONDS:
                    self._refused(tracked, tracked.at)
            elif still and (age >= self._torn_after or ending):  # what it is stamped with is another clock's word
                tracked.last = True
                self.apply(tracked, Fact.STILL)

    def ask_again(self) -> None:
        """Look after what other watchers have in hand."""
        for tracked in self.of("elsewhere"):
            # Its pin may be lost, and the file itself be there.
            here = _lies_there(tracked.at) or _lies_there(tracked.files)
            fate = self.world.fate(tracked, here=here)
            if fate == "done":
                self.apply(tracked, Fact.RESULTS, "another watcher evaluated it")
            elif fate == "lost" and here:
                self.apply(tracked, Fact.FREED)
            elif fate == "lost":
                how = "overwritten" if os.path.lexists(tracked.path) else "deleted"
                self.apply(tracked, Fact.GONE, tracked.reason or _LOST.format(how=how))

    def lose(self, tracked: Tracked, how: str) -> None:
        """Learn what became of a checkpoint whose content is gone here."""
        fate, reason = self.world.fate(tracked, here=False), _LOST.format(how=how)
        if fate == "done":
            self.apply(tracked, Fact.RESULTS, "another watcher evaluated it")
        else:
            self.apply(tracked, Fact.TAKEN if fate == "held" else Fact.GONE, reason)

    def intact(self, tracked: Tracked) -> bool:
        """Say whether a file is as it was read; if not, what became of it is a fact by now."""
        if _lies_there(tracked.at):
            return True
        if tracked.at is not None and os.path.lexists(main_file(tracked.at)):
            if tracked.state == "claimed":
                self.apply(tracked, Fact.DIFFERS)
            else:
                self.lose(tracked, "overwritten")
            return False
        self.let_go(tracked)
        if _lies_there(tracked.files):
            self.apply(tracked, Fact.PIN_LOST)
        else:
            self.lose(tracked, "deleted")
        return False

    def hand_on(self, tracked: Tracked) -> None:
        """Leave a checkpoint's pin to the next watch."""
        if tracked.pin is not None:
            self._handed_on.add(tracked.pin)
            tracked.pin = None

    def retry(self, tracked: Tracked) -> None:
        """Begin again with a failed checkpoint if its content is still there."""
        if _lies_there(tracked.files):
            self.apply(tracked, Fact.RETRY)

    def _take_over(self, tracked: Tracked, pin: Pin) -> None:
        """Have a record hold what a watch that is gone has pinned, or remove that."""
        if tracked.state in OPEN and (tracked.pin is None or (pin.holds and not tracked.pinned)):
            self.let_go(tracked)
            tracked.pin = pin
        else:
            self.scanner.release(pin)

    def _gone(self, file: ScannedFile, present: Mapping[tuple[int, int], ScannedFile]) -> None:
        tracked = self.at_path.pop(file.path, None)
        if tracked is None:
            return
        other = present.get(file.key[1:])
        # A deleted file's inode is soon given away: only where the content is the same, too, it was renamed.
        if other is not None and (
            other.identity.content == tracked.file.identity.content or tracked.state in ("seen", "writing")
        ):
            self.apply(tracked, Fact.RENAMED)  # it goes on under its new name
        else:
            self._left(tracked, "deleted")
        self.forget(tracked)

    def _left(self, tracked: Tracked, how: str) -> None:
        """Go on without the path: from the pin where there is one."""
        if tracked.pinned:
            self.apply(tracked, Fact.PINNED)
        elif tracked.state in ("seen", "writing") and not is_candidate(os.path.basename(tracked.path)):
            self.apply(tracked, Fact.RENAMED)
        elif tracked.state in ("seen", "writing", "complete"):
            self.lose(tracked, how)

    def _changed(self, file: ScannedFile, pin: Pin | None) -> None:
        """Take in new content under a path."""
        known = self.at_path.get(file.path)
        if known is None:
            self.start(file, pin, at_path=True)
        elif known.file.key != file.key:
            self._left(known, "replaced")
            self.apply(known, Fact.REPLACED, found=(file, pin))
        elif known.identity.content == file.identity.content:  # it was read after it had changed
            known.file, known.pin = file, known.pin or pin
            if known.state in ENDS:
                self.release(known)
        elif known.state in ("seen", "writing", "ignored"):
            grew = known.state == "ignored" and known.file.identity.size >= _HEAD <= file.identity.size
            known.file, known.pin = file, known.pin or pin
            if grew:  # its beginning is no checkpoint's still
                self.let_go(known)
            else:
                self.apply(known, Fact.CHANGED)
        else:
            if known.state == "complete":
                self.lose(known, "overwritten")
            if self.at_path[file.path] is known:  # else its end has taken the new content in
                self.apply(known, Fact.REPLACED, found=(file, pin or known.pin))

    def _was_read(self, tracked: Tracked, at: CheckpointFiles | None, place: str) -> None:
        if at is None or not would_search(at):
            if os.path.lexists(place):
                self.apply(tracked, Fact.NO_CHECKPOINT)
            elif place != tracked.path:
                self.let_go(tracked)
                tracked.unread = True
            elif self.at_path.get(tracked.path) is not tracked:
                self.lose(tracked, "deleted")
            elif why := _hidden(place):
                self._hidden[tracked] = why
            return  # what is gone from its path is in the next scan
        tracked.at, tracked.files = at, _addressed(at, place, tracked.path)
        rests = time.monotonic() - tracked.since >= _RESTS_SECONDS
        if at.state == "complete":
            self.apply(tracked, Fact.COMPLETE)
        elif at.state == "failed" and rests:
            self._refused(tracked, at)
        else:
            self.apply(tracked, Fact.INCOMPLETE)

    def _refused(self, tracked: Tracked, at: CheckpointFiles) -> None:
        kind, message = at.failure or ("", "")
        self.apply(tracked, *((Fact.GONE, message) if kind == Vanished.kind else (Fact.REFUSED, kind)))


def _addressed(at: CheckpointFiles, place: str, path: str) -> CheckpointFiles:
    """Return what was read at a pin as it is addressed: by its own path."""
    if place == path:
        return at
    failure = (at.failure[0], reworded(at.failure[1], place, path)) if at.failure else None
    return replace(at, path=path, paths=tuple(moved(file, place, path) for file in at.paths), failure=failure)


def _hidden(path: str) -> str | None:
    """Return why a path cannot be looked at; None where it can, or where nothing is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or str(error)
    return None


def _lies_there(files: CheckpointFiles | None) -> bool:
    """Return whether files are as they were read; what no format claims needs only to be there: no link is followed."""
    if files is None or files.format is None:
        return files is not None and os.path.lexists(files.path)
    try:
        return identity_of(main_file(files)).content == files.identity.content
    except OSError:
        return False
