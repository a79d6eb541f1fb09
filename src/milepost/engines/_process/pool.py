"""Several evaluators side by side: each takes a share of a unit's checkpoints."""

import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from milepost.core.types import CheckpointFiles, Description, Identified, Job, Json, ScoreRequest, Table, Target, Unit
from milepost.engines._failures import Outcome
from milepost.engines._process.remote import RemoteEvaluator
from milepost.errors import UsageError

_REMEMBERED = 256
"""Checkpoints of which it is known which process identified them, and may have them mapped."""
_AHEAD = 4
"""Outcomes that may wait for the driver."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _ShareEnd:
    """The end of a share; `error` is what concerns more than its checkpoints."""

    error: BaseException | None = None


_Outcomes = queue.Queue[Outcome | _ShareEnd]


class Pool:
    """Evaluators of one job; one that dies loses its share of the unit, and the others go on."""

    def __init__(self, job: Job, workers: int) -> None:
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._evaluators: list[RemoteEvaluator] = []
        try:
            for _ in range(workers):
                self._evaluators.append(RemoteEvaluator(job))
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        return self._evaluators[0].describe()

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        return self._evaluators[0].score(request)

    def identify(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Return digest or failure of each variant; the same process evaluates the checkpoint later, where it can."""
        return self._evaluators[self._home(files.path)].identify(files, table, variants)

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the parts of all shares as they come, and the failures of a process that died."""
        shares = self._shares(unit)
        if len(shares) == 1:
            ((number, targets),) = shares.items()
            yield from self._evaluators[number].evaluate(replace(unit, targets=tuple(targets)), tables)
            return
        came: _Outcomes = queue.Queue(_AHEAD)
        stopped = threading.Event()
        threads = {
            number: threading.Thread(
                target=_serve,
                args=(self._evaluators[number], replace(unit, targets=tuple(targets)), tables, came, stopped),
                name=f"milepost-share-{number}",
                daemon=True,
            )
            for number, targets in shares.items()
        }
        for thread in threads.values():
            thread.start()
        whole = False
        try:
            yield from _gathered(came, len(threads))
            whole = True
        finally:
            stopped.set()
            if not whole:
                for number in threads:
                    self._evaluators[number].kill()
            _drain(threads.values(), came)

    def close(self) -> None:
        for evaluator in self._evaluators:
            evaluator.close()

    def _home(self, path: str) -> int:
        if path not in self._homes:
            used = Counter(self._homes.values())
            self._homes[path] = min(range(len(self._evaluators)), key=lambda number: (used[number], number))
        self._homes.move_to_end(path)
        while len(self._homes) > _REMEMBERED:
            self._homes.popitem(last=False)
        return self._homes[path]

    def _shares(self, unit: Unit) -> dict[int, list[Target]]:
        """Share out targets evenly: each to the process that identified it, unless that one has enough."""
        even = -(-len(unit.targets) // len(self._evaluators))
        shares: dict[int, list[Target]] = {}
        over = list[Target]()
        for target in unit.targets:
            own = shares.setdefault(self._home(target.files.path), [])
            (own if len(own) < even else over).append(target)
        for target in over:
            number = min(range(len(self._evaluators)), key=lambda number: len(shares.get(number, ())))
            shares.setdefault(number, []).append(target)
        return shares


def _serve(
    evaluator: RemoteEvaluator, unit: Unit, tables: dict[str, Table], came: _Outcomes, stopped: threading.Event
) -> None:
    error: BaseException | None = None
    try:
        for outcome in evaluator.evaluate(unit, tables):
            came.put(outcome)
            if stopped.is_set():
                break
    except BaseException as raised:  # noqa: BLE001 - carried over to the driver's thread, whatever it is
        error = raised
    came.put(_ShareEnd(error))


def _gathered(came: _Outcomes, shares: int) -> Iterator[Outcome]:
    """Yield outcomes until every share has ended; raise the first error that concerns more than its share."""
    while shares:
        found = came.get()
        if not isinstance(found, _ShareEnd):
            yield found
            continue
        shares -= 1
        if found.error is not None:
            raise found.error


def _drain(threads: Iterable[threading.Thread], came: _Outcomes) -> None:
    """Wait for threads, and drop their last outcomes."""
    for thread in threads:
        while thread.is_alive():
            with suppress(queue.Empty):
                came.get(timeout=_POLL_SECONDS)


def workers_of(job: Job) -> int:
    found = job.options.get("workers", 1)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise UsageError(f"option 'workers': expected a whole number from 1, found {found!r}")
    return found
