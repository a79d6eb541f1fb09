"""Evaluating what is missing: `run`, and `plan`, which says what `run` would do."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from milepost._internal.ranges import covered
from milepost._internal.text import natural
from milepost.checkpoints._files.shards import from_prefix
from milepost.checkpoints.discovery import looked_for
from milepost.checkpoints.names import step_of_name
from milepost.core.types import CheckpointFiles, Json
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import PLAIN, name_of
from milepost.registry import resolve
from milepost.run.code_check import settle_code
from milepost.run.driver import Driver, Listen, Options
from milepost.run.request import Request, check_place, open_session, tell_sandbox
from milepost.store.evaluations import partial_of
from milepost.store.store import Store


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended, counted in checkpoints (files or folders); what came out is in the store.

    A checkpoint counts once, however many data sets and evaluations of one file it was taken through.
    """

    evaluated: int
    skipped: int
    failed: int
    contents: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def run(request: Request, listen: Listen) -> Summary:
    """Evaluate every checkpoint that the request names as far as results are missing, and record them.

    `listen` is told of everything as it happens.  A checkpoint that fails is a row; UsageError and DataError end the
    run.  A file's dict `evaluations` is worked off one after the other, each in a session of its own.
    """
    outcomes: dict[str, set[str]] = {}
    contents: dict[str, None] = {}
    told = _Told(listen)
    with closing(_each(request, request.store, told, publish=True)) as every:
        for driver, checkpoints in every:
            _work(request, driver, checkpoints, told)
            for path, ends in driver.outcomes.items():
                outcomes.setdefault(path, set()).update(ends)
            contents.update(dict.fromkeys(driver.contents))
    failed = sum("failed" in ends for ends in outcomes.values())
    evaluated = sum("done" in ends and "failed" not in ends for ends in outcomes.values())
    skipped = len(outcomes) - failed - evaluated
    listen({"event": "done", "evaluated": evaluated, "skipped": skipped, "failed": failed})
    return Summary(evaluated, skipped, failed, list(contents), list(outcomes))


def _work(request: Request, driver: Driver, checkpoints: Sequence[CheckpointFiles], listen: Listen) -> None:
    code = driver.spec.code["version"]
    listen({"event": "start", "store": str(driver.store.path), "code": code, "checkpoints": len(checkpoints)})
    if driver.spec.entry:
        listen({"event": "note", "message": f"evaluation {driver.spec.entry}"})
    settle_code(driver, checkpoints)
    together = request.per_pass * request.workers
    for begin in range(0, len(checkpoints), together):
        driver.work(checkpoints[begin : begin + together])
        for found in checkpoints[begin : begin + together]:
            driver.identifier.forget(found.path)  # it is in the store
    driver.wait()


class _Told:
    """Tells each thing once: no second evaluation's start, and no failure that an earlier one met in the same words."""

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
    """Return what `run` would do with each checkpoint, variant and data set, and why; nothing is published."""
    with TemporaryDirectory() as scratch:
        there = Path(request.store, "store.json").exists()
        place = request.store if there else scratch
        rows: dict[tuple[Json, ...], dict[str, Json]] = {}
        with closing(_each(request, place, listen, publish=False)) as every:
            for driver, checkpoints in every:  # what one evaluation says as another did, of a torn file, is one row
                rows.update((tuple(row.values()), row) for row in _planned(driver, checkpoints))
        return list(rows.values())


def _planned(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> Iterator[dict[str, Json]]:
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for found in checkpoints:
        for checkpoint in driver.identify(found):
            shown = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant", "digest")}
            if checkpoint.failure is not None:
                kind, message = checkpoint.failure
                row = {"data": None, "action": "failed", "reason": f"{kind}: {message}", "rows": 0, "seconds": None}
                yield {**shown, **row}
                continue
            for data in driver.data:
                item = driver.item(checkpoint, found, data)
                rows = sum(stop - start for start, stop in item.gaps)
                ours = checkpoint.path, checkpoint.variant
                first = seen.setdefault((item.key, data), ours)
                if first != ours:
                    action, reason, rows = "skip", f"same content as {os.path.basename(first[0])} ({first[1]})", 0
                elif rows:
                    action, reason = "evaluate", _why(driver, item.stop, covered(item.have, item.stop))
                elif driver.unscored(item):
                    action, reason = "skip", "all rows are kept; new metrics are scored from them without the model"
                else:
                    action, reason = "skip", "nothing is missing"
                partial = partial_of(checkpoint.notes)
                reason += f"; {partial}" if partial else ""
                seconds = _estimate(driver, data, rows)
                yield {**shown, "data": data, "action": action, "reason": reason, "rows": rows, "seconds": seconds}


def _why(driver: Driver, stop: int, have: int) -> str:
    if have:
        return f"{have:,} of {stop:,} rows are there"
    code = driver.spec.code["version"]
    known = [item["version"] for item in driver.store.codes()]
    if known and code not in known:
        return f"no result with this code (version {code} is new); a probe decides whether earlier ones stand"
    return "no result on this data yet"


def _estimate(driver: Driver, data: str, rows: int) -> float | None:
    """Seconds from the pace of what the store has of the same data; None where it has nothing."""
    if not rows:
        return 0.0
    digest = driver.data[data].digest
    for key in reversed(driver.store.evaluations()[-50:]):
        folder = driver.store.evaluation(key)
        spec = folder.spec()
        if spec is not None and spec["data"] == digest:
            for name in folder.column_sets():
                found = folder.parts(name).read().environments()
                done = sum(item["rows"] for item in found)
                seconds = sum(sum(item.get("timings", {}).values()) for item in found)
                if done and seconds:
                    return float(seconds / done * rows)
    return None


def _each(
    request: Request, place: str, listen: Listen, *, publish: bool
) -> Generator[tuple[Driver, list[CheckpointFiles]], None, None]:
    """Open the request's evaluation, or one after the other where its file holds several; close it when asked on."""
    waiting, have, served = [request], list[str](), False
    while waiting:
        with _opened(waiting.pop(0), place, listen, publish=publish) as (driver, checkpoints):
            if not have:
                tell_sandbox(driver.session, listen)
            # The first session took the first entry, and told the names of all.
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
        check_place(place, checkpoints)
        store = Store.create(place)
        if publish:
            store.sweep()
        with store.worker() if publish else nullcontext() as worker:
            options = Options(request.data, request.limit, request.again)
            yield Driver(store, session, worker, options, listen), checkpoints
    finally:
        session.close()


def _ordered(request: Request, checkpoints: Sequence[CheckpointFiles]) -> list[CheckpointFiles]:
    """Return the checkpoints in order of step, those whose names tell none (last, best) behind the others."""
    if not checkpoints:
        where = ", ".join(request.checkpoints)
        narrowed = f" that match {request.match!r}" if request.match else ""
        raise UsageError(f"no checkpoints{narrowed} in {where}: {looked_for()}")

    def order(found: CheckpointFiles) -> tuple[Any, ...]:
        step = step_of_name(found.path)
        return os.path.dirname(found.path), step is None, step or 0, natural(found.path)

    return sorted(checkpoints, key=order)


def run_evaluation(
    evaluation: Evaluation,
    checkpoints: Sequence[str],
    listen: Callable[[dict[str, Json]], None] | None = None,
    **options: Any,
) -> Any:
    """Run a live evaluation and return its results, which print as a table."""
    engine = options.pop("engine", "inprocess")
    paths = tuple(str(path) for path in checkpoints)
    name = name_of(evaluation)
    if name is None and evaluation.file is not None and engine != "inprocess":
        raise UsageError(
            f"engine={engine!r}: another process would import {os.path.basename(evaluation.file)}, which holds this "
            "evaluation under no name; give it a variable of the file, one of `evaluations`, or use engine='inprocess'"
        )
    request = Request(
        checkpoints=paths, file=evaluation.file, attribute=name or PLAIN, live=evaluation, engine=engine, **options
    )
    summary = run(request, listen or (lambda _: None))
    return resolve("milepost.report.results:RunResults")(request.store, summary)
