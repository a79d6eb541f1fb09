"""An evaluator that does what the unit's `data` says, so that a test can make it crash, print, raise or flood."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from milepost import errors
from milepost._internal import heartbeat
from milepost.core.types import (
    CheckpointFiles,
    Description,
    Failure,
    Identified,
    Job,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)

Outcome = tuple[Target, Part | Failure]


def open_evaluator(job: Job) -> "Evaluator":
    """Open, or fail as `job.attribute` says."""
    if job.attribute == "usage":
        raise errors.UsageError("unknown device 'tpu9'")
    if job.attribute == "bug":
        raise IndexError(job.attribute)
    if job.attribute == "exit":
        sys.exit(5)
    if job.attribute == "leave":
        print("no library", file=sys.stderr, flush=True)
        os._exit(7)
    if job.attribute == "kill":
        with open(str(job.options["opened"]), "a") as log:
            log.write("x")
            opened = log.tell()
        print("no library", file=sys.stderr, flush=True)
        if opened <= int(job.options["kills"]):
            os.kill(os.getpid(), signal.SIGKILL)
    if job.attribute == "extra":
        raise errors.MissingExtra("torch", "torch")
    return Evaluator(job)


class Evaluator:
    """Parts of 256 rows whose columns depend on the target and rows only."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.identified: set[str] = set()

    def describe(self) -> Description:
        about = {"pid": os.getpid(), "live": repr(self.job.live)}
        return Description(settings=dict(self.job.options), environment=about)

    def score(self, request: ScoreRequest) -> list[dict[str, Any]]:
        return [{"value": 1 / request.stop}]

    def identify(self, found: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        if "killer" in found.path:
            os.kill(os.getpid(), signal.SIGKILL)
        if "sleeper" in found.path:
            threading.Event().wait(600)
        if "once" in found.path and _first():
            os.kill(os.getpid(), signal.SIGKILL)
        if "bug" in found.path:
            raise ValueError("bad weights")
        self.identified.add(found.path)
        size = Path(table.tensors[0].where.file).stat().st_size
        return [Identified(variant, f"{found.path}-{variant}-{size}", step=table.step) for variant in variants]

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        for start in range(unit.start, unit.stop, 256):
            stop = min(start + 256, unit.stop)
            for index, target in enumerate(unit.targets):
                assert tables[target.files.path].step == 7
                part = _part(target, start, stop)
                if unit.data == "who":
                    part = replace(part, environment={"identified": target.files.path in self.identified})
                yield target, part
                if start == unit.start and index == 0:
                    yield from ACTIONS[unit.data](unit)


def _part(target: Target, start: int, stop: int) -> Part:
    rows = np.arange(start, stop)
    columns = {
        "row": rows,
        "odd": rows % 2 == 1,
        "nll": np.sin(rows + len(target.files.path)).astype(np.float32),
        "wide": np.asfortranarray(np.outer(rows, [1, 2]).astype(">f8")),
        "id": np.array([f"id{row}" for row in rows]),
        "none": np.zeros((stop - start, 0), np.int8),
    }
    return Part(start, stop, columns, {"confusion": rows.tobytes(), "empty": b""}, {"device": "cpu", "loss": 0.5})


def _raise(error: BaseException) -> Callable[[Unit], Iterable[Outcome]]:
    def action(_: Unit) -> Iterable[Outcome]:
        raise error

    return action


def _kill(_: Unit) -> Iterable[Outcome]:
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return ()


def _kill_once(_: Unit) -> Iterable[Outcome]:
    if _first():
        os.kill(os.getpid(), signal.SIGKILL)
    return ()


def _first() -> bool:
    try:
        Path(os.environ["FAKE_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _segfault(_: Unit) -> Iterable[Outcome]:
    ctypes.string_at(0)
    return ()


def _exit(_: Unit) -> Iterable[Outcome]:
    sys.exit(3)


def _hard_exit(_: Unit) -> Iterable[Outcome]:
    os._exit(3)
    return ()


def _flood(_: Unit) -> Iterable[Outcome]:
    for number in range(200):
        os.write(2, f"{number}: {'x' * 100_000}".encode())
    os.write(2, b"\nthe last line\n")
    os._exit(3)
    return ()


def _deaf(_: Unit) -> Iterable[Outcome]:
    # Not even the signal that asks where it is gets an answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    threading.Event().wait(600)
    return ()


def _slow(unit: Unit) -> Iterator[Outcome]:
    # Slower than any timeout of the tests as a whole, but it goes on.
    for _ in range(28):
        threading.Event().wait(0.1)
        heartbeat.beat()
    yield unit.targets[0], Failure("mismatch", "as slow as it is")


def _cut_off(unit: Unit) -> Iterable[Outcome]:
    path = unit.targets[0].files.path
    mapped = np.memmap(path, np.uint8, "r")
    os.truncate(path, 10)
    int(mapped[-1])
    return ()


def _print(_: Unit) -> Iterable[Outcome]:
    print("printed by the user" * 10_000)
    os.write(1, b"written to descriptor 1\n")
    os.write(2, b"\xff\xfe no text\n")
    subprocess.run([sys.executable, "-c", "print('printed by a grandchild')"], check=True)
    assert sys.stdin.read() == ""
    return ()


def _huge(unit: Unit) -> Iterator[Outcome]:
    rows = unit.stop - unit.start
    yield unit.targets[0], Part(unit.start, unit.stop, {"logits": np.full((rows, 50_000_000 // 4 // rows), 1.5, "f4")})


def _fail(unit: Unit) -> Iterator[Outcome]:
    yield unit.targets[0], Failure("mismatch", "no variable 'w'")


def _objects(unit: Unit) -> Iterator[Outcome]:
    yield unit.targets[0], Part(unit.start, unit.stop, {"objects": np.array([None, {}])})


def _hang(_: Unit) -> Iterable[Outcome]:
    Path(os.environ["FAKE_MARK"]).write_text(f"{os.getpid()}")
    threading.Event().wait(600)
    return ()


def _hang_in_c(_: Unit) -> Iterable[Outcome]:
    Path(os.environ["FAKE_MARK"]).write_text(f"{os.getpid()}")
    # Keeps the interpreter's lock: no Python thread of this process runs meanwhile.
    ctypes.PyDLL(None).sleep(600)
    return ()


def _hang_with_child(_: Unit) -> Iterable[Outcome]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["FAKE_MARK"]).write_text(f"{os.getpid()} {child.pid}")
    os.kill(os.getpid(), signal.SIGKILL)
    return ()


def _quiet(_: Unit) -> Iterable[Outcome]:
    return ()


ACTIONS: dict[str, Callable[[Unit], Iterable[Outcome]]] = {
    "quiet": _quiet,
    "kill": _kill,
    "kill once": _kill_once,
    "who": _quiet,
    "segfault": _segfault,
    "exit": _exit,
    "hard exit": _hard_exit,
    "flood": _flood,
    "deaf": _deaf,
    "slow": _slow,
    "cut off": _cut_off,
    "print": _print,
    "huge": _huge,
    "fail": _fail,
    "objects": _objects,
    "hang": _hang,
    "hang in c": _hang_in_c,
    "hang with child": _hang_with_child,
    "data": _raise(errors.DataError("label 11 is out of range [0, 10)")),
    "usage": _raise(errors.UsageError("no data set is named 'x'")),
    "unstable": _raise(errors.UnstableData("two passes differ")),
    "extra": _raise(errors.MissingExtra("torch", "torch")),
    "oom": _raise(errors.OutOfMemory("3 GB asked")),
    "memory": _raise(MemoryError("numpy")),
    "bug": _raise(ZeroDivisionError("in the model")),
}
