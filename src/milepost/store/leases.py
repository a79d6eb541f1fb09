"""Leases: who is working on what.  They save double work; that results are put only once makes double work harmless.

A lease is a file `leases/<evaluation>.<name>.<attempt>` that is created exclusively and names its worker: those of all
evaluations lie in one folder, since making and removing a folder for each would cost as much as the lease.  A worker
has one heartbeat file, touched every third of the time to live.  A holder on this host is judged by its process; one
elsewhere by whether its heartbeat stands still, by the observer's own clock, so that no two clocks are ever compared.
Taking a dead holder's lease over creates the next attempt exclusively: of several thieves one wins.
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from milepost._internal.atomic import disk_error, read_bounded, readable
from milepost._internal.process import Owner
from milepost._internal.serialization import json_bytes
from milepost.errors import StoreError
from milepost.store._storage import Storage

TTL = 60.0
"""Seconds without a heartbeat after which a worker on another host is taken for dead."""

WORKERS = "workers"
LEASES = "leases"
_LIMIT = 1 << 16
_serial = itertools.count()
_ENDED: set[str] = set()
"""The workers of this process that have ended: what one could not release, nobody holds, though the process lives."""


class Worker:
    """A worker of this process, with its heartbeat: a context manager.

    `text` names it: the process and a number.
    """

    def __init__(self, storage: Storage) -> None:
        """Name a new worker; the heartbeat starts on entry."""
        self.text = f"{Owner.me().text()}-{next(_serial)}"
        self._storage = storage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="milepost-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        with suppress(StoreError):  # read-only, or full: whoever has something to put is told, and others need not be
            self.touch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        _ENDED.add(self.text)
        with suppress(StoreError):  # it is swept once this process is gone
            self._storage.delete(self._file)

    def touch(self) -> None:
        """Give a sign of life."""
        try:
            path = self._storage.get(self._file)
            try:
                os.utime(path)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise disk_error(path, "the heartbeat could not be touched", error) from error
        except FileNotFoundError:
            self._storage.put(self._file, json_bytes({"worker": self.text}), durable=False)

    @property
    def _file(self) -> str:
        return f"workers/{self.text}"

    def _beat(self) -> None:
        while not self._stop.wait(TTL / 3):
            # A store that cannot be reached for a moment must not end the heartbeat for good.
            with suppress(OSError, StoreError):
                self.touch()


class Heartbeats:
    """What one observer knows of the heartbeats of others; kept for as long as it observes."""

    def __init__(self, storage: Storage, ttl: float = TTL, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._ttl = ttl
        self._clock = clock
        self._last: dict[str, tuple[int | None, float]] = {}

    def dead(self, worker: str) -> bool:
        """Return whether a worker is gone: its process is, or its heartbeat stood still for the time to live."""
        if worker in _ENDED:
            return True
        owner = Owner.parse(worker.rpartition("-")[0])
        alive = owner.alive() if owner is not None else None
        return not alive if alive is not None else self._still(worker)

    def _still(self, worker: str) -> bool:
        try:
            beat: int | None = _touched_ns(self._storage, f"workers/{worker}")
        except (FileNotFoundError, StoreError):
            beat = None
        now = self._clock()
        known, since = self._last.get(worker, (-1, now))
        if known != beat:
            self._last[worker] = (beat, now)
            return False
        return now - since > self._ttl


class Lease:
    """The right to work on one thing of an evaluation."""

    def __init__(self, storage: Storage, key: str, name: str, worker: str, heartbeats: Heartbeats) -> None:
        """Name the evaluation by its key, the thing, and the worker that may want it."""
        self._storage = storage
        self._name = f"{key}.{name}"
        self._worker = worker
        self._heartbeats = heartbeats
        self._mine: int | None = None

    def acquire(self) -> bool:
        """Take the lease if it is free or its holder is dead; True if this object holds it now."""
        if self._mine is not None:
            return True
        attempts = self._attempts()
        if self._alive(attempts) is not None:
            return False
        attempt = (attempts[-1] if attempts else 0) + 1
        described: dict[str, Any] = {"worker": self._worker, "name": self._name, "attempt": attempt}
        if not self._storage.put(self._file(attempt), json_bytes(described), durable=False):
            return False
        self._mine = attempt
        return True

    def release(self) -> None:
        """Give the lease back, with the superseded attempts below it."""
        if self._mine is None:
            return
        for attempt in self._attempts():
            if attempt <= self._mine:
                self._storage.delete(self._file(attempt))
        self._mine = None

    def holder(self) -> str | None:
        """Return the worker that holds it, None where nobody alive does."""
        return self._alive(self._attempts())

    def _alive(self, attempts: list[int]) -> str | None:
        worker = worker_of(self._storage, self._file(attempts[-1])) if attempts else None
        return None if worker is None or self._heartbeats.dead(worker) else worker

    def _file(self, attempt: int) -> str:
        return f"{LEASES}/{self._name}.{attempt}"

    def _attempts(self) -> list[int]:
        found = (name.rpartition(".") for name in self._storage.list(LEASES))
        return sorted(int(number) for stem, _, number in found if stem == self._name and number.isdecimal())


def is_held(storage: Storage, key: str, heartbeats: Heartbeats) -> bool:
    """Return whether somebody who may be alive holds a lease of an evaluation."""
    names = [name for name in storage.list(LEASES) if name.startswith(f"{key}.")]
    workers = [worker_of(storage, f"{LEASES}/{name}") for name in names]
    return any(worker is not None and not heartbeats.dead(worker) for worker in workers)


def worker_of(storage: Storage, name: str) -> str | None:
    """Return the worker that a lease names; None where it is gone meanwhile, or half, as a power cut leaves it."""
    try:
        return str(json.loads(read_bounded(storage.get(name), _LIMIT))["worker"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def sweep(storage: Storage, folder: str) -> int:
    """Remove, in a folder of leases or heartbeats, those of gone processes; return how many."""
    removed = 0
    for name in storage.list(folder):
        worker = name if folder == WORKERS else worker_of(storage, f"{folder}/{name}")
        owner = None if worker is None else Owner.parse(worker.rpartition("-")[0])
        if owner is None:
            continue
        if worker in _ENDED or owner.over(_last_sign(storage, f"{WORKERS}/{worker}", f"{folder}/{name}")):
            storage.delete(f"{folder}/{name}")
            removed += 1
    return removed


def _last_sign(storage: Storage, heartbeat: str, lease: str) -> float:
    """Return when a worker touched its heartbeat, or took its lease where there is none; 0 where there is neither."""
    for name in (heartbeat, lease):
        with suppress(FileNotFoundError):
            return _touched_ns(storage, name) / 1e9
    return 0.0


def _touched_ns(storage: Storage, name: str) -> int:
    path = storage.get(name)
    with readable(path):
        return path.stat().st_mtime_ns
