"""The sidecar: evaluates every checkpoint of a training run beside it, before, during or after training.

The lookout scans the folders and pins what is new, the ledger keeps the states, the driver evaluates; here is the loop
that holds them together.  The watch itself loads no framework and reads no checkpoint.
"""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from milepost._internal.fileid import identity, identity_of
from milepost._internal.serialization import now
from milepost.checkpoints._files.links import is_outside, refused_link
from milepost.checkpoints._files.shards import from_prefix, main_file_in
from milepost.checkpoints.names import is_candidate, short_name
from milepost.core.protocols import Session
from milepost.core.types import CheckpointFiles
from milepost.errors import CheckpointError, UsageError, Vanished
from milepost.run.code_check import settle_code
from milepost.run.driver import Driver
from milepost.run.events import Listen, failure_event
from milepost.run.items import Options
from milepost.run.request import Request, check_place, open_session, report_sandbox
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.leases import Worker
from milepost.store.pins import Pin
from milepost.store.store import Store
from milepost.watch.scanner import INTERVAL, Lookout
from milepost.watch.scheduler import Ear, Turns, whereabouts
from milepost.watch.snapshot import Inventory, Seen, key_of
from milepost.watch.states import Entry, Fate, Ledger, described
from milepost.watch.stop_conditions import Ending, Producer

_Known = set[tuple[str, tuple[int, int, int, int]]]

ORDERS = ("oldest", "latest", "bisect")
_BATCH = 500
"""Files that the reader is asked about at once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How to watch.

    `torn_after`: seconds after its last change for which an incomplete file is waited for.  `every`: evaluate one
    checkpoint of each so many steps.  `order`: one of `ORDERS`.  `interval`: seconds between two scans.
    """

    ending: Ending = field(default_factory=Ending)
    order: str = "oldest"
    every: int | None = None
    torn_after: float = 600.0
    interval: float = INTERVAL


@dataclass(frozen=True, slots=True)
class Watched:
    """How a watch ended, counted in sightings: one content under one path.

    `evaluated` and `skipped` are done: the latter had nothing missing, or the content of another one.
    """

    evaluated: int
    skipped: int
    failed: int
    vanished: int
    thinned: int
    reasons: tuple[str, ...] = ()


def watch(request: Request, terms: Terms, listen: Listen) -> Watched:
    """Watch the request's folders, which need not exist yet, until the terms' ending; then evaluate what is left.

    `listen` is told of everything as it happens.  A checkpoint that fails or vanishes is a row and never the end;
    UsageError and DataError, which the evaluation file's own errors are, end the watch.
    """
    if terms.order not in ORDERS:
        raise UsageError(f"--order {terms.order}: expected one of {', '.join(ORDERS)}")
    inventory = Inventory([from_prefix(path) for path in request.checkpoints], request.match)
    ear = Ear(listen)
    with ExitStack() as stack:
        check_place(request.store, [_place(root) for root in inventory.roots if os.path.isdir(root)])
        store = Store.create(request.store)
        store.sweep()
        pins = stack.enter_context(store.pins())
        known = _read(store)

        def settled(seen: Seen) -> bool:
            return (seen.path, seen.content) in known or is_outside(seen.path, inventory.roots)

        # What there is is pinned from the first moment: loading the evaluation takes seconds, and training does not
        # wait.  Where loading fails the pins stay for the next watch.
        lookout = Lookout(inventory, pins, settled, terms.interval)
        lookout.scan(full=True)
        stack.enter_context(lookout)
        sessions = _sessions(request, stack)
        worker = stack.enter_context(store.worker())
        drivers = _drivers(request, sessions, store, worker, ear)
        report_sandbox(sessions[0], ear.hear)
        return _Watcher(request, terms, drivers, lookout, known, ear).run()


def _read(store: Store) -> _Known:
    """Return path and content of every checkpoint that was read."""
    return {(item.path, item.identity.content) for item in store.checkpoints() if item.digest}


def _sessions(request: Request, stack: ExitStack) -> list[Session]:
    """Open a session for each evaluation of the file."""
    sessions = list[Session]()
    waiting = [request]
    while waiting:
        session = open_session(waiting.pop(0))
        stack.callback(session.close)
        sessions.append(session)
        waiting += [replace(request, attribute=name) for name in session.describe().entries[1:]]
    return sessions


def _drivers(request: Request, sessions: list[Session], store: Store, worker: Worker, ear: "Ear") -> list[Driver]:
    options = Options(request.data, request.limit, request.again)
    every = [Driver(store, session, worker, options, ear.hear) for session in sessions]
    drivers = [driver for driver in every if driver.data]
    if not drivers:
        have = ", ".join(name for driver in every for name in driver.spec.data)
        raise UsageError(f"--data {request.data}: the evaluation has no such data set; it has: {have}")
    return drivers


def _place(folder: str) -> CheckpointFiles:
    """Return what stands for any checkpoint of a folder."""
    return CheckpointFiles(os.path.join(folder, "checkpoint"), None, (), identity_of(folder))


class _Watcher:
    """The loop."""

    def __init__(
        self, request: Request, terms: Terms, drivers: list[Driver], lookout: Lookout, known: _Known, ear: Ear
    ) -> None:
        self._request = request
        self._terms = terms
        self._drivers = drivers
        self._store = drivers[0].store
        self._inventory = lookout.inventory
        self._ear = ear
        self._known = known
        self._lookout = lookout
        self._ledger = Ledger(self._lookout, self._look, self._tell, self._whereabouts, terms.torn_after, terms.every)
        self._producers: dict[str, Producer] = {}
        self._turns = Turns(drivers, self._ledger, ear, terms.order, request.per_pass * request.workers)
        self._places: set[str] = set()
        self._told_of_pins = False

    def run(self) -> Watched:
        """Watch to the end."""
        first = self._drivers[0]
        self._ear.listen({"event": "start", "store": str(self._store.path), "code": first.spec.code["version"]})
        self._seed_kept()
        self._lookout.scan(full=True)
        self._adopt()
        self._absorb()
        for driver in self._drivers:
            checkpoints = [entry.files for entry in self._ledger.ready.values() if entry.files is not None]
            settle_code(driver, checkpoints)
        ending: str | None = None
        swept = False
        while True:
            worked = self._step(ending=ending is not None)
            if worked:
                swept = False
                continue
            if ending is None:
                ending = self._ended()
                if ending is not None:
                    self._note(f"{ending}: what is left is evaluated, then the watch ends")
            elif not self._ledger.busy and not self._lookout.fresh:
                if swept and not self._rest():
                    break
                self._lookout.scan(full=True)
                swept = True
                continue
            self._lookout.wait()
        return self._summary(ending or "")

    def _step(self, *, ending: bool) -> bool:
        """Take in what changed and evaluate one chunk; False where there was nothing to evaluate."""
        self._absorb()
        self._ledger.patience(ending=ending)
        self._turns.resume()
        if not ending:
            self._turns.wishes()
        chunk = self._turns.chunk(ending=ending)
        if chunk:
            self._turns.work(chunk)
        return bool(chunk)

    # ------------------------------------------------------------------------------------------------------- looking

    def _absorb(self) -> None:
        changes = self._lookout.take(self._ledger.pending())
        for change in changes:
            for seen in (*change.new, *change.gone, *change.parts):
                self._producer(seen.root).changed()
        before = set(self._ledger.ready)
        self._ledger.absorb(changes)
        for key in self._ledger.ready.keys() - before:
            self._welcome(self._ledger.ready[key])
        trouble = self._lookout.trouble
        if trouble and not self._told_of_pins:
            self._told_of_pins = True
            self._note(
                f"checkpoints cannot be pinned ({trouble}): one that is deleted before its turn is lost; put the "
                "store on the file system of the checkpoints, or have training keep more of them"
            )

    def _welcome(self, entry: Entry) -> None:
        """Note a checkpoint's step, refuse a store in its folder, and pin it unless nothing is missing of it."""
        self._producer(entry.seen.root).step(entry.step)
        folder = os.path.dirname(entry.path)
        if folder not in self._places and entry.files is not None:
            check_place(str(self._store.path), [entry.files])
            self._places.add(folder)
        whole = entry.files is not None and entry.files.format is not None
        if whole and self._lookout.held(entry.seen) is None and self._lacking(entry):
            self._lookout.pin([entry.seen])

    def _lacking(self, entry: Entry) -> bool:
        """Tell whether anything is missing of a checkpoint, as far as that is known without reading it."""
        found = entry.files
        if found is None or (entry.path, found.identity.content) not in self._known:
            return True
        return any(
            driver.item(checkpoint, found, data).gaps
            for driver in self._drivers
            for checkpoint in driver.identify(found)
            if checkpoint.failure is None
            for data in driver.data
        )

    def _look(self, paths: Sequence[str]) -> dict[str, CheckpointFiles]:
        """Ask the reader what lies under these paths; what is gone is left out."""
        found: dict[str, CheckpointFiles] = {}
        outside = [path for path in paths if is_outside(path, self._inventory.roots)]
        for path in outside:
            refused = refused_link(path, self._inventory.roots)
            if refused is not None:
                found[path] = refused
        inside = [path for path in paths if path not in set(outside)] if outside else paths
        for begin in range(0, len(inside), _BATCH):
            found.update(self._discover(list(inside[begin : begin + _BATCH])))
        return found

    def _discover(self, paths: list[str]) -> dict[str, CheckpointFiles]:
        try:
            found = self._drivers[0].session.discover(paths)
        except (UsageError, CheckpointError) as error:
            if len(paths) > 1:  # one of them is gone, or brought the reader down
                return {path: one for item in paths for path, one in self._discover([item]).items()}
            link = os.path.islink(paths[0]) and is_candidate(os.path.basename(paths[0]))
            if not os.path.exists(paths[0]) and not link:
                return {}
            status = os.lstat(paths[0])
            why = (error.kind if isinstance(error, CheckpointError) else Vanished.kind, str(error))
            return {paths[0]: CheckpointFiles(paths[0], None, (paths[0],), identity(status), "failed", why)}
        return {one.path: one for one in found}

    def _adopt(self) -> None:
        """Go on with what an earlier watch had pinned under these roots and training has deleted since."""
        for pin, then in self._store.pins().lost():
            root = self._root_of(pin.path)
            if root is not None:
                self._miss(pin, Seen(pin.path, then, root))
        for pin in self._store.pins().held():
            root = self._root_of(pin.path)
            if root is None:
                continue
            known = self._inventory.file(pin.path)
            seen = Seen(pin.path, identity_of(main_file_in(pin.link)), root)
            if self._lookout.holds(seen, pin):
                continue
            if known is not None and known.content == seen.content:
                self._lookout.take_over(known, pin)
                continue
            self._lookout.take_over(seen, pin)
            self._ledger.adopt(seen)

    def _rest(self) -> bool:
        """Take in what is pinned still though nothing waits for it: what was written over what had ended."""
        for path, pin in self._lookout.rest():
            root = self._root_of(path)
            if root is not None:
                self._ledger.adopt(Seen(path, identity_of(main_file_in(pin.link)), root))
        return self._ledger.busy

    def _miss(self, pin: Pin, seen: Seen) -> None:
        """Make a row of what an earlier watch had seen, could not pin, and did not come to before it was deleted."""
        there = self._inventory.file(seen.path)
        self._lookout.take_over(seen, pin)
        if there is not None and key_of(there) == key_of(seen):
            return  # it waits for its turn, and the note goes with its end
        if self._inventory.holds(seen):
            self._lookout.release(seen)
            return
        self._ledger.miss(seen)

    def _root_of(self, path: str) -> str | None:
        return next((root for root in self._inventory.roots if _below(path, root)), None)

    def _whereabouts(self, entry: Entry) -> Fate:
        """Tell whether another watcher, or an earlier one, has this very content's result, or is at it."""
        run = self._run_of(entry.path)
        if entry.files is not None:
            return whereabouts(self._drivers, run, entry.path, entry.files.identity)
        # Seen, perhaps half written, and gone before it was looked into: what others read of this very file counts.
        read = [item for item in self._store.checkpoints(run) if item.path == entry.path and item.digest]
        same = [item.identity for item in read if item.identity.content[:2] == entry.seen.content[:2]]
        later = [identity for identity in same if identity.mtime_ns >= entry.seen.identity.mtime_ns]
        latest = max(later, key=lambda identity: identity.mtime_ns, default=entry.seen.identity)
        return whereabouts(self._drivers, run, entry.path, latest)

    # ------------------------------------------------------------------------------------------------------- telling

    def _tell(self, entry: Entry, state: str, reason: str | None) -> None:
        run = self._run_of(entry.path)
        if state == "vanished":
            self._publish_vanished(entry, run, str(reason))
        self._ear.listen({"event": "checkpoint", **described(entry, run), "state": state, "reason": reason})

    def _publish_vanished(self, entry: Entry, run: str, message: str) -> None:
        identity = entry.files.identity if entry.files is not None else entry.seen.identity
        message = message.removeprefix(f"{entry.path}: ")
        name = short_name(entry.path)
        failure = (Vanished.kind, message)
        source = None if entry.step is None else "name"
        self._store.add_checkpoint(
            CheckpointRecord(
                run, entry.path, identity, name, step=entry.step, step_source=source, failure=failure, seen=now()
            )
        )
        self._ear.listen(failure_event(run, entry.path, Vanished.kind, message, entry.step))

    def _note(self, message: str) -> None:
        self._ear.listen({"event": "note", "message": message})

    def _run_of(self, path: str) -> str:
        return self._store.run_of(os.path.dirname(path))

    # -------------------------------------------------------------------------------------------------------- ending

    def _producer(self, root: str) -> Producer:
        if root not in self._producers:
            self._producers[root] = Producer(root, self._terms.ending)
        return self._producers[root]

    def _ended(self) -> str | None:
        """Say why the watch ends, once every root's producer has ended."""
        if self._terms.ending.open:
            return None
        reasons = [self._producer(root).ended() for root in self._inventory.present()]
        return None if not reasons or None in reasons else "; ".join(dict.fromkeys(map(str, reasons)))

    def _seed_kept(self) -> None:
        """Thin as an earlier watch did: what it kept of a run is kept."""
        for checkpoint in self._store.checkpoints() if self._terms.every else ():
            for root in self._inventory.roots:
                if checkpoint.failure is None and checkpoint.step is not None and _below(checkpoint.path, root):
                    self._ledger.kept.setdefault(root, set()).add(checkpoint.step)

    def _summary(self, reason: str) -> Watched:
        counts = self._ledger.counts
        ends = self._turns.ends + Counter(skipped=counts["elsewhere"])
        ended = {name: ends[name] for name in ("evaluated", "skipped")}
        lost = {name: counts[name] for name in ("failed", "vanished", "thinned")}
        self._ear.listen({"event": "done", **ended, **lost})
        return Watched(**ended, **lost, reasons=(reason,))


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
