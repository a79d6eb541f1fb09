"""The sidecar: evaluates every checkpoint of a training run beside it, before, during or after training.

Here is the loop.  The scanner says what lies in the folders, the tracker keeps each checkpoint's state by the table of
`states`, the drivers evaluate.  The watch itself loads no framework and reads no checkpoint.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import get_args

from milepost.checkpoints._files.links import is_outside
from milepost.checkpoints._files.shards import from_prefix
from milepost.core.sessions import Session
from milepost.errors import UsageError
from milepost.run.code_check import settle_code
from milepost.run.driver import Driver
from milepost.run.events import Listen
from milepost.run.request import Request, check_place, open_session, report_sandbox
from milepost.store.leases import Worker
from milepost.store.store import Store
from milepost.watch.evaluations import Evaluations
from milepost.watch.scanner import INTERVAL, Scanner
from milepost.watch.scheduler import Order, Scheduler
from milepost.watch.snapshot import SWEEP_SECONDS, ScannedFile, Snapshot
from milepost.watch.states import Tracked
from milepost.watch.stop_conditions import Producer, StopConditions
from milepost.watch.tracker import Tracker

RETRY_SECONDS = SWEEP_SECONDS
"""Seconds between two looks for what `failures --retry` asks of a watch that is running."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch.

    `torn_after`: seconds after its last change for which an incomplete file is waited for.  `every`: evaluate one
    checkpoint of each so many steps.  `interval`: seconds between two scans.
    """

    stop: StopConditions = field(default_factory=StopConditions)
    order: Order = "oldest"
    every: int | None = None
    torn_after: float = 600.0
    interval: float = INTERVAL


def watch(request: Request, options: WatchOptions, listen: Listen) -> dict[str, int]:
    """Watch the request's folders, which need not exist yet, until a stop condition; then evaluate what is left.

    `listen` takes every event as it happens.  A checkpoint that fails or vanishes is a row and never the end;
    UsageError and DataError, which the evaluation file's own errors are, end the watch.

    Returns how many checkpoints, each one content under one path, ended how: "evaluated" or "up_to_date" (nothing was
    missing, or they have the weights of another one), "failed", "vanished", "skipped" (left out by `every`).
    """
    if options.order not in get_args(Order):
        raise UsageError(f"--order {options.order}: expected one of {', '.join(get_args(Order))}")
    snapshot = Snapshot([from_prefix(path) for path in request.checkpoints], request.match)
    evaluations = Evaluations(listen, snapshot)
    with ExitStack() as stack:
        check_place(request.store, snapshot.roots, [])
        store = Store.create(request.store)
        store.sweep()
        pins = stack.enter_context(store.pins)
        known = {(item.path, item.identity.content) for item in store.checkpoints() if item.digest}

        def settled(file: ScannedFile) -> bool:
            return (file.path, file.identity.content) in known or is_outside(file.path, snapshot.roots)

        # What there is is pinned from the first moment: loading the evaluation takes seconds, and training does not
        # wait.  Where loading fails the pins stay for the next watch.
        scanner = Scanner(snapshot, pins, settled, options.interval)
        scanner.scan(full=True)
        stack.enter_context(scanner)
        sessions = _sessions(request, stack)
        worker = stack.enter_context(store.worker())
        evaluations.drivers = _drivers(request, sessions, store, worker, evaluations.report)
        report_sandbox(sessions[0], listen)
        return _WatchLoop(request, options, evaluations, scanner, listen).run()


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


def _drivers(request: Request, sessions: list[Session], store: Store, worker: Worker, report: Listen) -> list[Driver]:
    every = [Driver(store, session, worker, request, report) for session in sessions]
    drivers = [driver for driver in every if driver.data]
    if not drivers:
        have = ", ".join(name for driver in every for name in driver.spec.data)
        raise UsageError(f"--data {request.data}: the evaluation has no such data set; it has: {have}")
    return drivers


class _WatchLoop:
    """The loop: gather facts, carry out effects, and know when it is over."""

    def __init__(
        self, request: Request, options: WatchOptions, evaluations: Evaluations, scanner: Scanner, listen: Listen
    ) -> None:
        self._options = options
        self._evaluations = evaluations
        self._drivers = evaluations.drivers
        self._store = evaluations.drivers[0].store
        self._scanner = scanner
        self._listen = listen
        self._scheduler = Scheduler(options.order, options.every, request.per_pass * request.workers)
        self._tracker = Tracker(scanner, evaluations, self._scheduler, options.torn_after)
        self._looked = time.monotonic()
        self._producers: dict[str, Producer] = {}
        self._places: set[str] = set()
        self._warned = False

    def run(self) -> dict[str, int]:
        """Watch to the end."""
        self._evaluations.begin(self._tracker, self._whole)
        code = self._drivers[0].spec.code["version"]
        self._listen({"event": "start", "store": str(self._store.path), "code": code})
        self._recall_chosen()
        self._scanner.scan(full=True)
        self._take_in()
        self._tracker.adopt()
        for driver in self._drivers:
            settle_code(driver, [item.files for item in self._tracker.of("complete") if item.files is not None])
        reason: str | None = None
        swept = False
        while True:
            if self._step(ending=reason is not None):
                swept = False
                continue
            if reason is None:
                reason = self._ended()
                if reason is not None:
                    self._note(f"{reason}: what is left is evaluated, then the watch ends")
            elif not self._tracker.open and not self._scanner.fresh:
                if swept and not self._tracker.adopt():
                    break
                self._scanner.scan(full=True)
                swept = True
                continue
            self._scanner.wait()
        for driver in self._drivers:
            driver.reporter.repeated()
        names = ("evaluated", "up_to_date", "failed", "vanished", "skipped")
        counts = {name: self._tracker.counts[name] for name in names}
        self._listen({"event": "done", **counts})
        return counts

    def _step(self, *, ending: bool) -> bool:
        """Learn what changed and evaluate what shares the next pass; False where there was nothing to evaluate."""
        self._store.storage.check()  # nothing may be put for hours
        self._take_in()
        self._tracker.wait_or_give_up(ending=ending)
        self._tracker.ask_again()
        if not ending and time.monotonic() - self._looked >= RETRY_SECONDS:
            self._looked = time.monotonic()
            for tracked in self._tracker.of("failed"):
                if any(requested() for requested in tracked.requests):
                    self._tracker.retry(tracked)
        self._tracker.look()
        chunk = self._scheduler.next(self._tracker.of("complete"), ending=ending)
        if chunk:
            self._evaluations.work(chunk, ending=ending)
        return bool(chunk)

    def _take_in(self) -> None:
        for result in self._scanner.take([tracked.path for tracked in self._tracker.open]):
            changes, _ = result
            for file in (*changes.new, *changes.gone, *changes.members):
                self._producer(file.root).changed()
            self._tracker.take_in(result)
        self._tracker.look()
        if self._scanner.pins.trouble and not self._warned:
            self._warned = True
            self._note(
                f"checkpoints cannot be pinned ({self._scanner.pins.trouble}): one that is deleted before its turn is "
                "lost; put the store on the file system of the checkpoints, or have training keep more of them"
            )

    def _whole(self, tracked: Tracked) -> None:
        """Note the step of a checkpoint that is complete, and refuse a store in its folder."""
        self._producer(tracked.file.root).step(tracked.step)
        folder = os.path.dirname(tracked.path)
        if folder not in self._places and tracked.files is not None:
            check_place(str(self._store.path), self._scanner.snapshot.roots, [tracked.files])
            self._places.add(folder)

    def _producer(self, root: str) -> Producer:
        if root not in self._producers:
            self._producers[root] = Producer(root, self._options.stop)
        return self._producers[root]

    def _ended(self) -> str | None:
        """Say why the watch ends, once every root's producer has ended."""
        reasons = [self._producer(root).ended() for root in self._scanner.snapshot.roots]
        return None if not reasons or None in reasons else "; ".join(dict.fromkeys(map(str, reasons)))

    def _recall_chosen(self) -> None:
        """Leave out by `every` as an earlier watch did: what it chose of a run stays chosen."""
        for checkpoint in self._store.checkpoints() if self._options.every else ():
            root = self._scanner.snapshot.root_of(checkpoint.path)
            if root is not None and checkpoint.failure is None and checkpoint.step is not None:
                self._scheduler.chosen.setdefault(root, set()).add(checkpoint.step)

    def _note(self, message: str) -> None:
        self._listen({"event": "note", "message": message})
