"""The evaluator in a process of its own, as the driver holds it."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from milepost._internal.plain_errors import raised
from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import (
    CheckpointFiles,
    Description,
    Failure,
    Identified,
    Job,
    Json,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)
from milepost.engines._failures import Outcome, check_whole, failed, failure_of, rows
from milepost.engines._process import wire
from milepost.engines._process.child import Child, Unresponsive
from milepost.errors import (
    CheckpointError,
    Crashed,
    EvaluationFileError,
    MilepostError,
    OutOfMemory,
    TimedOut,
    Torn,
    UsageError,
)

OPENING_SECONDS = 120.0
"""Importing frameworks, building a model or computing metrics is given this time, however short the timeout."""

OPENING_WAITS = (1.0, 4.0, 16.0)
"""Seconds before an evaluator that a signal ended while it opened is started again: as often as there are waits."""


class RemoteEvaluator:
    """An evaluator in a process of its own; started again, when next needed, after it died or was ended.

    It opens the evaluation while others work: the first question waits for it.  The job's option `timeout` is how many
    seconds it may give no sign of life; then it is ended (`TimedOut`).  Its end is a `Failure` of the checkpoints that
    it worked on.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._timeout = timeout_of(job)
        self._child: Child | None = None
        self._ready = False
        self._streaming = False
        self._starved = self._signalled = False
        self._first: Description | None = None
        self._less = self._worked = 0
        self._least = 1
        self._start()

    def ready(self) -> None:
        """Wait until the evaluation is open; raise what its file raised as an `EvaluationFileError`.

        A process that a signal ended is not the file's doing: it is `Crashed` (`OutOfMemory`), as at any other time.
        """
        try:
            self._answer()
        except (Crashed, OutOfMemory, TimedOut) as error:
            if self._signalled or (self._first is not None and isinstance(error, TimedOut)):
                raise
            raise _unusable(self._job, error) from error
        except MilepostError:
            self.kill()
            raise
        if self._child is not None:
            self._child.timeout = self._timeout
        self._ready = True

    def describe(self) -> Description:
        """Return what the evaluation is: the first question, for which a process that was killed is started again."""
        described = from_plain(Description, self._asked_first({"method": "describe"}))
        self._first = described
        largest = max(described.batch_sizes.values(), default=1)
        self._least = 1 + largest.bit_length()  # one checkpoint at once, then half and half
        return described

    def _asked_first(self, head: dict[str, Json]) -> Json:
        """Ask once the evaluation is open; where signals end one process after the other, say what was seen."""
        seen = list[str]()
        for wait in (*OPENING_WAITS, None):
            try:
                return self._ask(head, OPENING_SECONDS)
            except (Crashed, OutOfMemory) as error:
                if not self._signalled:
                    raise _unusable(self._job, error) from error
                seen.append(str(error))
            if wait is not None:
                time.sleep(wait)
        raise _not_opened(self._job, seen)

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        made: list[dict[str, Json]] = self._ask({"method": "score", "request": to_plain(request)}, OPENING_SECONDS)
        return made

    def identify(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        head = {"method": "identify", "files": to_plain(files), "table": to_plain(table), "variants": list(variants)}
        try:
            try:
                answer = self._ask(head)
            except Crashed as error:
                # Once more: anything may have killed it the first time.
                check_whole(files, table, error)
                answer = self._ask(head)
        except CheckpointError as error:
            return failed(variants, error)
        return [from_plain(Identified, row) for row in answer]

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the unit's parts as they come; where the process dies or hangs, a failure of each that lacks rows."""

        def own(target: Target, error: CheckpointError) -> Failure:
            if isinstance(error, Crashed):
                try:
                    check_whole(target.files, tables[target.files.path], error)
                except Torn as torn:
                    return failure_of(torn)
            return failure_of(error)

        yield from rows(self._outcomes(unit, tables), unit, own)

    def _outcomes(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the unit's parts; raise `Crashed` or `TimedOut` where the process dies or hangs.

        Where the kernel ended it for lack of memory, what is left of the unit is done again with less at once, and so
        is all that comes later.  A checkpoint of which one row at a time was too much has failed, and the next is given
        what the others had.
        """
        stops = dict.fromkeys(unit.targets, unit.start)
        while left := tuple(target for target, stop in stops.items() if stop < unit.stop):
            # With less at once one checkpoint is taken after the other: it is known whose turn it was.
            some = left[:1] if self._less else left
            rest = replace(unit, start=min(stops[target] for target in some), targets=some)
            try:
                with closing(self._stream(rest, tables)) as outcomes:
                    for target, outcome in outcomes:
                        stops[target] = outcome.stop if isinstance(outcome, Part) else unit.stop
                        yield target, outcome
                stops.update(dict.fromkeys(some, unit.stop))
                self._worked = self._less
            except OutOfMemory as error:
                if not self._starved:
                    raise
                self._less += 1
                if self._less > self._least:
                    self._less = self._worked
                    stops[some[0]] = unit.stop
                    yield some[0], Failure(OutOfMemory.kind, f"not even one row at a time fits: {error}")

    def _stream(self, unit: Unit, tables: dict[str, Table]) -> Generator[Outcome, None, None]:
        plain = {path: to_plain(table) for path, table in tables.items()}
        self._send({"method": "evaluate", "unit": to_plain(unit), "tables": plain})
        self._streaming = True
        try:
            while (frame := self._frame())[0]["kind"] != "done":
                yield self._outcome(*frame)
            self._streaming = False
        except MilepostError:
            self._streaming = False
            raise
        finally:
            # Left in the middle of a unit, by Ctrl-C or by a consumer that has enough: the rest of it is not wanted.
            if self._streaming:
                self._streaming = False
                self.kill()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def kill(self) -> None:
        """End the process at once; another thread that reads from it meets the end of the stream."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _start(self) -> Child:
        self._child = Child("evaluator", "milepost.engines._process.worker")
        if self._timeout is not None:
            self._child.timeout = max(self._timeout, OPENING_SECONDS)
        self._starved = self._signalled = self._ready = False
        options = {**self._job.options, **({"less": self._less} if self._less else {})}
        job = {"file": self._job.file, "attribute": self._job.attribute, "options": options}
        self._write(self._child, {"method": "open", "job": job})
        return self._child

    def _ask(self, head: dict[str, Json], at_least: float = 0.0) -> Json:
        """Ask, and wait for the answer; `at_least` is the timeout for work that gives no sign of life by itself."""
        self._send(head)
        child = self._child
        if child is not None and self._timeout is not None:
            child.timeout = max(self._timeout, at_least)
        try:
            return self._answer()
        finally:
            if child is not None:
                child.timeout = self._timeout

    def _send(self, head: dict[str, Json]) -> None:
        if self._streaming:
            raise UsageError("the evaluator is in the middle of a unit; ask it before or after")
        if self._child is None:
            self._start()
        if not self._ready:
            self.ready()
            if self._first is not None:
                self._check_same(self._first)
        assert self._child is not None  # noqa: S101 - it was just started
        self._write(self._child, head)

    def _check_same(self, first: Description) -> None:
        """Refuse an evaluation that was opened again and is another one by now: its results have the first's key."""
        try:
            now = from_plain(Description, self._ask({"method": "describe"}, OPENING_SECONDS))
            if what := _differing(first, now):
                raise _changed(self._job, what)
        except MilepostError:
            self.kill()
            raise

    def _write(self, child: Child, head: dict[str, Json]) -> None:
        try:
            wire.send(child.requests, head)
        except wire.WireError as error:
            raise UsageError(f"the evaluator cannot be asked: {error}") from error
        except Unresponsive as error:
            raise self._timed_out(child) from error
        except (BrokenPipeError, ConnectionResetError):
            pass  # It died; its exit is reported where its answer is read.

    def _answer(self) -> Json:
        try:
            head, _ = self._frame()
        except KeyboardInterrupt:
            self.kill()
            raise
        return head["value"]

    def _frame(self) -> wire.Frame:
        child = self._child
        if child is None:
            raise UsageError("the evaluator was closed in the middle of a unit")
        try:
            while (frame := wire.receive(child.replies.readinto)) is not None and frame[0]["kind"] == "beat":
                pass
        except wire.WireError as error:
            raise self._garbled(error) from error
        except Unresponsive as error:
            raise self._timed_out(child) from error
        except (EOFError, OSError) as error:
            raise self._died(child) from error
        if frame is None:
            raise self._died(child)
        if frame[0]["kind"] == "error":
            raise raised(frame[0]["error"])
        return frame

    def _died(self, child: Child) -> Crashed | OutOfMemory:
        self._child = None
        report = child.exit_report()
        self._starved, self._signalled = child.starved, child.signalled
        return OutOfMemory(f"the kernel ended it for lack of memory: {report}") if self._starved else Crashed(report)

    def _timed_out(self, child: Child) -> TimedOut:
        self._child = None
        return TimedOut(child.timeout_report())

    def _garbled(self, error: wire.WireError) -> Crashed:
        self.kill()
        return Crashed(f"the evaluator process sent what cannot be read, and was ended: {error}")

    def _outcome(self, head: dict[str, Any], blobs: list[bytearray]) -> Outcome:
        target = from_plain(Target, head["target"])
        if head["kind"] == "failure":
            return target, Failure(**head["failure"])
        try:
            return target, wire.part_of(head["part"], blobs)
        except wire.WireError as error:
            raise self._garbled(error) from error


def _unusable(job: Job, error: MilepostError) -> EvaluationFileError:
    return EvaluationFileError(f"{job.file} cannot be used: while it was opened, {error}")


def _not_opened(job: Job, seen: Sequence[str]) -> MilepostError:
    return MilepostError(
        f"{job.file} was not opened, though it raised no error: a signal ended each of {len(seen)} evaluator processes "
        f"that began to; of the last: {seen[-1]}\nfind what sends it (a memory limit, a job scheduler, a crash inside "
        "a library), then start again"
    )


def _differing(first: Description, now: Description) -> str:
    """Return what makes two descriptions ones of other results: the code, or the name of a data set; "" for nothing."""
    if now.code.get("version") != first.code.get("version"):
        return "its code"
    return next((name for name, data in first.data.items() if _digest(now, name) != data.digest), "")


def _digest(described: Description, name: str) -> str | None:
    data = described.data.get(name)
    return None if data is None else data.digest


def _changed(job: Job, what: str) -> EvaluationFileError:
    return EvaluationFileError(
        f"{job.file} had to be opened again, and {what} is not what it was when this began: what was finished before "
        "is kept, and nothing was put since; start again"
    )


def timeout_of(job: Job) -> float | None:
    """Return a job's timeout in seconds; None waits for ever."""
    found = job.options.get("timeout")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise UsageError(f"option 'timeout': expected seconds above 0, found {found!r}")
    return float(found)
