"""Evaluating what is missing: `run`, and `plan`, which lists what `run` would do."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from milepost._internal.text import natural
from milepost.checkpoints._files.shards import from_prefix
from milepost.checkpoints.discovery import looked_for
from milepost.checkpoints.folders import run_folder
from milepost.checkpoints.names import step_of_name
from milepost.core.types import CheckpointFiles, Json
from milepost.engines._spool import Spool
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import PLAIN, name_of
from milepost.run.code_check import settle_code
from milepost.run.driver import Driver
from milepost.run.events import Listen
from milepost.run.plan_rows import planned_rows
from milepost.run.request import Request, check_place, open_session, report_sandbox
from milepost.store.store import Store

if TYPE_CHECKING:
    from milepost.report.results import RunResults


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended, counted in checkpoints (files or folders); what came out is in the store.

    A checkpoint counts once, however many data sets and evaluations of one file it was taken through.  `checked` are
    those of which a code check predicted rows; they are among the others.
    """

    evaluated: int
    skipped: int
    failed: int
    weights: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    checked: int = 0


def run(request: Request, listen: Listen) -> Summary:
    """Evaluate every checkpoint that the request names as far as results are missing, and record them.

    `listen` is called with every event as it happens.  A checkpoint that fails is a row; UsageError and DataError end
    the run.  Of a file's dict `evaluations` one is run after the other, each in a session of its own.
    """
    outcomes: dict[str, set[str]] = {}
    weights: dict[str, None] = {}
    checked = set[str]()
    listen = _Once(listen)
    with closing(_each(request, request.store, listen, publish=True)) as every:
        for driver, checkpoints in every:
            _work(request, driver, checkpoints)
            for path, ends in driver.reporter.outcomes.items():
                outcomes.setdefault(path, set()).update(ends)
            weights.update(driver.weights)
            checked |= driver.reporter.checked
    failed = sum("failed" in ends for ends in outcomes.values())
    evaluated = sum("done" in ends and "failed" not in ends for ends in outcomes.values())
    skipped = len(outcomes) - failed - evaluated
    listen({"event": "done", "evaluated": evaluated, "skipped": skipped, "failed": failed})
    return Summary(evaluated, skipped, failed, list(weights), list(outcomes), len(checked))


def _work(request: Request, driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> None:
    code, report = driver.spec.code["version"], driver.reporter
    report.listen({"event": "start", "store": str(driver.store.path), "code": code, "checkpoints": len(checkpoints)})
    if driver.spec.entry:
        report.note(f"evaluation {driver.spec.entry}")
    settle_code(driver, checkpoints)
    together = request.per_pass * request.workers
    for begin in range(0, len(checkpoints), together):
        driver.work(checkpoints[begin : begin + together])
        for files in checkpoints[begin : begin + together]:
            driver.identifier.forget(files.path)  # it is in the store
    driver.wait()
    report.repeated()


class _Once:
    """Passes on each thing once: no second evaluation's start, and no failure that an earlier one met as well."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._earlier: set[tuple[Json, ...]] = set()
        self._own: set[tuple[Json, ...]] = set()
        self._started = False

    def __call__(self, event: dict[str, Json]) -> None:
        if event["event"] == "failure":
            failure = event["path"], event["class"], event["message"]
            self._own.add(failure)
            if failure in self._earlier:
                return
        elif event["event"] == "start":
            self._earlier |= self._own
            if self._started:
                return
            self._started = True
        self._listen(event)


def plan(request: Request, listen: Listen) -> list[dict[str, Json]]:
    """Return what `run` would do with each checkpoint, variant and data set, and why; publish nothing.

    Of what the run's code check decides, the action is "check": see `plan_rows`.
    """
    with closing(Spool()) as scratch:  # which is swept where this process is killed
        there = os.path.exists(os.path.join(request.store, "store.json"))
        place = request.store if there else str(scratch.folder())
        rows: dict[tuple[Json, ...], dict[str, Json]] = {}
        with closing(_each(request, place, listen, publish=False)) as every:
            for driver, checkpoints in every:  # what two evaluations report alike, of a torn file, is one row
                rows.update((tuple(row.values()), row) for row in planned_rows(driver, checkpoints))
        return list(rows.values())


def _each(
    request: Request, place: str, listen: Listen, *, publish: bool
) -> Generator[tuple[Driver, list[CheckpointFiles]], None, None]:
    """Open the request's evaluation, or one after the other where its file holds several; close it when asked on."""
    waiting, have, served = [request], list[str](), False
    while waiting:
        with _opened(waiting.pop(0), place, listen, publish=publish) as (driver, checkpoints):
            if not have:
                report_sandbox(driver.session, listen)
            # The first session took the first entry, and describes all.
            waiting += [replace(request, attribute=name) for name in driver.spec.entries[1:]]
            have += driver.spec.data
            if driver.data:
                served = True
                yield driver, checkpoints
    if not served:
        raise UsageError(f"--data {request.data}: the evaluation has no such data set; it has: {', '.join(have)}")


@contextmanager
def _opened(
    request: Request, place: str, listen: Listen, *, publish: bool
) -> Iterator[tuple[Driver, list[CheckpointFiles]]]:
    """Open engine, store and worker, and find the checkpoints; the store is made only once something was found."""
    session = open_session(request)
    try:
        checkpoints = _ordered(request, session.discover(list(map(from_prefix, request.checkpoints)), request.match))
        check_place(place, request.checkpoints, checkpoints)
        session.describe()  # a file that cannot be used makes no store
        store = Store.create(place)
        if publish:
            store.sweep()
        with store.worker() if publish else nullcontext() as worker:
            yield Driver(store, session, worker, request, listen), checkpoints
    finally:
        session.close()


def _ordered(request: Request, checkpoints: Sequence[CheckpointFiles]) -> list[CheckpointFiles]:
    """Return the checkpoints in order of step, those whose names have none (last, best) behind the others."""
    if not checkpoints:
        where = ", ".join(request.checkpoints)
        narrowed = f" that match {request.match!r}" if request.match else ""
        raise UsageError(f"no checkpoints{narrowed} in {where}: {looked_for()}")

    def order(found: CheckpointFiles) -> tuple[Any, ...]:
        step = step_of_name(found.path)
        return natural(run_folder(found.path)), step is None, step or 0, natural(found.path)

    return sorted(checkpoints, key=order)


def run_evaluation(
    evaluation: Evaluation,
    checkpoints: Sequence[str],
    listen: Callable[[dict[str, Json]], None] | None = None,
    **options: Any,
) -> "RunResults":
    """Run a live evaluation and return its results, which print as a table."""
    engine = options.pop("engine", "inprocess")
    paths = tuple(str(path) for path in checkpoints)
    name = name_of(evaluation)
    if name is None and evaluation.file is not None and engine != "inprocess":
        raise UsageError(
            f"engine={engine!r} imports {os.path.basename(evaluation.file)} again, but this Evaluation is not assigned "
            "to a variable there: assign it, or use engine='inprocess'"
        )
    request = Request(
        checkpoints=paths, file=evaluation.file, attribute=name or PLAIN, live=evaluation, engine=engine, **options
    )
    summary = run(request, listen or (lambda _: None))
    from milepost.report.results import RunResults  # noqa: PLC0415 - a report lies above a run

    return RunResults(request.store, summary)
