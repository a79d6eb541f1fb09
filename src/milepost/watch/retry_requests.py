"""What `failures --retry` asks of a watch that is running: failed checkpoints that are to be tried once more.

A wish is a file in one of the store's `retries` folders.  The folders that could hold one of the failed are looked at
as seldom as a sweep, by their times alone; only where a time changed the wishes themselves are asked for.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from milepost.run.driver import Driver
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.watch.snapshot import SWEEP_SECONDS, Key, key_of
from milepost.watch.states import Entry

EVERY_SECONDS = SWEEP_SECONDS
"""Seconds between two looks."""


@dataclass(slots=True)
class _Failed:
    """An entry that failed: its failed sightings, its evaluations that failed, and where wishes for them lie."""

    entry: Entry
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)


class Wishes:
    """Remembers what failed, and tells what of it is wished for again."""

    def __init__(self, drivers: Sequence[Driver], clock: Callable[[], float] = time.monotonic) -> None:
        """Take the drivers that tell what a checkpoint is."""
        self._drivers = drivers
        self._store = drivers[0].store
        self._clock = clock
        self._failed: dict[Key, _Failed] = {}
        self._looked = clock()

    def failed(self, entry: Entry) -> None:
        """Note that an entry has failed for good, as far as is known without reading it anew."""
        if entry.files is None:
            return
        noted = _Failed(entry)
        for driver in self._drivers:
            for checkpoint in driver.identifier.known(entry.files):
                if checkpoint.failure is not None:
                    noted.checkpoints.append(checkpoint)
                    noted.folders[f"runs/{checkpoint.run}/retries"] = 0
                    continue
                items = [driver.item(checkpoint, entry.files, data) for data in driver.data]
                noted.keys += [item.key for item in items if item.gaps]
        noted.folders |= {f"{self._store.evaluation(key).folder}/retries": 0 for key in noted.keys}
        self._failed[key_of(entry.seen)] = noted

    def granted(self) -> list[Entry]:
        """Return what is to be tried again, each entry once, if it is time to look."""
        if not self._failed or self._clock() - self._looked < EVERY_SECONDS:
            return []
        self._looked = self._clock()
        times = {folder: self._time(folder) for noted in self._failed.values() for folder in noted.folders}
        granted = []
        for key, noted in list(self._failed.items()):
            now = {folder: times[folder] for folder in noted.folders}
            if now != noted.folders and self._wished(noted):
                del self._failed[key]
                granted.append(noted.entry)
            noted.folders = now
        return granted

    def _wished(self, noted: _Failed) -> bool:
        return any(self._store.asked_again(checkpoint) for checkpoint in noted.checkpoints) or any(
            self._store.evaluation(key).failures.asked_again() for key in noted.keys
        )

    def _time(self, folder: str) -> int:
        try:
            return os.stat(os.path.join(str(self._store.path), folder)).st_mtime_ns
        except OSError:
            return 0
