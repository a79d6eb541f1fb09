"""The records of a watch, moved by the table of `states`, and the effects, carried out."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from milepost.core.types import CheckpointFiles
from milepost.store.pins import Pin
from milepost.watch.scanner import Scanner
from milepost.watch.snapshot import Key, ScannedFile
from milepost.watch.states import ENDS, OPEN, Fact, State, Tracked, step

Fate = Literal["done", "held", "lost"]
"""What became of a checkpoint: its results are in the store, another watcher is at it, or neither."""


class World(Protocol):
    """What a tracker needs of reader, store and user."""

    def read(self, paths: Sequence[str]) -> Mapping[str, CheckpointFiles]:
        """Return what lies under these paths; what is gone is left out."""

    def fate(self, tracked: Tracked, *, here: bool) -> Fate:
        """Say what became of a checkpoint that this watch may not evaluate now, though it may be `here` still."""

    def needed(self, tracked: Tracked) -> bool:
        """Say whether any result is missing, as far as that is known without reading it: such a one is pinned."""

    def publish(self, tracked: Tracked) -> None:
        """Publish and report the failure of a checkpoint that was refused or has vanished."""

    def emit(self, tracked: Tracked, state: State) -> None:
        """Report a state."""

    def keeping(self, tracked: Tracked) -> AbstractContextManager[None]:
        """Return the context in which a pin is released, which changes the ctime of the checkpoint's files."""


class Effects:
    """Keeps one record a checkpoint: the open ones, and what each path shows, open or not.

    `counts` says how many ended in which state, those that were done as `evaluated` or `up_to_date`.
    """

    def __init__(self, scanner: Scanner, world: World) -> None:
        self.counts: Counter[str] = Counter()
        self.world = world
        self.scanner = scanner
        self.open: dict[Tracked, None] = {}
        self.at_path: dict[str, Tracked] = {}
        self._by_file: dict[Key, Tracked] = {}

    def of(self, *states: State) -> list[Tracked]:
        """Return the records in these states; of those that ended only the ones that their paths show still."""
        records = self.open if set(states) <= set(OPEN) else self.at_path.values()
        return [tracked for tracked in records if tracked.state in states]

    def apply(
        self,
        tracked: Tracked,
        fact: Fact,
        reason: str | None = None,
        found: tuple[ScannedFile, Pin | None] | None = None,
    ) -> None:
        """Move a checkpoint by the table, and carry out the effects; `found` is the further content at its path."""
        before = tracked.state
        tracked.state, effects = step(before, fact)
        if tracked.state != before:
            tracked.reason = reason
            self._count(tracked, before, -1)
            self._count(tracked, tracked.state, 1)
        for effect in effects:
            if effect == "pin" and tracked.pin is None and tracked.state == "complete" and self.world.needed(tracked):
                tracked.pin = self.scanner.pin(tracked.file)  # the scanner has pinned what is named like a checkpoint
            elif effect == "read":
                tracked.unread, tracked.last = True, False
                tracked.reported = "seen" if tracked.reported in ENDS else tracked.reported
            elif effect == "restart":
                tracked.still, tracked.since = self.scanner.scans, time.monotonic()
            elif effect == "publish":
                self.world.publish(tracked)
            elif effect == "emit":
                self._emit(tracked)
            elif effect == "release":
                self.release(tracked)
            elif effect == "further record" and found is not None:
                self._replace(tracked, *found)
        self.forget(tracked)

    def _count(self, tracked: Tracked, state: State, number: int) -> None:
        if state in ENDS:
            ended = "evaluated" if tracked.evaluated else "up_to_date"
            self.counts[ended if state == "done" else state] += number

    def _emit(self, tracked: Tracked) -> None:
        """Report a state once; the first report says `seen`, too: only its reading says that it is a checkpoint."""
        for state in ("seen", tracked.state) if tracked.reported == "-" else (tracked.state,):
            if state != tracked.reported:
                tracked.reported = state
                self.world.emit(tracked, state)

    def start(self, file: ScannedFile, pin: Pin | None, *, at_path: bool = False) -> Tracked:
        """Begin a record; `at_path`: its path shows this very content."""
        age = max(0.0, time.time() - file.identity.mtime_ns / 1e9)
        tracked = Tracked(file, self.scanner.scans, time.monotonic() - age, pin)
        earlier = self._by_file.get(file.key)
        if earlier is not None and earlier.pin == pin:
            earlier.pin = None  # it did not hold the inode, which the file system has given to this file
        self._by_file[file.key] = tracked
        if at_path:
            self.at_path[file.path] = tracked
        self.apply(tracked, Fact.NEW)
        return tracked

    def _replace(self, tracked: Tracked, file: ScannedFile, pin: Pin | None) -> None:
        """Begin the record of what a path or a pin shows now; a pin of the same file passes to it."""
        if tracked.file.key == file.key:
            tracked.pin = None
        self.start(file, pin, at_path=self.at_path.get(file.path) is tracked)

    def release(self, tracked: Tracked) -> None:
        """Release the pin of what has ended; where it shows other content, that is a further checkpoint."""
        pin, tracked.pin, tracked.at = tracked.pin, None, None
        if pin is None:
            return
        with self.world.keeping(tracked):
            other = self.scanner.release(pin, tracked.identity.content if tracked.state in ENDS else None)
        if other is None:
            return
        file = ScannedFile(tracked.path, other, tracked.file.root)
        now = self.at_path.get(tracked.path)
        if now is not None and now is not tracked and now.identity.content == file.identity.content:
            self.scanner.release(pin)  # it has a record
        else:
            self.apply(tracked, Fact.REPLACED, found=(file, pin))

    def let_go(self, tracked: Tracked) -> None:
        """Remove a pin that does not hold."""
        if tracked.pin is not None:
            self.scanner.release(tracked.pin)
            tracked.pin = None

    def forget(self, tracked: Tracked) -> None:
        """Drop a record that has ended and that its path does not show; what hands over its pin removes it before."""
        if tracked.state in OPEN:
            self.open[tracked] = None
            return
        self.open.pop(tracked, None)
        if self._by_file.get(tracked.file.key) is tracked:
            del self._by_file[tracked.file.key]
        if self.at_path.get(tracked.path) is not tracked:
            self.let_go(tracked)
