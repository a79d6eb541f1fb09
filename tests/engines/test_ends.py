"""Whatever ends the driver ends its processes: kill -9, Ctrl-C, and the leftovers of the dead are swept."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from milepost._internal.serialization import to_plain
from milepost.core.types import Extent, Job, Table, Tensor, Unit
from milepost.engines._process import wire
from milepost.engines._session import RoleSession
from milepost.engines._spool import Spool, sweep
from milepost.engines.local import Local

DRIVER = """
import sys, tempfile
from milepost.core.types import *
from milepost.engines.local import Local
tempfile.tempdir = sys.argv[1]
options = {"evaluator": "fake_evaluator:open_evaluator", "reader": "fake_reader:Reader"}
found = CheckpointFiles("a", "fake", ("a",), Identity(1, 2, 3, 4, 5))
unit = Unit(0, 600, (Target(found, "raw"),), sys.argv[2])
with Local().open(Job("eval.py", "evaluation", options)) as session:
    print(session.describe().environment["pid"], session.inspect(".").table.step, flush=True)
    for target, part in session.run([unit]):
        print("part", flush=True)
"""
PATIENCE = 3000
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def start(temporary: Path, data: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(temporary), data],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started(driver: "subprocess.Popen[str]", mark: Path) -> list[int]:
    """Wait until the evaluator is computing; return the numbers of both processes."""
    assert driver.stdout is not None
    pids = [int(word) for word in driver.stdout.readline().split()]
    assert driver.stdout.readline() == "part\n"
    until(mark.exists, "the evaluator computes")
    return pids


def until(true: Callable[[], bool], what: str) -> None:
    for _ in range(PATIENCE):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"waited in vain until {what}")


def gone(pid: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@needs_proc
@pytest.mark.parametrize("data", ["hang", "hang in c"])
def test_kill_9_of_the_driver_leaves_no_process(data: str, tmp_path: Path, temporary: Path) -> None:
    with start(temporary, data) as driver:
        pids = started(driver, tmp_path / "mark")
        assert not any(map(gone, pids))
        driver.kill()
        driver.wait()
        for pid in pids:
            until(partial(gone, pid), f"process {pid} is gone")
    assert len(list(temporary.iterdir())) == 1
    sweep()
    assert list(temporary.iterdir()) == []


@needs_proc
@pytest.mark.parametrize("data", ["hang", "hang in c"])
def test_ctrl_c_closes_everything(data: str, tmp_path: Path, temporary: Path) -> None:
    with start(temporary, data) as driver:
        pids = started(driver, tmp_path / "mark")
        # A terminal signals the whole foreground group: the evaluator and reader must not be in it.
        os.killpg(driver.pid, signal.SIGINT)
        _, stderr = driver.communicate(timeout=60)
    assert driver.returncode in (130, -signal.SIGINT)
    assert stderr.count("Traceback") == 1
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert all(map(gone, pids))
    assert list(temporary.iterdir()) == []


@needs_proc
def test_the_end_of_its_input_ends_a_busy_evaluator(unit: Callable[..., Unit], tmp_path: Path) -> None:
    # Its parent lives on, so that only the closed pipe ends it.
    options = {"evaluator": "fake_evaluator:open_evaluator"}
    job = {"file": "eval.py", "attribute": "evaluation", "options": options}
    table = to_plain(Table("x", (Tensor("w", "float32", (1,), Extent("f", 0, 4)),), 7))
    asked = {"method": "evaluate", "unit": to_plain(unit("hang", paths=("a",))), "tables": {"a": table}}
    command = [sys.executable, "-m", "milepost.engines._process.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        wire.send(process.stdin, {"method": "open", "job": job})
        wire.send(process.stdin, asked)
        until((tmp_path / "mark").exists, "the evaluator computes")
        process.stdin.close()
        try:
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_processes_outlive_the_thread_that_opened_the_session(job: Callable[..., Job]) -> None:
    opened = list[RoleSession]()
    thread = threading.Thread(target=lambda: opened.append(Local().open(job())))
    thread.start()
    thread.join()
    with opened[0] as session:
        before = session.describe().environment["pid"]
        threading.Event().wait(0.1)
        assert session.describe().environment["pid"] == before
        assert session.inspect("x").files.path == "x"


def test_a_spool_of_a_living_owner_stays(temporary: Path) -> None:
    spool = Spool()
    (spool.folder() / "w.bin").write_bytes(b"1")
    foreign = temporary / "milepost-spool-1-init"
    other = temporary / "milepost-spool-x"
    foreign.mkdir()
    other.mkdir()
    sweep()
    assert {item.name for item in temporary.iterdir()} == {spool.path.name, foreign.name, other.name}
    spool.close()
    spool.close()
    assert not spool.path.exists()


def test_a_dead_owners_spool_goes_unless_it_is_locked(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    stale = temporary / f"milepost-spool-{process.pid}-abc"
    (stale / "1").mkdir(parents=True)
    held = Spool()
    # As a process of another container would look: its number is not alive here, its lock is.
    renamed = held.path.rename(temporary / f"milepost-spool-{process.pid}-def")
    Spool().close()
    assert not stale.exists()
    assert renamed.exists()
    held.path = renamed
    held.close()
