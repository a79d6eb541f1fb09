"""The law of the one decision: over any store, `run` does exactly what `plan` lists, and then nothing is left.

Where a code check decides, a plan says what follows from either end of it.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests._material import Events, contents

from milepost._internal.serialization import digest
from milepost.core.types import (
    CheckpointFiles,
    DataDescription,
    Description,
    Failure,
    Identified,
    Identity,
    Inspection,
    Json,
    MetricDescription,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)
from milepost.run.code_check import settle_code
from milepost.run.driver import Driver
from milepost.run.items import Item
from milepost.run.plan_rows import Planned, due_checks, planned
from milepost.run.planning import Decision
from milepost.run.request import Request
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.keys import evaluation_key, subject
from milepost.store.store import Store

SIZES = {"test": 700, "fresh": 300}
CUTS = (0, 100, 256, 300, 512, 700)
METRICS = ("a", "b")
DIGESTS = tuple(digest({"name": name}) for name in METRICS)
KINDS = ("crashed", "mismatch", "torn", "model error")
SPEC = Description(
    metrics=tuple(
        MetricDescription({"name": name}, digest({"name": name}), name, ("x",), "higher") for name in METRICS
    ),
    batch_sizes=dict.fromkeys(SIZES, 64),
    column_set="set",
    kept=("x",),
    task={"name": "made up"},
    data={name: DataDescription(size, {"order": {"kind": "natural"}}, digest(name)) for name, size in SIZES.items()},
    code={"version": "v", "files": {}},
)


@dataclass
class Stored:
    """What a made-up store has of one evaluation."""

    covered: frozenset[int]
    failures: tuple[str, ...]
    retry: bool
    scored: frozenset[tuple[str, int]]


@dataclass
class File:
    """A checkpoint: what it holds (weights, or a failure's kind), and what the store knew of it (a kind, retried)."""

    holds: str
    known: str | None
    retry: bool


@dataclass
class Case:
    """A random store, what is asked for, and which weights the model fails on.

    `earlier`: what there is of earlier code, by weights, data and version; `same`: whether the code of now gives what
    that gave.
    """

    files: list[File]
    stored: dict[tuple[str, str, int], Stored]
    options: Request
    broken: dict[str, str] = field(default_factory=dict)
    earlier: dict[tuple[str, str, str], Stored] = field(default_factory=dict)
    same: bool = True


@st.composite
def cases(draw: st.DrawFn) -> Case:
    weights = st.sampled_from(["w1", "w2", "w3"])
    holds = st.one_of(weights, weights, st.sampled_from(KINDS))
    files = draw(st.lists(st.builds(File, holds, st.sampled_from([None, None, *KINDS]), st.booleans()), max_size=5))
    kinds = st.lists(st.sampled_from(KINDS), max_size=2).map(tuple)
    stored = st.builds(
        Stored,
        st.frozensets(st.integers(0, len(CUTS) - 2)) | st.just(frozenset(range(5))),
        kinds,
        st.booleans(),
        st.frozensets(st.tuples(st.sampled_from(METRICS), st.sampled_from([100, 300, 700]))),
    )
    keys = st.tuples(weights, st.sampled_from(list(SIZES)), st.integers(0, 1))
    options = st.builds(
        Request,
        st.just(()),
        st.just(""),
        data=st.sampled_from([None, "test"]),
        limit=st.sampled_from([None, 100, 300, 5000]),
        again=st.booleans(),
    )
    broken = st.dictionaries(weights, st.sampled_from(["mismatch", "model error"]), max_size=1)
    versions = st.tuples(weights, st.sampled_from(list(SIZES)), st.sampled_from("tu"))
    now = st.dictionaries(keys, stored, max_size=6)
    earlier: st.SearchStrategy[dict[tuple[str, str, str], Stored]] = st.just({})
    if draw(st.booleans()):  # a check comes first where the code of now has nothing yet
        now, earlier = st.just({}) | now, st.dictionaries(versions, stored, min_size=1, max_size=6)
    return Case(files, draw(now), draw(options), draw(broken), draw(earlier), draw(st.booleans()))


class Fake:
    """A session of no model: it answers as scripted, and notes what it was asked for."""

    def __init__(self, store: Store, case: Case) -> None:
        self.store, self.case = store, case
        self.rows: Counter[tuple[str, str, int, int]] = Counter()
        self.scored: Counter[tuple[str, str, tuple[str, ...]]] = Counter()

    def describe(self) -> Description:
        return SPEC

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        raise NotImplementedError

    def inspect(self, path: str) -> Inspection:
        raise NotImplementedError

    def table(self, files: CheckpointFiles) -> Table:
        raise NotImplementedError

    def sandbox_warning(self) -> str | None:
        return None

    def close(self) -> None:
        pass

    def identify(self, files: CheckpointFiles, variants: Sequence[str]) -> list[Identified]:
        holds = self.case.files[files.identity.inode].holds
        if holds in KINDS:
            return [Identified("raw", failure=Failure(holds, f"{files.path}: as scripted"))]
        return [Identified("raw", digest=holds)]

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Target, Part | Failure]]:
        for unit in units:
            for target in unit.targets:
                weights = str(target.digest)
                if unit.sample and weights not in self.case.broken:
                    drawn = np.array(unit.sample)
                    yield target, Part(0, unit.stop, {"x": drawn if self.case.same else drawn + 1, "data.label": drawn})
                    continue
                if unit.sample:
                    yield target, Failure("mismatch", "as scripted")
                    continue
                self.rows[weights, unit.data, unit.start, unit.stop] += 1
                if weights in self.case.broken:
                    yield target, Failure(self.case.broken[weights], "as scripted")
                else:
                    yield target, part(unit.start, unit.stop)

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        weights = str((self.store.evaluation(request.key).spec() or {})["weights"])
        self.scored[weights, request.data, request.metrics] += 1
        for metric in request.metrics:
            score(self.store, request.key, METRICS[DIGESTS.index(metric)], request.stop)
        return []


def part(start: int, stop: int) -> Part:
    rows = np.arange(start, stop)
    return Part(start, stop, {"x": rows, "data.label": rows})


def score(store: Store, key: str, metric: str, stop: int) -> None:
    for size in (None, 64):
        payload = {
            "metric": {"name": metric},
            "estimator": "batch_mean" if size else "exact",
            "batch_size": size,
            "slice": "all",
            "coverage": [[0, stop]],
            "size": stop,
            "data": "test",
            "status": "ok",
            "values": [],
        }
        store.evaluation(key).results.publish([(payload, {})])


def filled(folder: Path, case: Case) -> tuple[Store, list[CheckpointFiles]]:
    """Make the store of a case, and its checkpoints."""
    store = Store.create(folder / "evals")
    fill(store, case)
    found = []
    run = store.run_of(folder)
    for number, file in enumerate(case.files):
        path, identity = str(folder / f"step-{number}.npz"), Identity(1, number, 1, 1, 1)
        found.append(CheckpointFiles(path, "npz", (path,), identity))
        if file.known is not None:
            known = CheckpointRecord(run, path, identity, f"step-{number}", failure=(file.known, "as known"))
            store.add_checkpoint(known)
            if file.retry:
                store.retry_requests.put(known)
    return store, found


def fill(store: Store, case: Case) -> None:
    for code in sorted({code for _, _, code in case.earlier}):
        store.codes.add({"version": code, "files": {}})
    now = {(weights, data, key_of(weights, data, number)): one for (weights, data, number), one in case.stored.items()}
    before = {
        (weights, data, key_of(weights, data, code=code)): one for (weights, data, code), one in case.earlier.items()
    }
    for (weights, data, key), one in (before | now).items():
        size = SIZES[data]
        evaluation = store.evaluation(key)
        evaluation.describe({"weights": weights, "data": SPEC.data[data].digest})
        for at in one.covered:
            if CUTS[at + 1] <= size:
                rows = np.arange(CUTS[at], CUTS[at + 1])
                evaluation.parts("set").publish(Part(CUTS[at], CUTS[at + 1], {"x": rows}), size)
        for attempt, kind in enumerate(one.failures, 1):
            evaluation.failures.publish(attempt, {"kind": kind, "message": f"attempt {attempt}"})
        if one.retry and one.failures:
            evaluation.failures.request_retry()
        for metric, stop in one.scored:
            if stop <= size and not case_lacks(one, stop):
                score(store, key, metric, stop)


def case_lacks(one: Stored, stop: int) -> bool:
    return any(at not in one.covered for at in range(len(CUTS) - 1) if CUTS[at] < stop)


def key_of(weights: str, data: str, repetition: int = 0, code: str = "v") -> str:
    return evaluation_key(weights, SPEC.data[data].digest, subject(asdict(SPEC)), code, repetition)


def listed(store: Store, session: Fake, case: Case, found: list[CheckpointFiles]) -> list[Planned]:
    driver = Driver(store, session, None, case.options, lambda _: None)
    return list(planned(driver, found, due_checks(driver, found)))


def decision_of(one: Planned, case: Case) -> Decision:
    """Return what a plan decides, given what the code check finds."""
    assert isinstance(one.decided, Item)
    if one.check is None:
        return one.decided.decision
    assert one.if_same is not None
    weights = {str(recorded.target.digest) for recorded in one.check.recorded}
    return one.if_same if case.same and weights.isdisjoint(case.broken) else one.decided.decision


WHOLE = Stored(frozenset(range(5)), (), False, frozenset())
CHECKED = Case(
    files=[File("w1", None, False), File("w2", None, False)],
    stored={},
    options=Request((), "", data="test"),
    earlier={("w1", "test", "t"): WHOLE, ("w1", "fresh", "t"): WHOLE},
)
"""A check decides about the first checkpoint; the second has no results of any code."""


def test_a_plan_names_what_a_check_decides_and_nothing_else(tmp_path: Path) -> None:
    store, found = filled(tmp_path, CHECKED)
    first, second = listed(store, Fake(store, CHECKED), CHECKED, found)
    assert first.check is not None
    assert (first.check.names, decision_of(first, CHECKED).action) == (["step-0"], "score")
    assert decision_of(first, replace(CHECKED, same=False)).action == "evaluate"
    assert (second.check, decision_of(second, CHECKED).action) == (None, "evaluate")


@pytest.fixture(autouse=True)
def _forced_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a store decides does not depend on whether the disk has it already."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(), st.integers(1, 3))
@example(CHECKED, 1)
@example(replace(CHECKED, same=False), 1)
def test_run_does_what_plan_lists(case: Case, per_pass: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        store, found = filled(Path(place), case)
        before = contents(store.path)
        plan = listed(store, Fake(store, case), case, found)
        assert contents(store.path) == before  # a plan writes nothing

        store = Store.open(store.path)
        events, session = Events(), Fake(store, case)
        with store.worker() as worker:
            driver = Driver(store, session, worker, case.options, events.append)
            settle_code(driver, found)
            for begin in range(0, len(found), per_pass):
                driver.work(found[begin : begin + per_pass])
            driver.wait()
        assert not vars(driver.store)["_specs"]  # a driver's memory does not grow with checkpoints

        items = [(one.decided, decision_of(one, case)) for one in plan if isinstance(one.decided, Item)]
        known = [one.decided for one in plan if isinstance(one.decided, CheckpointRecord)]
        failed = [(one.path, *one.failure) for one in known if one.failure]
        rows, scored, skipped = Counter[Any](), Counter[Any](), list[Any]()
        for item, decision in items:
            weights, path = str(item.target.digest), item.checkpoint.path
            breaks = case.broken.get(weights) if decision.action == "evaluate" else None
            for start, stop in decision.gaps[: 1 if breaks else None]:
                rows[weights, item.data, start, stop] += 1
            if decision.metrics and not breaks:
                scored[weights, item.data, decision.metrics] += 1
            if decision.action in ("score", "skip"):
                skipped.append((path, decision.reason))
            elif decision.action == "failed":
                assert decision.failure is not None
                failed.append((path, decision.failure.kind, decision.failure.message))
            elif breaks:
                failed.append((path, breaks, "as scripted"))
        assert session.rows == rows
        assert session.scored == scored
        states = events.of("checkpoint")
        assert Counter((one["path"], one["reason"]) for one in states if one["state"] == "skipped") == Counter(skipped)
        assert Counter((one["path"], one["class"], one["message"]) for one in events.of("failure")) == Counter(failed)
        done = Counter(one["path"] for one in states if one["state"] == "done")
        broken = case.broken
        evaluated = [
            one for one, decision in items if decision.action == "evaluate" and one.target.digest not in broken
        ]
        assert done == Counter(one.checkpoint.path for one in evaluated)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_after_a_run_nothing_is_left(case: Case) -> None:
    """What may pass by itself, and what is asked for again, aside."""
    case.options = replace(case.options, again=False)
    with tempfile.TemporaryDirectory() as place:
        store, found = filled(Path(place), case)
        with store.worker() as worker:
            driver = Driver(store, Fake(store, case), worker, case.options, lambda _: None)
            settle_code(driver, found)
            driver.work(found)
        every = listed(store, Fake(store, case), case, found)
        left = [one.decided for one in every if isinstance(one.decided, Item)]
        assert {one.decision.action for one in left} <= {"skip", "failed"}
