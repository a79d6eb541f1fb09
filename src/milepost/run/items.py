"""Items: one checkpoint on one data set, with what the store has of it and what is decided about it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice

from milepost._internal.ranges import missing
from milepost._internal.serialization import digest
from milepost.core.types import CheckpointFiles, DataDescription, Description, Failure, Target
from milepost.run.planning import DataRequest, Decision, Stored, decide
from milepost.run.request import Request
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import EvaluationState
from milepost.store.keys import evaluation_key, subject
from milepost.store.records import RecordKey
from milepost.store.store import Store


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One checkpoint on one data set: the key of its evaluation, the rows that are there, and the decision.

    `code` is the version of the code that the evaluation is of.
    """

    checkpoint: CheckpointRecord
    files: CheckpointFiles
    target: Target
    data: str
    key: str
    code: str
    column_set: str
    coverage: tuple[tuple[int, int], ...]
    decision: Decision

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """The rows that are missing, whether or not the model is to predict them now."""
        return tuple(missing(self.coverage, self.stop))

    @property
    def stop(self) -> int:
        """The end of the rows that are asked for."""
        return self.decision.stop


class ItemLookup:
    """Looks up in the store what the decision about a checkpoint depends on.

    `codes` remembers by data set the code versions whose evaluations stand: this one first.
    """

    def __init__(self, store: Store, spec: Description, request: Request) -> None:
        self.codes: dict[str, list[str]] = {}
        self.subject = subject(asdict(spec))
        self.task = digest(self.subject)
        self.data: dict[str, DataDescription] = {
            name: described
            for name, described in spec.data.items()
            if request.data in (None, name, name.partition("/")[2])
        }
        self._store = store
        self._spec = spec
        self.again = request.again
        metrics = tuple(metric.digest for metric in spec.metrics)
        self._wanted = {
            name: DataRequest(item.size, request.limit, bool(item.fingerprint.get("order", {}).get("groups")), metrics)
            for name, item in self.data.items()
        }
        self._chosen: dict[tuple[str, str], tuple[str, int]] = {}
        self._slices: dict[tuple[str, int], tuple[str, ...]] = {}
        self._scored: dict[tuple[frozenset[RecordKey], tuple[str, ...], int, int], frozenset[tuple[str, int]]] = {}

    def item(
        self,
        checkpoint: CheckpointRecord,
        files: CheckpointFiles,
        place: CheckpointFiles,
        data: str,
        first: str | None = None,
    ) -> Item:
        """Decide about one checkpoint on one data set; see `planning.decide`.

        `place` is where the checkpoint is read.  The weights that this run evaluates once more keep their repetition:
        under their next name they are not evaluated once more.
        """
        weights, states = str(checkpoint.digest), list[EvaluationState]()
        chosen = self._chosen.get((weights, data))
        code, begin = chosen or (self.code(weights, data), 0)

        def stored() -> Iterator[Stored]:
            for repetition in count(begin):
                states.append(self._store.evaluation(self._key(weights, data, code, repetition)).state())
                yield self._stored(states[-1], data)

        repetitions = stored() if chosen is None else islice(stored(), 1)
        decision = decide(self._wanted[data], repetitions, again=self.again, first=first)
        if chosen is None and states:
            self._chosen[weights, data] = code, len(states) - 1
        key = states[-1].key if states else self._key(weights, data, code, begin)
        column_set, coverage = self.kept(states[-1]) if states else (self._spec.column_set, ())
        target = Target(place, checkpoint.variant, weights)
        return Item(checkpoint, files, target, data, key, code, column_set, coverage, decision)

    def slices(self, data: str, stop: int) -> tuple[str, ...]:
        """Return the names of a data set's slices: those that its source lists, else those that passes met."""
        listed = self.data[data].described.get("slices")
        if listed is not None:
            return tuple(listed)
        if (data, stop) not in self._slices:
            dataset = self._store.dataset(self.data[data].digest)
            found = (name for name in dataset.slices() if not missing(dataset.slice(name).coverage(), stop))
            self._slices[data, stop] = tuple(found)
        return self._slices[data, stop]

    def passed(self) -> None:
        """Forget which slices there are: a pass over the data may have met more."""
        self._slices.clear()

    def kept(self, state: EvaluationState) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return the column set of an evaluation that serves the metrics, and the rows that it covers."""
        own = self._spec.column_set
        if own in state.coverage or self._spec.folded:
            return own, state.coverage.get(own, ())
        for name, coverage in state.coverage.items():
            if set(self._spec.kept) <= set(self._store.evaluation(state.key).parts(name).read().names):
                return name, coverage
        return own, ()

    def standing(self, data: str) -> list[str]:
        """Return the code versions whose evaluations of a data set stand: this one, then those that it equals."""
        if data not in self.codes:
            version = str(self._spec.code["version"])
            self.codes[data] = self._store.codes.standing().chain(self.data[data].digest, self.task, version)
        return self.codes[data]

    def code(self, weights: str, data: str) -> str:
        """Return the code version under which some weights are evaluated: this one, or an equal one that has rows.

        `--again` means this one: it does not rest on a check.
        """
        own, *equal = self.standing(data)
        if equal and not self.again:
            for version in (own, *equal):
                if self._store.evaluation(self._key(weights, data, version)).state().coverage:
                    return version
        return own

    def _key(self, weights: str, data: str, code: str, repetition: int = 0) -> str:
        return evaluation_key(weights, self.data[data].digest, self.subject, code, repetition)

    def _stored(self, state: EvaluationState, data: str) -> Stored:
        _, coverage = self.kept(state)
        stop = self._wanted[data].stop(coverage)
        scored = frozenset[tuple[str, int]]()
        if state.records and not missing(coverage, stop):
            # The same for thousands of evaluations.
            asked = state.records, self.slices(data, stop), stop, self._spec.batch_sizes[data]
            if asked not in self._scored:
                self._scored[asked] = frozenset(self._complete(*asked))
            scored = self._scored[asked]
        failures = tuple(Failure(str(item["kind"]), str(item["message"])) for item in state.failures)
        return Stored(coverage, scored, failures, state.retry)

    def _complete(
        self, records: frozenset[RecordKey], slices: tuple[str, ...], stop: int, size: int
    ) -> Iterator[tuple[str, int]]:
        """Yield the metrics all of whose records of rows [0, stop) are there."""
        rows = ((0, stop),)
        for metric in self._spec.metrics:
            keys = [RecordKey(metric.digest, "exact", None, "all", rows)]
            if metric.digest not in self._spec.folded:
                keys = [
                    RecordKey(metric.digest, estimator, batch, name, rows)
                    for estimator, batch in (("exact", None), ("batch_mean", size))
                    for name in ("all", *slices)
                ]
            if records.issuperset(keys):
                yield metric.digest, stop
