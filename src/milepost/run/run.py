"""Evaluating what is missing: `run`, and `plan`, which lists what `run` would do."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
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
from milepost.run.items import Item
from milepost.run.request import Request, check_place, open_session, report_sandbox
from milepost.store.evaluations import partial_of
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
    """Return what `run` would do with each checkpoint, variant and data set, and why; publish nothing."""
    with closing(Spool()) as scratch:  # which is swept where this process is killed
        there = Path(request.store, "store.json").exists()
        place = request.store if there else str(scratch.folder())
        rows: dict[tuple[Json, ...], dict[str, Json]] = {}
        with closing(_each(request, place, listen, publish=False)) as every:
            for driver, checkpoints in every:  # what two evaluations report alike, of a torn file, is one row
                rows.update((tuple(row.values()), row) for row in _planned(driver, checkpoints))
        return list(rows.values())


def _planned(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> Iterator[dict[str, Json]]:
    paces = {data: _pace(driver, data) for data in driver.data}
    for decided in (one for files in checkpoints for one in driver.decided(files)):
        checkpoint = decided.checkpoint if isinstance(decided, Item) else decided
        row = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant", "digest")}
        if isinstance(decided, Item):
            decision, data = decided.decision, decided.data
            reasons = [decision.reason, _code_check(driver, decided), partial_of(checkpoint.notes)]
            row |= {"data": data, "action": decision.action, "reason": "; ".join(filter(None, reasons))}
            pace = paces[data] if decision.rows else 0.0
            yield {**row, "rows": decision.rows, "seconds": None if pace is None else pace * decision.rows}
        else:
            kind, message = checkpoint.failure or ("", "")
            reason = f"{kind}: {message}"
            yield {**row, "data": None, "action": "failed", "reason": reason, "rows": 0, "seconds": None}


def _code_check(driver: Driver, item: Item) -> str:
    """Return what a plan cannot know: whether the results of earlier code stand, which the run's code check decides."""
    code = driver.spec.code["version"]
    asked = item.decision.action == "evaluate" and not item.coverage and not driver.items.again
    known = driver.store.codes.all() if asked else []
    if not known or len(driver.items.standing(item.data)) > 1 or code in [one["version"] for one in known]:
        return ""
    return f"its code version {code} is new: a code check decides whether the results of an earlier one stand"


def _pace(driver: Driver, data: str) -> float | None:
    """Return seconds a row, from what the store has of the same data; None where it has nothing."""
    for key in reversed(driver.store.evaluations()[-50:]):
        folder = driver.store.evaluation(key)
        spec = folder.spec()
        for name in folder.column_sets() if spec is not None and spec["data"] == driver.data[data].digest else ():
            environments = folder.parts(name).read().environments()
            rows = sum(item["rows"] for item in environments)
            seconds = sum(sum(item.get("timings", {}).values()) for item in environments)
            if rows and seconds:
                return float(seconds / rows)
    return None


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
