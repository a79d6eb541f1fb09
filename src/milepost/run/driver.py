"""The driver: it identifies checkpoints, has the missing rows evaluated, and publishes what comes back.

Plain data only: it holds no framework and parses no checkpoint.  All that a resumption needs is in the store, so that
a kill at any moment loses the parts in flight and nothing else.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from milepost._internal.ranges import covered
from milepost.core.sessions import Session
from milepost.core.types import CheckpointFiles, Part, ScoreRequest
from milepost.errors import CheckpointError, Crashed, NoSpace, OutOfMemory, StoreFull, TimedOut
from milepost.run.checkpoint_records import Identifier
from milepost.run.events import (
    Listen,
    Reporter,
    averages_note,
    batch_size_note,
    left_out_note,
    memory_note,
    missing_note,
    numbering_note,
    record_events,
)
from milepost.run.items import Item, ItemLookup
from milepost.run.planning import units
from milepost.run.publishing import Publisher
from milepost.run.request import Request
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.leases import Lease, Worker
from milepost.store.store import Store

_POLL_SECONDS = 0.25
_SHARED = frozenset({Crashed.kind, OutOfMemory.kind, TimedOut.kind})
"""Failures of a whole process, which say nothing of a single checkpoint where several were loaded."""


class Driver:
    """One run over one store with one open session."""

    def __init__(self, store: Store, session: Session, worker: Worker | None, request: Request, listen: Listen) -> None:
        """Ask the evaluator what it is; `worker` None for a plan, which publishes nothing."""
        self.store = store
        self.session = session
        self.spec = session.describe()
        self.reporter = Reporter(listen)
        self.identifier = Identifier(store, session, self.spec, publish=worker is not None, again=request.again)
        self.items = ItemLookup(store, self.spec, request)
        self.data = self.items.data
        self._request = request
        self.weights: dict[str, None] = {}
        self._worker = worker
        self._publisher = Publisher(store, self.spec, self.items)
        self._first: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._deferred: list[Item] = []

    def supposing(self, standing: Mapping[str, list[str]]) -> "Driver":
        """Return a driver that publishes nothing, and for which other code versions stand, by data set."""
        other = Driver(self.store, self.session, None, self._request, self.reporter.listen)
        other.identifier = self.identifier
        other.items.codes.update(standing)
        return other

    def item(self, checkpoint: CheckpointRecord, files: CheckpointFiles, data: str) -> Item:
        """Decide about one checkpoint on one data set, whatever else this run does."""
        return self.items.item(checkpoint, files, self.identifier.place(files), data)

    def decided(self, files: CheckpointFiles) -> Iterable[CheckpointRecord | Item]:
        """Yield what is decided about each variant of a checkpoint on each data set; a failed variant as it is.

        Of the checkpoints of one run that hold the same weights the first one is evaluated, the others are skipped.
        """
        for checkpoint in self.identifier.identify(files):
            if checkpoint.failure is not None:
                yield checkpoint
                continue
            for data in self.data:
                ours = checkpoint.path, checkpoint.variant, checkpoint.label
                first = self._first.setdefault((str(checkpoint.digest), data), ours)
                name = None if first == ours else f"{first[2]} ({first[1]})"
                yield self.items.item(checkpoint, files, self.identifier.place(files), data, name)

    # ------------------------------------------------------------------------------------------------------- working

    def work(self, chunk: Sequence[CheckpointFiles]) -> None:
        """Bring a few checkpoints up to what is asked for, together in one pass."""
        items = []
        for files in chunk:
            try:
                decided = list(self.decided(files))
            except StoreFull as error:
                unknown = self.identifier.unidentified(files, NoSpace.kind, str(error))
                self.reporter.failed(unknown, NoSpace.kind, str(error))
                continue
            for one in decided:
                if isinstance(one, Item):
                    items.append(one)
                    self.weights[str(one.checkpoint.digest)] = None
                elif one.failure is not None:
                    self.reporter.failed(one, *one.failure)
        self._serve(items)

    def wait(self) -> None:
        """Finish what other processes were working on: with their results, or in their place once they are gone."""
        while self._deferred:
            if not self.resume():
                time.sleep(_POLL_SECONDS)

    def resume(self) -> bool:
        """Look once at what others work on, and take over what the dead left; False where all stands still."""
        items, self._deferred = self._deferred, []
        before = [item.gaps for item in items]
        self._serve([self._renewed(item) for item in items])
        return [item.gaps for item in self._deferred] != before

    @property
    def deferred(self) -> set[str]:
        """The paths of what other processes are working on."""
        return {item.checkpoint.path for item in self._deferred}

    def forget(self, path: str) -> None:
        """Take a checkpoint's end back: what was under this path has not served its weights."""
        self.reporter.outcomes.pop(path, None)
        self.identifier.forget(path)
        self._first = {key: first for key, first in self._first.items() if first[0] != path}
        self._deferred = [item for item in self._deferred if item.checkpoint.path != path]

    def in_hand(self, item: Item) -> bool:
        """Return whether somebody alive is evaluating an item."""
        return self._lease(item).holder() is not None

    def finish(self, item: Item, *, new: bool) -> None:
        """Seal what is whole, have it scored where records are missing, and report the end."""
        decision = item.decision
        with self._room_for(item):
            self._publisher.class_names(item.data)
            if decision.metrics and not self._score(item):
                return
            self.reporter.state(item.checkpoint, "done" if new else "skipped", None if new else decision.reason)

    @contextmanager
    def _room_for(self, item: Item) -> Iterator[None]:
        """Report what an item puts into a store without room for it as its failure, which is not on record."""
        try:
            yield
        except StoreFull as error:
            self.reporter.failed(item.checkpoint, NoSpace.kind, str(error))

    def _renewed(self, item: Item) -> Item:
        return self.items.item(item.checkpoint, item.files, item.target.files, item.data)

    def _serve(self, items: Iterable[Item]) -> None:
        lacking = []
        for item in items:
            match item.decision.action:
                case "evaluate":
                    lacking.append(item)
                case "failed":
                    assert item.decision.failure is not None  # noqa: S101 - what "failed" means
                    kind, message = item.decision.failure.kind, item.decision.failure.message
                    self.reporter.failed(item.checkpoint, kind, message, item.decision.attempts)
                case _:
                    self.finish(item, new=False)
        held = self._acquire(lacking)
        try:
            for data in {item.data: None for item in held}:
                self._evaluate([item for item in held if item.data == data])
        finally:
            for item, lease in held.items():
                self._publisher.finished(item)
                lease.release()

    def _acquire(self, items: Iterable[Item]) -> dict[Item, Lease]:
        """Take the leases that are free; what others hold is deferred.  What they finished meanwhile is noticed."""
        held: dict[Item, Lease] = {}
        for item in items:
            lease = self._lease(item)
            acquired: bool | None = None
            with self._room_for(item):
                acquired = lease.acquire()
            if acquired is False:
                self._deferred.append(item)
            if not acquired:
                continue
            fresh = self._renewed(item)
            if fresh.decision.action == "evaluate":
                held[fresh] = lease
                continue
            lease.release()
            self._serve([fresh])
        return held

    def _lease(self, item: Item) -> Lease:
        assert self._worker is not None  # noqa: S101 - a plan never comes here
        return self.store.lease(item.key, f"{item.column_set}-{item.stop}", self._worker)

    def _evaluate(self, items: list[Item], *, last: bool = False) -> None:
        """Take items of one data set through it; those whose process died are taken alone, for the `last` time."""
        alive = {item.target: item for item in items if self._begin(item)}
        by_target = dict(alive)
        shaken: list[Item] = []
        started = time.monotonic()
        for unit in units(((item.target, item.gaps) for item in items), items[0].data):
            left = replace(unit, targets=tuple(target for target in unit.targets if target in alive))
            if not left.targets:
                continue
            for target, outcome in self.session.run([left]):
                item = by_target[target]
                if isinstance(outcome, Part):
                    if target in alive and not self._publish(item, outcome):
                        del alive[target]
                    self._progress(item, outcome, items, started)
                    continue
                if alive.pop(target, None) is None:
                    continue  # it has failed already
                alone = len(left.targets) == 1
                if outcome.kind in _SHARED and not last and not (alone and outcome.kind != Crashed.kind):
                    shaken.append(item)
                else:
                    with self._room_for(item):
                        message, attempts = self._publisher.failure(item, outcome)
                        self.reporter.failed(item.checkpoint, outcome.kind, message, attempts)
        self.items.passed()
        for item in alive.values():
            self.finish(self._renewed(item), new=True)
        # One of them brought the others down, or something else the process: each by itself, and the culprit is known.
        for item in shaken:
            self._evaluate([self._renewed(item)], last=True)

    def _begin(self, item: Item) -> bool:
        """Say what an item is, to the store and to the user; False where the store has no room."""
        with self._room_for(item):
            self._publisher.describe(item)
            self.reporter.note(left_out_note(item.data, self.data[item.data].described), once=True)
            self.reporter.note(numbering_note(item.data, self.data[item.data].described), once=True)
            rows = covered(item.coverage, item.stop)
            if rows:
                self.reporter.note(f"resuming {item.checkpoint.label}: {rows:,} of {item.stop:,} rows are there")
            self.reporter.note(missing_note(item.checkpoint))
            self.reporter.note(averages_note(item.checkpoint, self.spec.variants), once=True)
            self.reporter.state(item.checkpoint, "claimed")
            return True
        return False

    def _publish(self, item: Item, part: Part) -> bool:
        """Put a part of an item; False where the store has no room."""
        with self._room_for(item):
            self.reporter.note(self._publisher.part(item, part))
            self.reporter.note(memory_note(part.environment), once=True)
            self.reporter.note(batch_size_note(item.data, part.environment), once=True)
            return True
        return False

    def _score(self, item: Item) -> bool:
        """Have the metrics that are missing scored; False where that failed."""
        self.reporter.note(self._publisher.seal(item), once=True)
        request = ScoreRequest(
            store=str(self.store.path),
            key=item.key,
            column_set=item.column_set,
            data=item.data,
            digest=self.data[item.data].digest,
            stop=item.stop,
            metrics=item.decision.metrics,
            sizes=(self.spec.batch_sizes[item.data],),
            slices=self.items.slices(item.data, item.stop),
        )
        try:
            payloads = self.session.score(request)
        except CheckpointError as error:
            self.reporter.failed(item.checkpoint, error.kind, str(error))
            return False
        self.reporter.warn(item.checkpoint.label, item.data, payloads)
        for payload in payloads:
            for event in record_events(item.checkpoint, payload):
                self.reporter.listen(event)
        return True

    def _progress(self, item: Item, part: Part, items: list[Item], started: float) -> None:
        if item is not items[-1]:
            return
        names, seconds = [one.checkpoint.label for one in items], time.monotonic() - started
        rows = part.stop - min(start for start, _ in item.gaps)
        speed = rows * len(names) / seconds if seconds else 0.0
        shown = {"data": item.data, "names": names, "done": part.stop, "size": item.stop, "examples_per_second": speed}
        self.reporter.listen({"event": "progress", **shown, "seconds": dict(part.environment.get("timings", {}))})
