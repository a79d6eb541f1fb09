"""The driver's hands: it sights checkpoints, has the missing ranges evaluated, and publishes what comes back.

Plain data only: it holds no framework and parses no checkpoint.  Everything that it needs to know for a resumption is
in the store, so that a kill at any moment loses the parts in flight and nothing else.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from milepost._internal.ranges import covered, missing
from milepost._internal.serialization import now, to_plain
from milepost.checkpoints._files.shards import reworded
from milepost.core.protocols import Session
from milepost.core.types import CheckpointFiles, DataDescription, Failure, Json, Part, ScoreRequest, Target
from milepost.errors import Crashed, OutOfMemory, TimedOut, retried
from milepost.run.checkpoint_records import Identifier
from milepost.run.events import constant_note, memory_note, missing_note, progress_event, record_events
from milepost.run.planning import units, wanted_rows
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.keys import BESIDES, evaluation_key, subject
from milepost.store.leases import Lease, Worker
from milepost.store.store import Store

Listen = Callable[[dict[str, Json]], None]

_POLL_SECONDS = 0.25
_SHARED = frozenset({Crashed.kind, OutOfMemory.kind, TimedOut.kind})
"""Failures of a whole process, which say nothing of a single checkpoint where several were resident."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One content on one data set: what is asked for, and what of it is missing."""

    checkpoint: CheckpointRecord
    files: CheckpointFiles
    target: Target
    data: str
    key: str
    column_set: str
    have: tuple[tuple[int, int], ...]
    stop: int

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The ranges that are missing."""
        return missing(self.have, self.stop)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for, as far as it bears on single checkpoints."""

    data: str | None = None
    limit: int | None = None
    again: bool = False


class Driver:
    """One run over one store with one open session."""

    def __init__(self, store: Store, session: Session, worker: Worker | None, options: Options, listen: Listen) -> None:
        """Ask the evaluator what it is; `worker` None for a plan, which publishes nothing."""
        self.store = store
        self.session = session
        self.listen = listen
        self.spec = session.describe()
        self.subject = subject(to_plain(self.spec))
        self.outcomes: dict[str, set[str]] = {}
        self.contents: list[str] = []
        self.codes: dict[str, str] = {}
        self._worker = worker
        self._options = options
        self._seen: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._repetitions: dict[tuple[str, str], int] = {}
        self._sealed: set[str] = set()
        self._deferred: list[Item] = []
        self._said: set[str | None] = set()
        self.identifier = Identifier(store, session, self.spec, publish=worker is not None, again=options.again)

    @property
    def data(self) -> dict[str, DataDescription]:
        """The data sets that are asked for, by full name or by that behind the entry's: size, digest, fingerprint."""
        options = self._options.data
        return {name: item for name, item in self.spec.data.items() if options in (None, name, name.partition("/")[2])}

    def identify(self, found: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what each variant of a checkpoint is: known from an earlier run, or read now."""
        return self.identifier.identify(found)

    # ------------------------------------------------------------------------------------------------------- planning

    def item(self, checkpoint: CheckpointRecord, found: CheckpointFiles, data: str) -> Item:
        """Say what is asked for of one content on one data set, and what the store has of it."""
        described = self.data[data]
        weights = str(checkpoint.digest)
        code = self.codes.get(data) or str(self.spec.code["version"])
        size = described.size
        # Once for each content: what this very run evaluated anew is not evaluated anew under its next name.
        chosen = self._repetitions.get((weights, data))
        repetition = chosen or 0
        while True:
            key = evaluation_key(weights, described.digest, self.subject, code, repetition)
            column_set, have = self.coverage(key)
            anew = self._options.again and chosen is None
            if not (anew and have and not missing(have, wanted_rows(size, self._options.limit))):
                break
            repetition += 1
        self._repetitions[weights, data] = repetition
        whole = not missing(have, size)
        stop = size if whole else wanted_rows(size, self._options.limit)
        target = Target(self.identifier.place(found), checkpoint.variant, weights)
        return self._to_group_end(Item(checkpoint, found, target, data, key, column_set, tuple(have), stop))

    def _to_group_end(self, item: Item) -> Item:
        """Return an item of grouped data that is there as far as its last group goes: a limit may lie within one."""
        described = self.data[item.data]
        grouped = described.fingerprint.get("order", {}).get("groups")
        if not grouped or item.gaps or item.stop == described.size:
            return item
        return replace(item, stop=item.have[0][1])

    def coverage(self, key: str) -> tuple[str, list[tuple[int, int]]]:
        """Return the column set of an evaluation that serves the metrics, and the ranges that it covers."""
        folder = self.store.evaluation(key)
        own = self.spec.column_set
        sets = folder.column_sets()
        if own in sets:
            return own, folder.parts(own).coverage()
        for name in [] if self.spec.folded else sets:
            reader = folder.parts(name).read()
            if set(self.spec.kept) <= set(reader.names):
                return name, reader.coverage
        return own, []

    def unscored(self, item: Item) -> list[str]:
        """Return the digests of the metrics whose records are missing for what is covered."""
        records = self.store.evaluation(item.key).records
        slices = self.slices(item)
        lacking = []
        for metric in self.spec.metrics:
            probe: dict[str, Json] = {"metric": metric.spec, "coverage": [[0, item.stop]]}
            exact, mean = {"estimator": "exact", "batch_size": None}, {"estimator": "batch_mean"}
            wanted = [{**probe, **exact, "slice": "all"}]
            if metric.digest not in self.spec.folded:
                means = {**mean, "batch_size": self.spec.batch_size}
                wanted += [{**probe, **means, "slice": "all"}]
                wanted += [{**probe, **each, "slice": name} for name in slices for each in (exact, means)]
            if not all(records.has(payload) for payload in wanted):
                lacking.append(metric.digest)
        return lacking

    def slices(self, item: Item) -> list[str]:
        """Return the names of the slices of an item's data: those that its source tells, else those that passes met."""
        described = self.data[item.data]
        told: list[str] | None = described.described.get("slices")
        if told is not None:
            return told
        dataset = self.store.dataset(described.digest)
        return [name for name in dataset.slices() if not missing(dataset.slice(name).coverage(), item.stop)]

    # ------------------------------------------------------------------------------------------------------- working

    def work(self, chunk: Sequence[CheckpointFiles]) -> None:
        """Bring a few checkpoints up to what is asked for, together in one pass."""
        items = []
        for found in chunk:
            for checkpoint in self.identify(found):
                if checkpoint.failure is not None:
                    self.failed(checkpoint, *checkpoint.failure)
                else:
                    items += [item for data in self.data if (item := self._first_of(checkpoint, found, data))]
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
        self._serve([self.item(item.checkpoint, item.files, item.data) for item in items])
        return [item.gaps for item in self._deferred] != before

    @property
    def deferred(self) -> set[str]:
        """The paths of what other processes are working on."""
        return {item.checkpoint.path for item in self._deferred}

    def forget(self, path: str) -> None:
        """Take a checkpoint's end back: its content has not been served by what was under this path."""
        self.outcomes.pop(path, None)
        self.identifier.forget(path)
        self._seen = {key: first for key, first in self._seen.items() if first[0] != path}

    def _first_of(self, checkpoint: CheckpointRecord, found: CheckpointFiles, data: str) -> Item | None:
        """Return the item unless the same content came under another name already."""
        item = self.item(checkpoint, found, data)
        ours = checkpoint.path, checkpoint.variant, checkpoint.name
        first = self._seen.setdefault((item.key, data), ours)
        if str(checkpoint.digest) not in self.contents:
            self.contents.append(str(checkpoint.digest))
        if first != ours:
            self.state(checkpoint, "skipped", f"same content as {first[2]} ({first[1]})")
            return None
        return item

    def _serve(self, items: Iterable[Item]) -> None:
        lacking = []
        for item in items:
            known = self.store.evaluation(item.key).failures
            failures = known.list() if item.gaps else []
            settled = failures and not (self._options.again or retried(failures[-1]["kind"]) or known.asked_again())
            if not item.gaps:
                self.finish(item, new=False)
            elif settled:
                self.failed(item.checkpoint, failures[-1]["kind"], failures[-1]["message"], len(failures))
            else:
                lacking.append(item)
        held = self._acquire(lacking)
        try:
            for data in {item.data: None for item in held}:
                self._evaluate([item for item in held if item.data == data], data)
        finally:
            for lease in held.values():
                lease.release()

    def _acquire(self, items: Iterable[Item]) -> dict[Item, Lease]:
        """Take the leases that are free; what others hold is deferred.  What they finished meanwhile is seen."""
        held: dict[Item, Lease] = {}
        for item in items:
            lease = self._lease(item)
            if not lease.acquire():
                self._deferred.append(item)
                continue
            fresh = replace(item, have=tuple(self.coverage(item.key)[1]))
            if fresh.gaps:
                held[fresh] = lease
            else:
                lease.release()
                self.finish(fresh, new=False)
        return held

    def in_hand(self, item: Item) -> bool:
        """Tell whether somebody alive is evaluating an item."""
        return self._lease(item).holder() is not None

    def _lease(self, item: Item) -> Lease:
        assert self._worker is not None  # noqa: S101 - a plan never comes here
        return self.store.lease(item.key, f"{item.column_set}-{item.stop}", self._worker)

    def _evaluate(self, items: list[Item], data: str, *, last: bool = False) -> None:
        """Take items through the data; what a dead process tells nothing of is taken alone, for the `last` time."""
        for item in items:
            self._describe(item)
            rows = covered(item.have, item.stop)
            if rows:
                self.note(f"resuming {item.checkpoint.name}: {rows:,} of {item.stop:,} rows are there")
            self.note(missing_note(item.checkpoint))
            self.state(item.checkpoint, "claimed")
        by_target = {item.target: item for item in items}
        alive = dict(by_target)
        shaken: list[Item] = []
        started = time.monotonic()
        for unit in units(((item.target, item.gaps) for item in items), data):
            left = replace(unit, targets=tuple(target for target in unit.targets if target in alive))
            if not left.targets:
                continue
            for target, outcome in self.session.run([left]):
                if isinstance(outcome, Failure):
                    alive.pop(target, None)
                    alone = len(left.targets) == 1
                    if outcome.kind in _SHARED and not last and not (alone and outcome.kind != Crashed.kind):
                        shaken.append(by_target[target])
                    else:
                        self._record_failure(by_target[target], outcome)
                else:
                    self._publish(by_target[target], outcome)
                    self._progress(by_target[target], outcome, items, started)
        for item in alive.values():
            self.finish(item, new=True)
        # One of them brought the others down, or something the process: each by itself, and the culprit is known.
        for item in shaken:
            self._evaluate([replace(item, have=tuple(self.coverage(item.key)[1]))], data, last=True)

    def _describe(self, item: Item) -> None:
        described = self.data[item.data]
        order = described.fingerprint.get("order", {"kind": "natural"})
        self.store.dataset(described.digest).write_spec({**to_plain(described), "order": order})
        spec = {
            "weights": item.target.digest,
            "data": described.digest,
            "data_name": item.data,
            "task": self.spec.task,
            **{name: besides for name in BESIDES if (besides := getattr(self.spec, name))},
            "code": self.codes.get(item.data, self.spec.code["version"]),
            "variant": item.target.variant,
            "size": described.size,
            "created": now(),
        }
        missing = item.checkpoint.notes.get("missing")
        if missing:
            spec["missing"] = missing
        self.store.evaluation(item.key).write_spec(spec)

    def _publish(self, item: Item, part: Part) -> None:
        own = {name: column for name, column in part.columns.items() if not name.startswith("data.")}
        shared = {name[5:]: column for name, column in part.columns.items() if name.startswith("data.")}
        dataset = self.store.dataset(self.data[item.data].digest)
        for name in [name for name in shared if name.startswith("slice.")]:
            dataset.slice(name[6:]).add(part.start, part.stop, {"value": shared.pop(name)})
        dataset.add(part.start, part.stop, shared)
        environment = {**part.environment, "engine_host": os.uname().nodename}
        said = memory_note(part.environment)
        if said not in self._said:
            self._said.add(said)
            self.note(said)
        parts = self.store.evaluation(item.key).parts(item.column_set)
        parts.publish(replace(part, columns=own, environment=environment), self.data[item.data].size)

    def finish(self, item: Item, *, new: bool) -> None:
        """Seal what is whole, have it scored where records are missing, and tell."""
        size = self.data[item.data].size
        item = self._to_group_end(replace(item, have=tuple(self.coverage(item.key)[1])) if new else item)
        if item.stop == size:
            if item.data not in self._sealed and self.store.dataset(self.data[item.data].digest).seal(size):
                self._sealed.add(item.data)
            self.store.evaluation(item.key).parts(item.column_set).seal(size)
        lacking = self.unscored(item)
        if lacking:
            asked = ScoreRequest(
                store=str(self.store.path),
                key=item.key,
                column_set=item.column_set,
                data=item.data,
                digest=self.data[item.data].digest,
                stop=item.stop,
                metrics=tuple(lacking),
                sizes=(self.spec.batch_size,),
                slices=tuple(self.slices(item)),
            )
            payloads = self.session.score(asked)
            self.note(constant_note(item.checkpoint.name, item.stop, item.data, payloads))
            for payload in payloads:
                for event in record_events(item.checkpoint, payload):
                    self.listen(event)
        if new:
            self.state(item.checkpoint, "done")
        else:
            self.state(item.checkpoint, "skipped", "scored from kept columns" if lacking else "nothing is missing")

    # ------------------------------------------------------------------------------------------------------- telling

    def note(self, message: str | None) -> None:
        """Tell the user something in a line, if there is something to tell."""
        if message:
            self.listen({"event": "note", "message": message})

    def state(self, checkpoint: CheckpointRecord, state: str, reason: str | None = None) -> None:
        """Tell in what state a checkpoint is, and keep count of how it ended."""
        if state in ("done", "skipped"):
            self.outcomes.setdefault(checkpoint.path, set()).add(state)
        shown = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant")}
        self.listen({"event": "checkpoint", **shown, "state": state, "reason": reason})

    def failed(self, checkpoint: CheckpointRecord, kind: str, message: str, attempts: int | None = None) -> None:
        """Tell of a failure: it is a row, and the run goes on."""
        self.outcomes.setdefault(checkpoint.path, set()).add("failed")
        self.listen(
            {
                "event": "failure",
                "run": checkpoint.run,
                "path": checkpoint.path,
                "step": checkpoint.step,
                "class": kind,
                "message": message,
                "attempts": attempts or checkpoint.attempt,
            }
        )

    def _record_failure(self, item: Item, failure: Failure) -> None:
        failures = self.store.evaluation(item.key).failures
        attempt = len(failures.list()) + 1
        message = reworded(failure.message, item.target.files.path, item.checkpoint.path)
        failures.publish(attempt, {"kind": failure.kind, "message": message, "path": item.checkpoint.path, "at": now()})
        self.failed(item.checkpoint, failure.kind, message, attempt)

    def _progress(self, item: Item, part: Part, items: list[Item], started: float) -> None:
        if item is not items[-1]:
            return
        names, seconds = [one.checkpoint.name for one in items], time.monotonic() - started
        rows = part.stop - min(start for start, _ in item.gaps)
        self.listen(progress_event(item.data, names, rows, item.stop, seconds, part))
