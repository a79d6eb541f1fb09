"""The lookout: a thread that scans the folders each second and pins what is new, whatever else goes on."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from milepost._internal.fileid import identity_of
from milepost.checkpoints._files.shards import main_file_in
from milepost.checkpoints.names import is_candidate
from milepost.store.pins import Pin, Pins
from milepost.watch.snapshot import Changes, Content, Inventory, Key, Seen, key_of, main_path

INTERVAL = 1.0
"""Seconds between two scans."""


class Lookout:
    """Scans in a thread of its own between its entry and its exit; `take` hands over what it saw since.

    A file that is named like a checkpoint, or a folder that is one, is pinned as soon as it is seen, before anybody has
    read it: training may delete it at any moment.  `settled` tells which ones need no pin, since the store has their
    results.

    `wake` has it look sooner.  `scans` counts the looks of every interval alone: by them it is known how long a file
    stood still.
    """

    def __init__(
        self, inventory: Inventory, pins: Pins, settled: Callable[[Seen], bool], interval: float = INTERVAL
    ) -> None:
        """Take over the inventory: only the lookout scans it from now on."""
        self.scans = 0
        self.inventory = inventory
        self._pins = pins
        self._settled = settled
        self._interval = interval
        self._pending: tuple[str, ...] = ()
        self._changes: list[Changes] = []
        self._held: dict[Key, Pin] = {}
        self._error: BaseException | None = None
        self._scanning = threading.Lock()
        self._news = threading.Event()
        self._stop = threading.Event()
        self._awake = threading.Event()
        self._named: set[str] = set()
        self._thread = threading.Thread(target=self._go, name="milepost-lookout", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a scan that is under way is waited for."""
        self._stop.set()
        self._awake.set()
        self._thread.join()

    def wake(self, paths: Collection[str]) -> None:
        """Have the thread look at once, and at these paths whatever their folders say."""
        self._named |= set(paths)  # in another thread: a path that gets lost in between is found by the next scan
        self._awake.set()

    def folders(self) -> list[str]:
        """Return the folders that are looked at."""
        return self.inventory.folders()

    def scan(self, *, full: bool = False, woken: bool = False) -> None:
        """Look now; `full` looks at every file."""
        with self._scanning:
            named, self._named = self._named, set()
            changes = self.inventory.scan((*self._pending, *named), full=full)
            self.pin([seen for seen in changes.new if self._is_one(seen) and not self._settled(seen)])
            self._complete(changes.parts)
            if changes.new or changes.gone or changes.parts:
                self._changes.append(changes)
            self.scans += not woken
            self._news.set()

    def pin(self, every: Sequence[Seen]) -> None:
        """Pin files that were seen, as far as they can be."""
        keys = [key_of(seen) for seen in every if self.held(seen) is None]
        for key, pin in zip(keys, self._hold(keys), strict=True):
            if pin is not None:
                self._held[key] = pin

    def _is_one(self, seen: Seen) -> bool:
        return is_candidate(os.path.basename(seen.path)) or self.inventory.is_whole(seen.path)

    def _hold(self, keys: Sequence[Key]) -> list[Pin | None]:
        parts = {path: held for path, _, _ in keys if (held := self.inventory.parts(path))}
        return self._pins.hold(keys, parts)

    def _complete(self, parts: Sequence[Seen]) -> None:
        """Add parts that came later than what stands for their checkpoint to its pin."""
        wholes = {main_path(seen.path) for seen in parts}
        self._hold([key for key in list(self._held) if key[0] in wholes])

    def take_over(self, seen: Seen, pin: Pin) -> None:
        """Hold a pin that an earlier watch made."""
        self._held[key_of(seen)] = pin

    @property
    def trouble(self) -> str | None:
        """Why nothing can be pinned, None as long as it can."""
        return self._pins.trouble

    @property
    def fresh(self) -> bool:
        """Whether there are changes that nobody has taken."""
        return bool(self._changes)

    def held(self, seen: Seen) -> Pin | None:
        """Return the pin of what was seen, None where this watch knows of none that holds it."""
        pin = self._held.get(key_of(seen))
        return pin if pin is not None and pin.holds else None

    def holds(self, seen: Seen, pin: Pin) -> bool:
        """Tell whether what was seen is held already; then another pin of it, of a watch that is gone, is released."""
        mine = self.held(seen)
        if mine is not None and mine != pin:
            self._pins.release(pin)
        return mine is not None

    def rest(self) -> list[tuple[str, Pin]]:
        """Return the paths and pins that are held; what was but noted is let go of."""
        for key, pin in list(self._held.items()):
            if not pin.holds:
                self._pins.release(self._held.pop(key))
        return [(key[0], pin) for key, pin in list(self._held.items())]

    def release(self, seen: Seen) -> None:
        """Remove the pin of what was seen, if it has one."""
        pin = self._held.pop(key_of(seen), None)
        if pin is not None:
            self._pins.release(pin)

    def finish(self, seen: Seen, content: Content) -> Seen | None:
        """Remove the pin of a content that is done with; the pinned file with another content is returned, and kept.

        A file that was overwritten in place is the same file: its pin now is that of what was written over it.
        """
        pin = self._held.get(key_of(seen))
        with suppress(OSError):
            now = identity_of(main_file_in(pin.link)) if pin is not None else seen.identity
            if pin is not None and now.content != content:
                return Seen(seen.path, now, seen.root)
        self.release(seen)
        return None

    def take(self, pending: Iterable[str]) -> list[Changes]:
        """Return what changed since this was last asked; `pending` are looked at in every scan from now on."""
        with self._scanning:
            if self._error is not None:
                raise self._error
            self._pending = tuple(pending)
            changes, self._changes = self._changes, []
            self._news.clear()
            return changes

    def wait(self) -> None:
        """Wait for the next scan."""
        self._news.wait(10 * self._interval + 1)

    def _go(self) -> None:
        due = time.monotonic() + self._interval
        while True:
            woken = self._awake.wait(max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                return
            self._awake.clear()
            if not woken:
                due = time.monotonic() + self._interval
            try:
                self.scan(woken=woken)
            except BaseException as error:  # noqa: BLE001 - the watch raises it
                self._error = error
                self._news.set()
                return
