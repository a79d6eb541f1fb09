"""Several evaluators side by side give what one gives; one that dies loses only what it was about."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.engines.test_ends import gone, until

from milepost.core.types import CheckpointFiles, Failure, Job, Part, Unit
from milepost.engines._session import RoleSession
from milepost.engines.local import Local
from milepost.errors import DataError, UsageError
from milepost.testing.engines import check_engine, check_survival

MakeUnit = Callable[..., Unit]
FOUR = ("a", "b", "c", "d")


def rows_of(session: RoleSession, unit: Unit) -> dict[str, list[Any]]:
    came: dict[str, list[Any]] = {}
    for target, outcome in session.run([unit]):
        came.setdefault(target.files.path, []).append(outcome)
    return came


def test_contract(job: Callable[..., Job], unit: MakeUnit) -> None:
    # What an error of a whole unit lets through of other shares before it is a matter of chance: one share of those.
    alone = [unit(data, paths=("a",)) for data in ("usage", "unstable", "fail")]
    check_engine(Local, job(workers=2), unit(paths=FOUR), unit(paths=("a", "torn", "b")), *alone)


def test_survives(job: Callable[..., Job], unit: MakeUnit) -> None:
    deadly = [("crashed", unit("segfault", paths=FOUR)), ("timeout", unit("hang", paths=("a",)))]
    check_survival(Local, job(workers=2, timeout=2), unit("quiet", paths=FOUR), deadly)


def test_who_dies_loses_only_its_own_share(job: Callable[..., Job], unit: MakeUnit) -> None:
    with Local().open(job(workers=2)) as session:
        came = rows_of(session, unit("kill once", paths=FOUR))
        ends = {path: type(items[-1]) for path, items in came.items()}
        assert sorted(ends) == list(FOUR)
        assert list(ends.values()).count(Failure) == 2
        whole = [items for path, items in came.items() if ends[path] is Part]
        assert [len(items) for items in whole] == [3, 3]
        assert all(len(items) == 3 for items in rows_of(session, unit("quiet", paths=FOUR)).values())


def test_the_data_s_own_error_ends_them_all(job: Callable[..., Job], unit: MakeUnit) -> None:
    with Local().open(job(workers=3)) as session:
        with pytest.raises(DataError, match="label 11"):
            rows_of(session, unit("data", paths=FOUR))
        assert len(rows_of(session, unit("quiet", paths=FOUR))) == 4


def test_leaving_in_the_middle_ends_what_hangs(job: Callable[..., Job], unit: MakeUnit, tmp_path: Path) -> None:
    with Local().open(job(workers=2)) as session:
        running = session.run([unit("hang", paths=FOUR)])
        next(running)
        until((tmp_path / "mark").exists, "one of them hangs")
        pid = int((tmp_path / "mark").read_text() or 0)
        running.close()  # type: ignore[attr-defined]
        if pid:
            until(partial(gone, pid), f"process {pid} is gone")
        assert len(rows_of(session, unit("quiet", paths=FOUR))) == 4


def test_who_identifies_a_checkpoint_evaluates_it(
    job: Callable[..., Job], unit: MakeUnit, found: Callable[[str], CheckpointFiles]
) -> None:
    with Local().open(job(workers=2)) as session:
        for path in FOUR:
            session.identify(found(path), ["raw"])
        came = rows_of(session, unit("who", paths=FOUR))
        by = {path: {item.environment["identified"] for item in items} for path, items in came.items()}
    assert by == {path: {True} for path in FOUR}


@pytest.mark.parametrize("workers", [0, "2", True, 1.5])
def test_workers_are_counted(workers: object, job: Callable[..., Job]) -> None:
    with pytest.raises(UsageError, match="'workers': expected a whole number from 1"):
        Local().open(job(workers=workers))
