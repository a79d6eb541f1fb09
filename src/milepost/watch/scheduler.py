"""Taking turns: which sightings come next, their evaluation by the drivers, and how each of them ended.

The driver's failures are not yet the ends: a file that changed since it was looked into is looked into anew.
"""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from milepost._internal.fileid import identity_of
from milepost.checkpoints._files.shards import main_file
from milepost.core.types import CheckpointFiles, Identity, Json
from milepost.errors import CheckpointError, Crashed, OutOfMemory, TimedOut, Torn, Vanished
from milepost.run.driver import Driver
from milepost.run.events import Listen, failure_event
from milepost.run.items import Item
from milepost.watch._retries import ATTEMPTS, wait_seconds
from milepost.watch.retry_requests import Wishes
from milepost.watch.snapshot import Key, key_of
from milepost.watch.states import Entry, Fate, Ledger

_PASSING = frozenset({Crashed.kind, OutOfMemory.kind, TimedOut.kind})
"""Failures of a process, which may pass without the file changing."""


@dataclass(slots=True)
class Ear:
    """Hears the driver: passes on what is final, keeps what the ledger decides about."""

    listen: Listen
    failures: dict[str, list[dict[str, Json]]] = field(default_factory=dict)
    evaluated: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    on_claim: Callable[[str], None] = lambda _: None

    def hear(self, event: dict[str, Json]) -> None:
        """Take one event of the driver."""
        kind = event["event"]
        if kind == "failure":
            self.failures.setdefault(event["path"], []).append(event)
        elif kind == "checkpoint":
            path = event["path"]
            if event["state"] == "claimed":
                self.on_claim(path)
            elif event["state"] == "done":
                self.evaluated.add(path)
            else:
                self.reasons[path] = event["reason"]
        else:
            self.listen(event)

    def forget(self, path: str) -> None:
        """Begin anew with a path."""
        self.failures.pop(path, None)
        self.evaluated.discard(path)
        self.reasons.pop(path, None)


class Turns:
    """Works through what is ready in the ledger."""

    def __init__(self, drivers: Sequence[Driver], ledger: Ledger, ear: Ear, order: str, per_pass: int) -> None:
        """Have the drivers, one for each evaluation, read checkpoints where they are pinned."""
        self.ends: Counter[str] = Counter()
        self._drivers = drivers
        self._store = drivers[0].store
        self._ledger = ledger
        self._ear = ear
        self._order = order
        self._per_pass = per_pass
        self._done_steps: set[int] = set()
        self._later: dict[Key, float] = {}
        self._ending = False
        self._wishes = Wishes(drivers)
        ear.on_claim = ledger.started
        for driver in drivers:
            driver.identifier.place = self._at

    def chunk(self, *, ending: bool = False) -> list[Entry]:
        """Return the sightings whose turn it is, as many as share a pass; while `ending` nothing is put off."""
        self._ending = ending
        now = time.monotonic()
        self._later = {key: due for key, due in self._later.items() if due > now and not ending}
        waiting = [entry for key, entry in self._ledger.ready.items() if key not in self._later]
        steps = [entry.step for entry in waiting]
        order = watch_order(steps, self._order, self._done_steps, self._per_pass)
        return [waiting[place] for place in order]

    def work(self, chunk: Sequence[Entry]) -> None:
        """Have a few checkpoints evaluated together, and note how each ended."""
        fresh = [entry for entry in chunk if self._unchanged(entry)]
        paths = set()
        alone = []
        for entry in fresh:
            if entry.path in paths:  # two contents under one path, the older one pinned: one after the other
                continue
            paths.add(entry.path)
            alone.append(entry)
            self._ear.forget(entry.path)
            self._ledger.claim(entry)
        for driver in self._drivers:
            for entry in alone:
                driver.forget(entry.path)
            self._evaluate(driver, [entry.files for entry in alone if entry.files is not None])
        self._conclude(alone)

    def _evaluate(self, driver: Driver, checkpoints: list[CheckpointFiles]) -> None:
        try:
            driver.work(checkpoints)
        except CheckpointError as error:
            if len(checkpoints) > 1:
                for found in checkpoints:
                    self._evaluate(driver, [found])
            else:
                self._ear.hear(
                    failure_event(self._run_of(checkpoints[0].path), checkpoints[0].path, error.kind, str(error))
                )

    def wishes(self) -> None:
        """Put what is wished for again back in line, where its content is still there."""
        for entry in self._wishes.granted():
            if entry.files is not None and _same(entry.path, entry.files):
                self._ledger.reopen(entry)

    def resume(self) -> None:
        """Look after what other watchers were working on."""
        self._ledger.settle()
        shared = list(self._ledger.claimed.values())
        if shared:
            for driver in self._drivers:
                driver.resume()
            self._conclude(shared)

    def _conclude(self, entries: Sequence[Entry]) -> None:
        deferred = set().union(*(driver.deferred for driver in self._drivers))
        for entry in entries:
            if entry.path in deferred:
                continue
            self._end(entry)
            for driver in self._drivers:
                driver.identifier.forget(entry.path)  # it is in the store

    def _end(self, entry: Entry) -> None:
        failures = self._ear.failures.get(entry.path, [])
        if failures:
            self._failed(entry, failures)
        else:
            evaluated = entry.path in self._ear.evaluated
            self.ends["evaluated" if evaluated else "skipped"] += 1
            if entry.step is not None:
                self._done_steps.add(entry.step)
            self._ledger.end(entry, "done", None if evaluated else self._ear.reasons.get(entry.path))

    def _failed(self, entry: Entry, failures: Sequence[dict[str, Json]]) -> None:
        kinds = {event["class"] for event in failures}
        if kinds <= {Torn.kind, Vanished.kind}:
            if not self._unchanged(entry):
                return
            if kinds == {Torn.kind} and not entry.last:
                self._ledger.back(entry)
                return
        if kinds == {Vanished.kind}:
            self._ledger.end(entry, "vanished", failures[-1]["message"])
            return
        for event in failures:
            self._ear.listen(event)
        attempts = max(event["attempts"] for event in failures)
        if kinds <= _PASSING and attempts < ATTEMPTS and not self._ending:
            wait = wait_seconds(attempts)
            self._later[key_of(entry.seen)] = time.monotonic() + wait
            self._ledger.put_off(entry, f"{failures[-1]['class']}: tried again in {wait:g} s")
            return
        self._ledger.end(entry, "failed", failures[-1]["class"])
        self._wishes.failed(entry)

    def _unchanged(self, entry: Entry) -> bool:
        """Tell whether an entry's file is as it was looked into; if not, it is looked into anew, or has vanished."""
        at = entry.at
        if at is None:
            return False
        if at.format is None and os.path.lexists(at.path):
            return True  # what is wrong with it is known without reading it
        try:
            same = identity_of(main_file(at)).content == at.identity.content
        except OSError:
            if at.path != entry.path and self._ledger.whereabouts(entry) == "done":
                return True  # another watcher has its result, and released the pin
            self._ledger.lookout.release(entry.seen)
            if entry.files is not None and _same(entry.path, entry.files):
                self._ledger.again(entry)
            else:
                self._ledger.lose(entry, "deleted")
            return False
        if not same:
            self._ledger.lose(entry, "overwritten")
        return same

    def _at(self, found: CheckpointFiles) -> CheckpointFiles:
        """Return where a checkpoint is to be read: at its pin, as long as that is there."""
        for entry in self._ledger.claimed.values():
            if entry.files == found and entry.at is not None and os.path.exists(entry.at.path):
                return entry.at
        return found

    def _run_of(self, path: str) -> str:
        return self._store.run_of(os.path.dirname(path))


def whereabouts(drivers: Sequence[Driver], run: str, path: str, identity: Identity) -> Fate:
    """Tell what became of a content whose file may be gone: its results are in the store, or somebody makes them.

    Where all its outcomes are kept and records are missing, since whoever evaluated it was killed before, these are
    computed now: that takes no model.
    """
    found = CheckpointFiles(path, None, (), identity)
    whole: list[tuple[Driver, Item]] = []
    for driver in drivers:
        for variant in driver.spec.variants:
            checkpoint = driver.store.checkpoint(run, path, identity, variant, driver.spec.signature)
            if checkpoint is None or checkpoint.digest is None:
                return "lost"
            whole += [(driver, driver.item(checkpoint, found, data)) for data in driver.data]
    lacking = [(driver, item) for driver, item in whole if item.gaps]
    if lacking:
        return "held" if all(driver.in_hand(item) for driver, item in lacking) else "lost"
    for driver, item in whole:
        if item.decision.action == "score":
            driver.finish(item, new=False)
    return "done"


def _same(path: str, found: CheckpointFiles) -> bool:
    """Tell whether what was found lies under its path still; a link that was refused is not followed."""
    if found.format is None:
        return os.path.lexists(path)
    try:
        return identity_of(main_file(found)).content == found.identity.content
    except OSError:
        return False


def watch_order(
    steps: Sequence[int | None], order: str, done: Iterable[int] = (), count: int | None = None
) -> list[int]:
    """Return the places of waiting checkpoints in the order in which a watch takes them, the first `count` of them.

    `oldest`: by step.  `latest`: the newest first, then backwards.  `bisect`: the newest and the oldest, then ever the
    one that lies farthest from all that is `done` or was taken: a coarse curve first, refined as time allows.  Those
    without a step come first in `latest` and last otherwise.

    >>> watch_order([100, 900, None, 500, 300], "oldest"), watch_order([100, 900, None, 500, 300], "latest")
    ([0, 4, 3, 1, 2], [2, 1, 3, 4, 0])
    >>> watch_order([100, 200, 300, 400, 500], "bisect"), watch_order([100, 200, 300], "bisect", done=[90])
    ([4, 0, 2, 3, 1], [2, 1, 0])
    """
    known = sorted((step, place) for place, step in enumerate(steps) if step is not None)
    loose = [place for place, step in enumerate(steps) if step is None]
    if order == "latest":
        return [*loose, *(place for _, place in reversed(known))][:count]
    if order == "bisect":
        return [*_bisected(known, done, count), *loose][:count]
    return [*(place for _, place in known), *loose][:count]


def _bisected(known: Sequence[tuple[int, int]], done: Iterable[int], count: int | None) -> list[int]:
    taken = sorted(set(done))
    waiting = {place: step for step, place in known}
    distance = {place: _nearest(step, taken) for place, step in waiting.items()}
    order: list[int] = []
    while waiting and (count is None or len(order) < count):
        # Of equal distances, and where nothing was taken yet, the newest: it is asked for most.
        place = max(waiting, key=lambda at: (distance[at], waiting[at]))
        order.append(place)
        step = waiting.pop(place)
        for other, its in waiting.items():
            distance[other] = min(distance[other], abs(its - step))
    return order


def _nearest(step: int, taken: Sequence[int]) -> float:
    """Return how far the nearest of the sorted steps is, infinity where there is none."""
    at = bisect_left(taken, step)
    return min((abs(step - other) for other in taken[max(0, at - 1) : at + 1]), default=float("inf"))
