"""A thread that scans the folders every second and pins what is new, whatever else the watch is doing."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Self

from milepost._internal.fileid import identity_of
from milepost.checkpoints._files.own import read_beside
from milepost.checkpoints._files.shards import main_file_in
from milepost.checkpoints.names import is_candidate
from milepost.core.types import Identity
from milepost.store.pins import Pin, Pins
from milepost.watch.snapshot import Content, FolderChanges, Key, ScannedFile, Snapshot, main_path

INTERVAL = 1.0
"""Seconds between two scans."""


ScanResult = tuple[FolderChanges, dict[Key, Pin]]
"""What differs from the scan before, and the pins of what is new, by the files' keys."""


class Scanner:
    """Scans in a thread of its own between its entry and its exit; `take` hands over what it found since.

    A file that is named like a checkpoint, or a folder that is one, is pinned as soon as a scan finds it, before
    anybody reads it: training may delete it at any moment.  `settled` says which ones need no pin, since the store has
    their results.  `scans` counts the scans: by them it is known how long a file stood still.
    """

    def __init__(
        self, snapshot: Snapshot, pins: Pins, settled: Callable[[ScannedFile], bool], interval: float = INTERVAL
    ) -> None:
        """Take over the snapshot: only the scanner updates it from now on."""
        self.scans = 0
        self.snapshot = snapshot
        self.pins = pins
        self._settled = settled
        self._interval = interval
        self._pending: tuple[str, ...] = ()
        self._results: list[ScanResult] = []
        self._error: BaseException | None = None
        self._scanning = threading.Lock()
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="milepost-scanner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a scan that is under way is waited for."""
        self._stop.set()
        self._thread.join()

    def scan(self, *, full: bool = False) -> None:
        """Scan now; `full` looks at every file."""
        with self._scanning:
            changes = self.snapshot.scan(self._pending, full=full)
            new = [file for file in changes.new if self._is_named(file.path) and not self._settled(file)]
            pins = {key: pin for key, pin in self._hold([file.key for file in new]).items() if pin is not None}
            self._complete(changes)
            if changes.new or changes.gone or changes.members:
                self._results.append((changes, pins))
            self.scans += 1
            self._news.set()

    def take(self, pending: Iterable[str]) -> list[ScanResult]:
        """Return what was found since this was last asked; `pending` are looked at in every scan from now on."""
        with self._scanning:
            if self._error is not None:
                raise self._error
            self._pending = tuple(pending)
            results, self._results = self._results, []
            self._news.clear()
            return results

    def wait(self) -> None:
        """Wait for the next scan."""
        self._news.wait(10 * self._interval + 1)

    @property
    def fresh(self) -> bool:
        """Whether there are changes that nobody has taken."""
        return bool(self._results)

    # ---------------------------------------------------------------------------------------------------------- pins

    def pin(self, file: ScannedFile) -> Pin | None:
        """Pin a file; None where it is gone, or was replaced."""
        return self._hold([file.key])[file.key]

    def release(self, pin: Pin, content: Content | None = None) -> Identity | None:
        """Remove a pin, unless what it holds shows other content than is given: then its identity is returned.

        A file that was overwritten in place is the same file: its pin now is that of what was written over it.
        """
        with self._scanning:  # no scan relies on a pin that goes in this moment
            with suppress(OSError):
                if content is not None and (now := identity_of(main_file_in(pin.link))).content != content:
                    return now
            self.pins.release(pin)
        return None

    def left(self) -> list[tuple[Pin, ScannedFile]]:
        """Return what this process or one that died has pinned under the roots, or has noted where no link could be."""
        placed = []
        for pin, identity in self.pins.left():
            root = self.snapshot.root_of(pin.path)
            with suppress(OSError):
                if root is not None:
                    identity = identity or identity_of(main_file_in(pin.link))  # noqa: PLW2901 - as it is now
                    placed.append((pin, ScannedFile(pin.path, identity, root)))
        return placed

    def _is_named(self, path: str) -> bool:
        return is_candidate(os.path.basename(path)) or self.snapshot.is_whole(path)

    def _hold(self, keys: Sequence[Key]) -> dict[Key, Pin | None]:
        members = {path: held for path, _, _ in keys if (held := self.snapshot.members(path))}
        pins = dict(zip(keys, self.pins.hold(keys, members), strict=True))
        for (path, _, _), pin in pins.items():
            if pin is not None and pin.holds:
                self.pins.add(pin, read_beside(path))
        return pins

    def _complete(self, changes: FolderChanges) -> None:
        """Add files that came later than what stands for their checkpoint to its pin, if it has one."""
        paths = {str(main_path(file.path)) for file in changes.members}
        paths |= {other for file in changes.new for other in read_beside(file.path)}
        main = (self.snapshot.file(path) for path in paths)
        self._hold([file.key for file in main if file is not None and self.pins.has(*file.key)])

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + self._interval
            try:
                self.scan()
            except BaseException as error:  # noqa: BLE001 - the watch raises it
                self._error = error
                self._news.set()
                return
