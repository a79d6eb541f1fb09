"""A process that gives no sign of life is ended and says where it hung; one that is only slow is not."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milepost.core.types import CheckpointFiles, Failure, Job, Part, Unit
from milepost.engines._session import RoleSession
from milepost.engines.local import Local
from milepost.errors import UsageError

TIMEOUT = 2


def rows_of(session: RoleSession, unit: Unit) -> dict[str, list[object]]:
    came: dict[str, list[object]] = {}
    for target, outcome in session.run([unit]):
        came.setdefault(target.files.path, []).append(outcome)
    return came


@pytest.mark.parametrize(
    ("how", "where"),
    [("hang", r"fake_evaluator\.py\", line \d+ in _hang\n"), ("deaf", "it wrote nothing")],
)
def test_a_hang_is_a_row_that_says_where(
    how: str, where: str, job: Callable[..., Job], unit: Callable[..., Unit]
) -> None:
    with Local().open(job(timeout=TIMEOUT)) as session:
        came = rows_of(session, unit(how))
        part, failure = came["a"]
        assert isinstance(part, Part)
        assert isinstance(failure, Failure)
        assert failure.kind == "timeout"
        pattern = r"(?s)the evaluator process \d+ gave no sign of life for 2 s and was ended \(--timeout\).*" + where
        assert re.search(pattern, failure.message), failure.message
        assert [len(items) for items in rows_of(session, unit("quiet")).values()] == [3, 3]


def test_slow_work_that_goes_on_is_no_hang(job: Callable[..., Job], unit: Callable[..., Unit]) -> None:
    with Local().open(job(timeout=TIMEOUT)) as session:
        failure = rows_of(session, unit("slow"))["a"][1]
    assert failure == Failure("mismatch", "as slow as it is")


def test_a_file_cut_off_under_its_map_is_torn_and_the_others_only_crashed(
    job: Callable[..., Job], unit: Callable[..., Unit], tmp_path: Path
) -> None:
    files = [tmp_path / "victim.bin", tmp_path / "other.bin"]
    for file in files:
        np.zeros(100_000, np.uint8).tofile(file)
    with Local().open(job()) as session:
        came = rows_of(session, unit("cut off", paths=tuple(map(str, files))))
    torn, crashed = came[str(files[0])][-1], came[str(files[1])][-1]
    assert isinstance(torn, Failure)
    assert isinstance(crashed, Failure)
    assert torn.kind == "torn"
    assert "victim.bin: cut off while it was read: 100,000 bytes of it were needed, 10 are left" in torn.message
    assert f"signal {signal.SIGBUS:d} (SIGBUS)" in torn.message
    assert crashed.kind == "crashed"


def test_one_death_while_loading_is_forgiven(job: Callable[..., Job], found: Callable[[str], CheckpointFiles]) -> None:
    with Local().open(job()) as session:
        (row,) = session.identify(found("once"), ["raw"])
    assert row.failure is None
    assert str(row.digest).startswith("once-raw")


@pytest.mark.parametrize("timeout", [0, -1, "soon", True])
def test_a_timeout_is_seconds(timeout: object, job: Callable[..., Job]) -> None:
    with pytest.raises(UsageError, match="'timeout': expected seconds above 0"):
        Local().open(job(timeout=timeout))
