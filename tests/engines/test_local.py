"""The spawned evaluator: its deaths are rows, its errors arrive, its prints go to standard error."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost import errors
from milepost.core.types import CheckpointFiles, Failure, Identified, Job, Part, ScoreRequest, Unit
from milepost.engines._process import remote
from milepost.engines._session import RoleSession
from milepost.engines.inprocess import InProcess
from milepost.engines.local import Local

MakeJob = Callable[..., Job]
MakeUnit = Callable[..., Unit]


@pytest.fixture
def session(job: MakeJob) -> Iterator[RoleSession]:
    with Local().open(job()) as opened:
        yield opened


def rows(session: RoleSession, unit: Unit) -> dict[str, list[Any]]:
    came: dict[str, list[Any]] = {}
    for target, outcome in session.run([unit]):
        came.setdefault(target.files.path, []).append(outcome)
    return came


def wait_for_end(*pids: int) -> None:
    """Poll until the processes are gone; the test's own time limit bounds it."""
    for pid in pids:
        for _ in range(3000):
            if not alive(pid):
                break
            os.sched_yield()
            pause()
        assert not alive(pid), f"process {pid} is still there"


def pause() -> None:
    threading.Event().wait(0.01)


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", r"died with signal 9 \(SIGKILL\), .*perhaps memory ran out; the last lines it wrote:\nlast words"),
        ("segfault", r"(?s)died with signal 11 \(SIGSEGV\).*Segmentation fault.*first\):\n  File .*in string_at"),
        ("flood", r"died with exit code 3; the last lines it wrote:\nx{300} \.\.\.\nthe last line$"),
        ("hard exit", r"died with exit code 3"),
    ],
)
def test_a_death_is_a_row_of_every_target_and_the_next_unit_goes_on(
    session: RoleSession, unit: MakeUnit, how: str, message: str
) -> None:
    came = rows(session, unit(how))
    assert [type(item) for item in came["a"]] == [Part, Failure]
    for items in came.values():
        assert items[-1].kind == "crashed"
        assert_matches(message, items[-1].message)
    assert [len(items) for items in rows(session, unit("quiet")).values()] == [3, 3]


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text


def test_who_had_all_its_rows_before_the_death_did_not_fail(session: RoleSession, unit: MakeUnit) -> None:
    came = rows(session, unit("kill", stop=256))
    assert [type(item) for item in came["a"]] == [Part]
    assert [item.kind for item in came["b"]] == ["crashed"]


def test_a_grandchild_goes_with_a_dead_evaluator(session: RoleSession, unit: MakeUnit, tmp_path: Path) -> None:
    came = rows(session, unit("hang with child"))
    assert came["b"][0].kind == "crashed"
    wait_for_end(*map(int, (tmp_path / "mark").read_text().split()))


def test_prints_and_reads_of_the_user_do_not_touch_the_protocol(
    session: RoleSession, unit: MakeUnit, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [len(items) for items in rows(session, unit("print")).values()] == [3, 3]
    session.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("printed by the user") == 10_000
    assert "written to descriptor 1" in err
    assert "printed by a grandchild" in err


def test_large_columns_cross_whole(session: RoleSession, unit: MakeUnit) -> None:
    columns = rows(session, unit("huge", stop=100))["a"][1].columns
    assert columns["logits"].shape == (100, 125_000)
    assert columns["logits"].dtype == np.float32
    assert (columns["logits"] == 1.5).all()


def test_a_column_of_objects_is_refused_with_its_name(session: RoleSession, unit: MakeUnit) -> None:
    failure = rows(session, unit("objects"))["a"][-1]
    assert failure.kind == "model error"
    assert "column 'objects' has dtype object" in failure.message


@pytest.mark.parametrize("engine", [InProcess, Local])
def test_a_file_that_fails_says_so(engine: type[InProcess | Local], job: MakeJob) -> None:
    def opened(name: str) -> None:
        with closing(engine().open(job(name))) as session:
            session.describe()

    with pytest.raises(errors.UsageError, match="unknown device 'tpu9'") as usage:
        opened("usage")
    assert type(usage.value) is errors.UsageError
    with pytest.raises(errors.MissingExtra, match=r"pip install 'milepost\[torch\]'"):
        opened("extra")
    with pytest.raises(
        errors.EvaluationFileError, match=r'(?s)eval.py cannot be used.*fake_evaluator.py", line \d+.*Index'
    ):
        opened("bug")
    with pytest.raises(errors.EvaluationFileError, match=r"SystemExit: 5"):
        opened("exit")


def test_an_exit_while_opening_is_an_error_of_the_file(job: MakeJob, temporary: Path) -> None:
    with (
        closing(Local().open(job("leave"))) as session,
        pytest.raises(errors.EvaluationFileError, match=r"(?s)while it was opened.*exit code 7.*no library"),
    ):
        session.describe()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("kills", "opened"), [(2, 3), (99, 3)])
def test_a_signal_while_opening_is_none_of_the_file_and_is_tried_again(
    kills: int, opened: int, job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "OPENING_WAITS", (0.0, 0.0))
    log = tmp_path / "opened"
    with closing(Local().open(job("kill", opened=str(log), kills=kills))) as session:
        if kills < opened:
            session.describe()
        else:
            with pytest.raises(
                errors.MilepostError, match=r"(?s)a signal ended each of 3 .*SIGKILL.*no library"
            ) as died:
                session.describe()
            assert not isinstance(died.value, errors.UsageError | errors.CheckpointError)
    assert log.stat().st_size == opened


def test_no_file_is_a_usage_error(job: MakeJob) -> None:
    with pytest.raises(errors.UsageError, match='engine="inprocess"'):
        Local().open(job(file=None))


def test_a_live_object_reaches_the_evaluator_in_process_only(job: MakeJob) -> None:
    with InProcess().open(job(live=[1, 2])) as session:
        assert session.describe().environment["live"] == "[1, 2]"


def test_roles_are_processes_of_their_own(session: RoleSession) -> None:
    evaluator = session.describe().environment["pid"]
    reader = session.inspect("x").table.step
    assert reader is not None
    assert len({os.getpid(), evaluator, reader}) == 3
    session.close()
    wait_for_end(evaluator, reader)


@pytest.mark.parametrize("engine", [InProcess, Local])
def test_identify_is_rows_even_where_a_checkpoint_fails(
    engine: type[InProcess | Local], job: MakeJob, found: Callable[[str], CheckpointFiles]
) -> None:
    with engine().open(job()) as session:

        def identify(path: str) -> list[Identified]:
            return session.identify(found(path), ["raw", "ema"])

        good = identify("a")
        assert [(row.variant, row.digest, row.step) for row in good] == [
            ("raw", "a-raw-4", 7),
            ("ema", "a-ema-4", 7),
        ]
        assert [row.failure and row.failure.kind for row in identify("torn")] == ["torn", "torn"]
        strange = identify("bug-reader")[0].failure
        assert strange is not None
        assert strange.kind == "corrupt"
        assert "KeyError: 'bug-reader'" in strange.message
        assert [row.failure and row.failure.kind for row in identify("bug")] == ["model error", "model error"]


def test_a_checkpoint_that_kills_is_a_crashed_row_and_the_next_is_read(
    session: RoleSession, found: Callable[[str], CheckpointFiles]
) -> None:
    for path, role in [("killer", "evaluator"), ("die", "reader"), ("garbage", "reader")]:
        failure = session.identify(found(path), ["raw"])[0].failure
        assert failure is not None
        assert failure.kind == "crashed"
        assert f"the {role} process" in failure.message
        assert session.identify(found("a"), ["raw"])[0].digest


def test_an_answer_of_another_shape_is_no_answer(session: RoleSession, found: Callable[[str], CheckpointFiles]) -> None:
    failure = session.identify(found("odd"), ["raw"])[0].failure
    assert failure is not None
    assert failure.kind == "crashed"
    assert "which is no answer, and was ended" in failure.message


def test_a_question_in_the_middle_of_a_unit_is_refused(session: RoleSession, unit: MakeUnit) -> None:
    running = session.run([unit()])
    next(running)
    with pytest.raises(errors.UsageError, match="in the middle of a unit"):
        session.describe()
    assert session.discover(["x"])[0].path == "x"
    assert len(list(running)) == 5


def test_the_spool_holds_a_few_checkpoints_only(
    session: RoleSession, found: Callable[[str], CheckpointFiles], temporary: Path
) -> None:
    tables = [session.table(found(f"c{number}")) for number in range(20)]
    files = [Path(table.tensors[0].where.file) for table in tables]
    assert [file.exists() for file in files] == [False] * 16 + [True] * 4
    session.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("engine", [InProcess, Local])
def test_the_real_reader_fills_the_spool(
    engine: type[InProcess | Local], job: MakeJob, tmp_path: Path, temporary: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    weights = np.arange(1000, dtype=np.float32)
    np.savez_compressed(runs / "step-900.npz", w=weights)
    (runs / "step-901.npz").write_bytes(b"no archive")
    with engine().open(job(reader="milepost.checkpoints.reader:Reader")) as session:
        good, bad = session.discover([str(runs)])
        where = session.table(good).tensors[0].where
        np.testing.assert_array_equal(np.fromfile(where.file, "<f4", 1000, offset=where.offset), weights)
        assert Path(where.file).is_relative_to(temporary)
        failure = session.identify(bad, ["raw"])[0].failure
        assert failure is not None
        assert failure.kind in ("corrupt", "torn")
        with pytest.raises(errors.CheckpointError, match=r"step-901\.npz"):
            session.table(bad)
        with pytest.raises(errors.UsageError, match="nowhere"):
            session.discover([str(runs / "nowhere")])
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("engine", [InProcess, Local])
def test_score_passes_through_and_its_bugs_are_errors_of_the_file(
    engine: type[InProcess | Local], job: MakeJob
) -> None:
    with engine().open(job()) as session:
        request = ScoreRequest("store", "key", "set", "test", "digest", 4, (), (), ())
        assert session.score(request) == [{"value": 0.25}]
        with pytest.raises(errors.EvaluationFileError, match=r"(?s)while computing its metrics.*ZeroDivisionError"):
            session.score(replace(request, stop=0))
