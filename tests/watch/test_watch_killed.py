"""The watch beside real trainers, killed: nothing that was claimed is lost or done twice.

No moment is chosen by the clock: the trainer waits for what it is to wait for, and a watcher is killed when it has
come so far.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, MILEPOST, Events, evaluation_of, linear, lines_of, request_of, save
from tests.watch._watching import ROWS, values

from milepost.run.run import run
from milepost.store.store import Store

EVALUATION = """
import os, sys, time
sys.path.insert(0, os.environ["TEST_ROOT"])
import numpy as np
from tests._material import evaluation_of


def predict(weights, x):
    with open(os.environ["TEST_LOG"], "a") as log:
        log.write(f"{os.getpid()} {int(weights['mark'])}\\n")
    time.sleep(0.01)
    return x @ weights["w"] + weights["b"]


evaluation = evaluation_of(300, predict, batch_size=300)
"""

TRAINER = """
import os, sys, time
import numpy as np

folder, steps, keep, gate, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
back = int(sys.argv[6])  # after this step it crashes, and goes on from half of it with another seed
os.makedirs(folder, exist_ok=True)


def made(step):
    rng = np.random.default_rng([step, life])
    w, b = rng.normal(size=(8, 10)).astype("f4"), rng.normal(size=10).astype("f4")
    return {"w": w, "b": b, "mark": np.int64(step + 1000 * life)}


def whole(step, name):
    with open(f"{folder}/.tmp", "wb") as file:
        np.savez(file, **made(step))
    os.replace(f"{folder}/.tmp", f"{folder}/{name}")


def slow(step, name):
    whole(step, ".whole")
    data = open(f"{folder}/.whole", "rb").read()
    with open(f"{folder}/{name}", "wb", buffering=0) as file:
        for at in range(0, len(data), 200):
            file.write(data[at : at + 200])
            time.sleep(0.002)


life, written, step = 0, [], 0
while step < steps:
    step += 1
    (slow if how == "slow" else whole)(step, f"step-{step}.npz")
    whole(step, "last.npz")
    written = [old for old in written if old != step] + [step]
    for old in written[:-keep]:
        os.unlink(f"{folder}/step-{old}.npz")
    written = written[-keep:]
    while not os.path.exists(f"{gate}/{life}-{step}"):
        time.sleep(0.002)
    if step == back:
        life, step, back = 1, step // 2, 0
open(f"{folder}/DONE", "w").close()
"""


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 20) -> bool:
    """Look until something is reached; False where the process ended before."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if reached():
            return True
        if process.poll() is not None:
            return reached()
        time.sleep(0.005)
    raise AssertionError("nothing happened")


class World:
    """A trainer and its watchers, each a process of its own, over one store."""

    def __init__(self, folder: Path, steps: int, how: str = "whole", back: int = 0, keep: int = 5) -> None:
        self.run, self.store, self.gate, self.log = (folder / name for name in ("run", "store", "gate", "log"))
        self.file = folder / "ev.py"
        self.file.write_text(EVALUATION)
        self.log.touch()
        self.gate.mkdir()
        self.killed: set[int] = set()
        self.environment = {**ENVIRONMENT, "TEST_LOG": str(self.log), "TEST_ROOT": str(Path(__file__).parents[2])}
        self.outputs = folder / "outputs"
        self.outputs.mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        words = [self.run, steps, keep, self.gate, how, back]
        self.trainer = self._start([sys.executable, "-c", TRAINER, *map(str, words)])

    def _start(self, words: list[str]) -> subprocess.Popen[str]:
        # Into files: a pipe that nobody reads is full one day, and its writer waits.
        place = self.outputs / str(len(self.processes))
        with open(f"{place}.out", "w") as out, open(f"{place}.err", "w") as message:
            process = subprocess.Popen(words, env=self.environment, stdout=out, stderr=message, text=True)
        self.processes.append(process)
        return process

    def events(self) -> list[Events]:
        """Return what each watcher reported, as far as whole lines go."""
        texts = [path.read_text() for path in sorted(self.outputs.glob("*.out"))]
        return [lines_of(text[: text.rfind("\n") + 1]) for text in texts]

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                process.wait()

    def watcher(self, *words: str) -> subprocess.Popen[str]:
        """Start a watcher."""
        named = ["watch", str(self.file), str(self.run), "--store", str(self.store), "--until", "done", "--json"]
        return self._start([*MILEPOST, *named, "--engine", "inprocess", "--poll", "0.02s", *words])

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a watcher."""
        process.kill()
        self.killed.add(process.pid)
        process.wait()

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Wait for a watcher's end and return its exit code."""
        return process.wait(timeout=60)

    def pinned(self) -> set[int]:
        """Return the steps that are pinned."""
        noted = [note for note in glob(f"{self.store}/pins/*/@pin.json") if "/new-" not in note]
        links = [link for note in noted for link in glob(f"{os.path.dirname(note)}/step-*.npz")]
        return {int(Path(link).stem[5:]) for link in links}

    def complete(self) -> set[int]:
        """Return the steps that the store has values of."""
        return set(values(self.store)) if (self.store / "store.json").exists() else set()

    def marks(self) -> list[tuple[int, int]]:
        """Return the process and the checkpoint's mark of every prediction."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines if line.endswith("\n")]

    def predicted(self) -> set[int]:
        """Return the marks of all that was predicted."""
        return {mark for _, mark in self.marks()}

    def open_gate(self, step: int, life: int = 0) -> None:
        """Let the trainer go on behind a step."""
        (self.gate / f"{life}-{step}").touch()


@pytest.fixture
def world_of(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Return how a world is made; what runs in it ends with the test."""
    worlds = []

    def make(*words: Any, **options: Any) -> World:
        worlds.append(World(tmp_path, *words, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_a_watcher_killed_again_and_again_evaluates_all_that_it_had_claimed_once(
    tmp_path: Path, world_of: Callable[..., World]
) -> None:
    steps, chance = 40, random.Random(4)
    world = world_of(steps)
    process = world.watcher()
    claimed: set[int] = set()
    done: list[tuple[int, set[int]]] = []
    kills = set(chance.sample(range(8, steps), 4))
    blind = set(chance.sample(range(1, steps - 5), 12))  # the trainer does not wait until these are seen
    for step in range(1, steps + 1):
        if step not in blind:
            wait_for(lambda step=step: step in world.pinned() | world.predicted(), process)  # type: ignore[misc]
        claimed |= world.pinned()
        if step in kills:
            world.kill(process)
            claimed |= world.pinned()
            done.append((len(world.marks()), world.complete()))
            for lost in range(step, min(step + 7, steps)):
                world.open_gate(lost)
            blind |= set(range(step, step + 7))
            process = world.watcher()
        world.open_gate(step)
    assert world.finish(process) in (0, 3)
    assert claimed <= world.complete()
    assert len(claimed) >= steps // 3
    for begin, before in done:  # what was whole when a watcher died is never predicted again
        assert not before & {mark for _, mark in world.marks()[begin:]}
    seen = {item["step"] for events in world.events() for item in events.of("checkpoint") if item["step"] is not None}
    vanished = {
        item["step"] for events in world.events() for item in events.of("failure") if item["class"] == "vanished"
    }
    assert seen <= world.complete() | vanished
    assert not list(world.store.glob("pins/*"))
    assert_same_as_clean(world, tmp_path)


def assert_same_as_clean(world: World, folder: Path) -> None:
    """Compare with an undisturbed evaluation of the same weights, all of them written again."""
    clean = folder / "clean"
    clean.mkdir()
    for step in world.complete():
        rng = np.random.default_rng([step, 0])
        w, b = rng.normal(size=(8, 10)).astype("f4"), rng.normal(size=10).astype("f4")
        save(clean / f"step-{step}.npz", {"w": w, "b": b, "mark": np.int64(step)})

    def predict(weights: Any, inputs: Any) -> Any:
        assert weights["mark"] > 0
        return linear(weights, inputs)

    store = folder / "undisturbed"
    events = Events()
    evaluated = run(
        request_of(evaluation_of(ROWS, predict, batch_size=ROWS), clean, store=store), events.append
    ).evaluated
    assert evaluated == len(world.complete())
    assert values(store) == values(world.store)


def test_four_watchers_share_a_folder_and_one_is_killed_now_and_then(world_of: Callable[..., World]) -> None:
    """The trainer writes slowly in place, and starts again from an older step."""
    steps, back, chance = 16, 10, random.Random(1)
    world = world_of(steps, "slow", back=back)
    watchers = [world.watcher() for _ in range(4)]
    kills = set(chance.sample(range(3, steps), 2))
    order = [*((0, step) for step in range(1, back + 1)), *((1, step) for step in range(back // 2 + 1, steps + 1))]
    for life, step in order:
        mark = step + 1000 * life
        wait_for(lambda mark=mark: mark in world.predicted(), watchers[0])  # type: ignore[misc]
        if step in kills:
            kills.remove(step)
            evaluating = {pid for pid, seen in world.marks() if seen == mark}
            victim = next(process for process in watchers if process.pid in evaluating)  # so another one goes on
            watchers.remove(victim)
            world.kill(victim)
            watchers.append(world.watcher())
        if (life, step) == (0, back):  # now files are overwritten in place, pins too: what they held was evaluated
            wait_for(lambda: set(range(1, back + 1)) <= world.complete(), watchers[0])
        world.open_gate(step, life)
    assert {world.finish(process) for process in watchers} <= {0, 3}
    # `last` is overwritten all the time: it may be replaced within the very moment in which it was seen.
    failed = {(name, text.partition(":")[0]) for events in world.events() for name, text in events.failures.items()}
    assert failed <= {("last.npz", "vanished")}
    by: dict[int, set[int]] = {}
    for pid, mark in world.marks():
        by.setdefault(mark, set()).add(pid)
    assert set(by) == {step + 1000 * life for life, step in order}
    twice = {mark: pids for mark, pids in by.items() if len(pids - world.killed) > 1}
    assert not twice
    assert len({pid for pids in by.values() for pid in pids}) > 1
    opened = Store.open(world.store)
    assert len(opened.evaluations()) == len(order)
    assert not list(world.store.glob("pins/*"))
    assert not list(world.store.glob("leases/*"))
