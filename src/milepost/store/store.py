"""The store: a folder of immutable files that many processes and hosts share; the door to all that it holds."""

import hashlib
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost._internal import atomic
from milepost._internal.serialization import json_bytes
from milepost.errors import StoreError
from milepost.store import leases
from milepost.store._damage import OnDamage, raised
from milepost.store._storage import FolderStorage
from milepost.store.checkpoint_records import CheckpointRecord, CheckpointRecords, CheckpointRetries
from milepost.store.code_versions import Codes
from milepost.store.evaluations import EvaluationFolder, folder_of
from milepost.store.listing import Listing
from milepost.store.pins import Pins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from milepost.core.types import Identity, Json
    from milepost.store.datasets import Dataset

FORMAT = 3
"""Version of the store's layout."""


class Store:
    """An open store.

    `codes` are the versions of code that it knows, `pins` the checkpoints that are pinned until their turn, and
    `retry_requests` those for checkpoints that failed.  `on_damage` takes the error that names a file that cannot be
    read: it raises it, unless who reads the store puts another in its place, that reports what is left out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store.create(f"{folder}/evals")
    ...     Store.open(f"{folder}/evals").id == store.id
    True
    """

    def __init__(self, path: Path, described: dict[str, Any]) -> None:
        """Use `Store.open` or `Store.create` instead."""
        self.path = path
        self.id: str = described["id"]
        self.storage = FolderStorage(path)
        self._heartbeats = leases.Heartbeats(self.storage)
        self.codes = Codes(self.storage)
        self.pins = Pins(path, self.storage.check)
        self.retry_requests = CheckpointRetries(self.storage)
        self.on_damage: OnDamage = raised
        self._kept = threading.local()
        self._runs: dict[str, str] = {}
        self._specs: dict[str, Mapping[str, Json]] = {}

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store that is there; a `StoreError` says what is wrong and how to make one."""
        folder = Path(path)
        if (encoding := sys.getfilesystemencoding()) != "utf-8":
            raise StoreError(
                f"{folder}: expected Python to read file names as UTF-8, as the names in a store are; it reads them as "
                f"{encoding}: start it with PYTHONUTF8=1 in its environment"
            )
        try:
            described = atomic.read_json(folder / "store.json")
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(
                f"{folder}: expected a store, found no store.json in it; name the right folder with --store, or make "
                "one by 'milepost run' (from Python: Store.create(path))"
            ) from None
        except OSError as error:
            raise atomic.disk_error(folder, "the store cannot be read", error) from error
        if not isinstance(described, dict) or not isinstance(described.get("id"), str):
            raise StoreError(f"{folder / 'store.json'}: expected a format and an id; it is not a store's description")
        if described.get("format") != FORMAT:
            raise StoreError(
                f"{folder}: expected a store of format {FORMAT}, found format {described.get('format')!r}; name "
                "another folder with --store (a run fills it again), or use the version of Milepost that wrote this one"
            )
        return cls(folder, described)

    @classmethod
    def create(cls, path: str | Path) -> "Store":
        """Open a store, made if absent; a folder with other things in it is refused."""
        folder = Path(path)
        try:
            atomic.make_folder(folder)
            names = [name for name in os.listdir(folder) if not name.startswith(atomic.PREFIX)]
            if not (folder / "store.json").exists():
                if names:
                    raise StoreError(
                        f"{folder}: expected a store or an empty folder, found {min(names)!r} and no store.json; "
                        "name another folder for the store"
                    )
                # The folder may be the rest of a creation that failed before its name was forced to disk.
                atomic.sync_folder(folder.parent)
                FolderStorage(folder).forget_folders()
                atomic.publish_json(folder / "store.json", {"format": FORMAT, "id": os.urandom(16).hex()})
        except OSError as error:
            raise atomic.disk_error(folder, "no store can be made here", error) from error
        return cls.open(folder)

    # ------------------------------------------------------------------------------------------ runs and checkpoints

    def run_of(self, folder: str | Path, *, note: bool = True) -> str:
        """Return the id of the run with this folder, noted on first sight; with `note` False nothing is written.

        It is the folder's name; where another folder of that name came first, the first name above that differs stands
        before it (`<above>-<name>`), and where that is taken too, 8 hex digits of its real path behind it.
        """
        real = os.path.realpath(folder)
        if real in self._runs:
            return self._runs[real]
        name = run = _run_name(real)
        there = self._noted(run, name, real, note=note)
        if there not in (None, real):
            run = f"{_run_name(_apart(real, str(there)))}-{name}"
            there = self._noted(run, name, real, note=note)
        if there not in (None, real):
            run = f"{name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}"
            there = self._noted(run, name, real, note=note)
        if there is not None:
            self._runs[real] = run
        return run

    def _noted(self, run: str, name: str, real: str, *, note: bool) -> str | None:
        """Return the folder that a run's id is of, after it was noted for `real` if it was free; None where it is."""
        path = f"runs/{run}/run.json"
        if note:
            self.storage.put(path, json_bytes({"name": name, "path": real}))
        try:
            return str(atomic.read_object(self.storage.get(path), "path")["path"])
        except FileNotFoundError:
            return None

    def runs(self) -> list[dict[str, Any]]:
        """Return every run: {"id", "name", "path"}."""
        ids = [run for run in self.storage.list("runs") if "run.json" in self.storage.list(f"runs/{run}")]
        found = []
        for run in ids:
            try:
                file = self.storage.get(f"runs/{run}/run.json")
                found.append({"id": run, **atomic.read_object(file, "name", "path")})
            except StoreError as error:
                self.on_damage(error)
        return found

    def add_checkpoint(self, checkpoint: "CheckpointRecord") -> bool:
        """Put a checkpoint record; False where it is there."""
        return CheckpointRecords(self.storage).add(checkpoint)

    def checkpoint(
        self, run: str, path: str, identity: "Identity", variant: str = "raw", signature: str = ""
    ) -> "CheckpointRecord | None":
        """Return what is known of a file as it is now: the success, else the latest failure, else None."""
        return CheckpointRecords(self.storage).find(run, path, identity, variant, signature)

    def checkpoints(self, run: str | None = None) -> "Iterator[CheckpointRecord]":
        """Yield every checkpoint record, failures included."""
        return CheckpointRecords(self.storage).all(run, self.on_damage)

    # ---------------------------------------------------------------------------------------- data and evaluations

    def dataset(self, digest: str) -> "Dataset":
        """Return what is known of the data with this fingerprint digest."""
        from milepost.store.datasets import Dataset  # noqa: PLC0415

        return Dataset(self.storage, digest)

    def evaluation(self, key: str) -> EvaluationFolder:
        """Return an evaluation's folder."""
        return EvaluationFolder(self.storage, key, self._specs, self.on_damage)

    def evaluations(self) -> list[str]:
        """Return the keys of all evaluations, sorted."""
        shelves = self.storage.list("evaluations")
        return [key for shelf in shelves for key in self.storage.list(f"evaluations/{shelf}")]

    # ------------------------------------------------------------------------------------------ workers and leases

    def worker(self) -> leases.Worker:
        """Return a new worker of this process: a context manager that keeps its heartbeat."""
        return leases.Worker(self.storage)

    def lease(self, key: str, name: str, worker: leases.Worker) -> leases.Lease:
        """Return the lease of a range (or anything named) of an evaluation, for a worker to acquire."""
        return leases.Lease(self.storage, key, name, worker.text, self._heartbeats)

    # ------------------------------------------------------------------------------------------- listing and tidying

    def listing(self) -> Listing:
        """Return what the store holds now; it is kept, one a thread, so that the next call reads only what is new."""
        listing: Listing | None = getattr(self._kept, "listing", None)
        if listing is None:
            listing = self._kept.listing = Listing(str(self.path), self.on_damage)
        return listing.refresh()

    def workers(self) -> list[str]:
        """Return the names of the workers that are alive, as far as this process can know."""
        return [worker for worker in self.storage.list("workers") if not self._heartbeats.dead(worker)]

    def sweep(self) -> int:
        """Remove what the dead left: temporary files, leases, heartbeats, pins, parts under a seal; return how many.

        In a store that may only be read it stays.
        """
        if not os.access(self.path, os.W_OK):
            return 0
        removed = atomic.sweep(self.path) + self.pins.sweep()
        removed += sum(leases.sweep(self.storage, folder) for folder in (leases.WORKERS, leases.LEASES))
        for key in self.evaluations():
            names = self.storage.list(folder_of(key))
            removed += self.evaluation(key).tidy() if "parts" in names else 0
        for digest in self.storage.list("datasets"):
            if {"parts", "slices", "checksums"} & set(self.storage.list(f"datasets/{digest}")):
                removed += self.dataset(digest).tidy()
        return removed


def _apart(real: str, other: str) -> str:
    """Return the first name above a folder at which its path differs from another one's, from the end.

    >>> _apart("/b/logs/version_0", "/a/logs/version_0")
    'b'
    """
    pairs = zip(reversed(Path(real).parts), reversed(Path(other).parts), strict=False)
    return next((mine for mine, theirs in pairs if mine != theirs), "")


def _run_name(real: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", os.path.basename(real)).lstrip(".")
    return safe[:80] or "run"
