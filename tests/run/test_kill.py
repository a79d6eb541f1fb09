"""Kills, rivals and Ctrl-C: real processes over one store, which must end as if nothing had happened.

No moment is chosen by the clock: a process is killed when it has made so much progress, as seen in what its model
predicted and in the files of its store.
"""

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, MILEPOST, command, contents, files_of, leftovers, lines_of, process, save

from milepost._internal.ranges import missing
from milepost.store.store import Store

ROWS, BATCH, CHECKPOINTS, KILLS = 1000, 64, 12, 20
ENGINES = ("inprocess", "local")

EVALUATION = f"""
import os, time
import numpy as np
import milepost.loop.evaluate
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import CrossEntropy, TopK
from milepost.tasks import Classification

milepost.loop.evaluate.PUBLISH_ROWS = 256  # several parts a checkpoint

rng = np.random.default_rng(0)
inputs = rng.normal(size=({ROWS}, 17)).astype(np.float32)
inputs[:, 0] = np.arange({ROWS})


def predict(weights, x):
    hidden = x[:, 1:] @ weights["enter"]
    for _ in range(8):
        hidden = np.tanh(hidden @ weights["mix"])
    with open(os.environ["TEST_LOG"], "a") as log:
        while log.tell() >= int(os.environ.get("TEST_HOLD", 2**60)):
            time.sleep(0.01)  # until it is killed
        log.write(f"{{int(weights['mark'])}} {{int(x[0, 0])}} {{int(x[-1, 0]) + 1}}\\n")
    return hidden @ weights["leave"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={{"test": Arrays(inputs, rng.integers(0, 10, {ROWS}), order="natural")}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), CrossEntropy()],
    batch_size={BATCH},
)
"""


@dataclass
class World:
    """An evaluation file, 12 checkpoints, and what an undisturbed run makes of them."""

    folder: Path
    reference: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    parts: int = 0

    def start(self, store: Path, log: Path, engine: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a run of its own process."""
        log.touch()
        return subprocess.Popen(
            [*MILEPOST, *self.words(store, engine), *words],
            env={**ENVIRONMENT, "TEST_LOG": str(log), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, store: Path, log: Path, engine: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        log.touch()
        return process(*self.words(store, engine), "--json", env={**ENVIRONMENT, "TEST_LOG": str(log)})

    def words(self, store: Path, engine: str) -> list[str]:
        """Return the arguments of a run."""
        return ["run", str(self.folder / "ev.py"), str(self.folder / "run"), "--store", str(store), "--engine", engine]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    (made.folder / "ev.py").write_text(EVALUATION)
    (made.folder / "run").mkdir()
    rng = np.random.default_rng(1)
    for step in range(1, CHECKPOINTS + 1):
        sides = {"enter": (16, 192), "mix": (192, 192), "leave": (192, 10)}
        arrays = {name: (rng.normal(size=shape) / 14).astype(np.float32) for name, shape in sides.items()}
        save(made.folder / "run" / f"step-{step}.npz", arrays, mark=np.int64(step))
    store, log = made.folder / "undisturbed", made.folder / "undisturbed.log"
    ended = made.finish(store, log, "inprocess")
    assert ended.returncode == 0, ended.stderr
    made.reference = contents(store)
    made.lines = len(log.read_text().splitlines())
    made.parts = len(list(files_of(store)))
    assert leftovers(store) == []
    return made


def ranges_of(log: Path) -> Iterator[tuple[int, int, int]]:
    """Yield (mark of the checkpoint, first row, last row) of every prediction; a line that a kill cut off aside."""
    for line in log.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            mark, start, stop = map(int, line.split())
            yield mark, start, stop


def covered(store: Path) -> dict[int, list[tuple[int, int]]]:
    """Return the rows that a store has by mark of the checkpoint."""
    if not (store / "store.json").exists():
        return {}
    opened = Store.open(store)
    folders = [opened.evaluation(key) for key in opened.evaluations()]
    rows = [(folder, folder.parts(name).coverage()) for folder in folders for name in folder.column_sets()]
    # What says whose rows they are is written before them, or with them; a run may be going on.
    marks = {checkpoint.digest: int(checkpoint.step or 0) for checkpoint in opened.checkpoints()}
    # A kill may leave an evaluation's folder before any file in it: no rows, and nothing to say whose they are.
    return {marks[(folder.spec() or {})["weights"]]: coverage for folder, coverage in rows if coverage}


def until(process: subprocess.Popen[str], reached: Any) -> bool:
    """Look until something is reached (True) or the process has ended (False)."""
    while process.poll() is None:
        if reached():
            return True
        time.sleep(0.005)
    return False


def reached_of(chance: random.Random, which: int, world: World, store: Path, log: Path) -> Any:
    """Choose a moment: so many predictions, or so many files in the store, evenly over an undisturbed run."""
    if which % 2:
        size = chance.randrange(log.stat().st_size + 1, world.lines * 8)
        return lambda: log.stat().st_size >= size
    files = chance.randrange(world.parts)
    return lambda: sum(1 for _ in files_of(store)) >= files


def end(process: subprocess.Popen[str], number: int) -> int:
    """Send a signal, and return how the process ended."""
    process.send_signal(number)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_any_moment_the_next_run_goes_on(engine: str, stride: int, world: World, tmp_path: Path) -> None:
    def trial(which: int) -> int:
        store, first, second = (tmp_path / f"{name}-{which}" for name in ("store", "first", "second"))
        process = world.start(store, first, engine)
        until(process, reached_of(random.Random(f"{engine} {which}"), which, world, store, first))
        code = end(process, signal.SIGKILL)
        before = covered(store)
        # Every second time the other engine goes on; the one in this process also starts sooner.
        ended = world.finish(store, second, "inprocess" if which % 2 else engine)
        assert ended.returncode == 0, ended.stderr
        assert lines_of(ended.stdout).done[2] == 0
        assert contents(store) == world.reference
        assert leftovers(store) == []
        for mark, start, stop in ranges_of(second):
            todo = missing(before.get(mark, []), ROWS)
            assert any(begin <= start and stop <= last for begin, last in todo), f"{mark}: {start} to {stop} done again"
        if any(missing(have, ROWS) for have in before.values() if have):
            assert "rows are there" in ended.stderr
        return code

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(trial, range(0, KILLS, stride)))
    assert codes.count(-signal.SIGKILL) >= len(codes) // 2, codes


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_ends_cleanly_and_resumes(engine: str, world: World, tmp_path: Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    process = world.start(store, log, engine, "--json")
    assert until(process, lambda: log.stat().st_size > world.lines * 4), process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command" in err
    assert all(record["event"] == "record" for record in lines_of(out))
    assert [name for name in leftovers(store) if "/parts/" not in name and "/pieces/" not in name] == []
    before = covered(store)
    ended = world.finish(store, tmp_path / "again", engine)
    assert ended.returncode == 0, ended.stderr
    assert contents(store) == world.reference
    assert leftovers(store) == []
    for mark, start, stop in ranges_of(tmp_path / "again"):
        assert any(begin <= start and stop <= last for begin, last in missing(before.get(mark, []), ROWS))


def test_two_processes_at_once_share_the_work(world: World, tmp_path: Path) -> None:
    store = tmp_path / "store"
    logs = [tmp_path / f"log-{which}" for which in range(2)]
    processes = [world.start(store, log, engine, "--json") for log, engine in zip(logs, ENGINES, strict=True)]
    printed = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert contents(store) == world.reference
    assert leftovers(store) == []
    done = [lines_of(out).done for out, _ in printed]
    assert sum(evaluated for evaluated, _, _ in done) == CHECKPOINTS
    assert all(sum(counts) == CHECKPOINTS and counts[2] == 0 for counts in done)
    rows = [{(mark, row) for mark, start, stop in ranges_of(log) for row in range(start, stop)} for log in logs]
    assert not rows[0] & rows[1]


def test_what_a_killed_rival_held_is_taken_over(world: World, tmp_path: Path) -> None:
    store, logs = tmp_path / "store", [tmp_path / name for name in ("first", "second", "third")]
    first = world.start(store, logs[0], "local", TEST_HOLD="200")  # it holds its lease, and stands still
    assert until(first, lambda: logs[0].stat().st_size >= 200), first.communicate()
    second = world.start(store, logs[1], "local")
    assert until(second, lambda: logs[1].stat().st_size > 0), second.communicate()
    assert end(first, signal.SIGKILL) == -signal.SIGKILL
    _, err = second.communicate()
    assert second.returncode == 0, err
    # The killed one's heartbeat and half-written files stay until the next run sweeps.
    assert any(name.startswith("workers/") for name in leftovers(store))
    assert world.finish(store, logs[2], "inprocess").returncode == 0
    assert leftovers(store) == []
    assert contents(store) == world.reference
    assert logs[2].read_text() == ""


def test_a_checkpoint_that_kills_its_evaluator_is_a_row_and_the_others_are_evaluated(tmp_path: Path) -> None:
    file = tmp_path / "ev.py"
    deadly = '    if int(weights["mark"]) == 2:\n        os.kill(os.getpid(), 9)\n'
    marker = "    hidden = x[:, 1:]"
    file.write_text(EVALUATION.replace(marker, deadly + marker))
    (tmp_path / "run").mkdir()
    for step in (1, 2, 3):
        sides = {"enter": (16, 20), "mix": (20, 20), "leave": (20, 10)}
        arrays = {name: np.full(shape, step / 40, np.float32) for name, shape in sides.items()}
        save(tmp_path / "run" / f"step-{step}.npz", arrays, mark=np.int64(step))
    words = ["run", file, tmp_path / "run", "--store", tmp_path / "store", "--json"]
    environment = {**ENVIRONMENT, "TEST_LOG": str(tmp_path / "log")}
    ended = command(*words, env=environment)
    assert ended.returncode == 3, ended.stderr
    events = lines_of(ended.stdout)
    assert events.done == (2, 0, 1)
    assert list(events.failures) == ["step-2.npz"]
    assert "crashed: the evaluator process" in events.failures["step-2.npz"]
    assert "signal 9 (SIGKILL)" in events.failures["step-2.npz"]
    # It is tried again, by itself.
    again = lines_of(command(*words, env=environment).stdout)
    assert again.done == (0, 2, 1)
    assert again.of("failure")[0]["attempts"] == 2
