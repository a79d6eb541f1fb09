"""`run`, `plan` and three watches, as real processes, killed at moments that a seed draws; see `kills.py`."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import soak
from _killed_verbs import Outcome
from tests._material import ENVIRONMENT, MILEPOST, contents, leftovers, lines_of, save, weights_of

from milepost._internal.ranges import missing
from milepost.store.store import Store

ROWS, STEPS = 1000, 10
LIMIT_SECONDS = 300.0
EVALUATION = f"""
import os
import milepost.loop.evaluate
from tests._material import evaluation_of

milepost.loop.evaluate.PUBLISH_ROWS = 256  # several parts a checkpoint


def predict(weights, x):
    with open(os.environ["KILLS_LOG"], "a") as log:
        log.write(f"{{int(weights['mark'])}} {{len(x)}}\\n")
    return x @ weights["w"] + weights["b"]


evaluation = evaluation_of({ROWS}, predict)
"""


class RunWorld:
    """An evaluation file, checkpoints, and what an undisturbed run makes of them."""

    def __init__(self, place: Path) -> None:
        self.place, self.run = place, place / "run"
        self.temporary = place / "temporary"
        self.run.mkdir(parents=True)
        self.temporary.mkdir()
        (place / "ev.py").write_text(EVALUATION)
        for step in range(1, STEPS + 1):
            save(self.run / f"step-{step}.npz", weights_of(step), mark=np.int64(step))
        began = time.monotonic()
        done = self.start("run", "calm").communicate()
        self.seconds = time.monotonic() - began
        self.calm = _results(place / "calm")
        if not self.calm:
            raise SystemExit(f"the world was not made: {done}")

    def start(self, verb: str, store: str) -> subprocess.Popen[str]:
        """Start a verb as a process."""
        words = [verb, self.place / "ev.py", self.run, "--store", self.place / store, "--json"]
        log = self.place / f"{store}.log"
        log.touch()
        environment = {**ENVIRONMENT, "KILLS_LOG": str(log), "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [*MILEPOST, *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def predicted(self, store: str) -> dict[int, int]:
        """Return how many rows of each checkpoint were predicted."""
        counts: dict[int, int] = {}
        log = self.place / f"{store}.log"
        for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
            if line.endswith("\n"):
                mark, rows = map(int, line.split())
                counts[mark] = counts.get(mark, 0) + rows
        return counts

    def covered(self, store: str) -> dict[int, int]:
        """Return how many rows of each checkpoint are in a store."""
        place = self.place / store
        if not (place / "store.json").exists():
            return {}
        opened = Store.open(place)
        marks = {checkpoint.digest: int(checkpoint.step or 0) for checkpoint in opened.checkpoints()}
        found = {}
        for folder in map(opened.evaluation, opened.evaluations()):
            for name in folder.column_sets():
                if coverage := folder.parts(name).coverage():
                    lacking = missing(coverage, ROWS)
                    found[marks[(folder.spec() or {})["weights"]]] = ROWS - sum(stop - start for start, stop in lacking)
        return found


def _results(store: Path) -> dict[str, Any]:
    """Return what a store holds, less the failures that a killed evaluator is on record with."""
    held = contents(store).items() if store.exists() else ()
    return {name: item for name, item in held if "/failures/" not in name and not name.endswith(".f1.json")}


def killed_runs(world: RunWorld, verb: str, kills: int, chance: random.Random) -> Outcome:
    """Kill a verb, or a process that it started, a few times in a row on one store; then let it come to its end."""
    outcome, stores = Outcome(), 0
    while outcome.kills < kills:
        stores += 1
        store = f"{verb}-{stores}"
        for _ in range(min(chance.randint(1, 4), kills - outcome.kills)):
            before, had = world.covered(store), world.predicted(store)
            process = world.start(verb, store)
            time.sleep(chance.uniform(0, world.seconds))
            family = [process.pid, *soak.children(process.pid)] if process.poll() is None else [process.pid]
            victim = process.pid if chance.random() < 0.5 else chance.choice(family)  # noqa: PLR2004 - a coin
            _kill(victim)
            outcome.kills += 1
            if victim == process.pid:
                _end(process, outcome)
                now = world.predicted(store)
                outcome.doubled += [
                    f"{store}: {mark} was whole, and {now[mark] - had.get(mark, 0)} of its rows were predicted again"
                    for mark, rows in before.items()
                    if rows == ROWS and now.get(mark, 0) > had.get(mark, 0)
                ]
            else:
                _end(process, outcome, within=LIMIT_SECONDS)
            outcome.left += [f"{store}: process {pid} lives on" for pid in _living(family)]
        for _ in range(2):  # what a killed evaluator failed with is tried once more
            process = world.start("run", store)
            out = _end(process, outcome, within=LIMIT_SECONDS)
        if process.returncode or lines_of(out).done != (0, STEPS, 0):
            outcome.other.append(f"{store}: the last run: exit code {process.returncode}, {out[-300:]}")
        found = _results(world.place / store)
        outcome.lost += [f"{store}: {name}" for name in world.calm if found.get(name) != world.calm[name]]
        outcome.left += [f"{store}: {name}" for name in (*leftovers(world.place / store), *os.listdir(world.temporary))]
    return outcome


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it had ended
        os.kill(pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str], outcome: Outcome, within: float = 60.0) -> str:
    """Wait for a process; note a traceback, an end that is none of ours, and one that does not come."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        outcome.other.append(f"no end within {within:g} s: {err[-500:]}")
    if "Traceback" in err:
        outcome.tracebacks.append(err[-2000:])
    if process.returncode not in (0, 3, -signal.SIGKILL):
        outcome.other.append(f"exit code {process.returncode}: {err[-500:]}")
    return out


def _living(pids: list[int]) -> Iterator[int]:
    limit = time.monotonic() + 10
    while any(map(soak.alive, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    yield from filter(soak.alive, pids)


class Watches(soak.World):
    """Three watches beside a trainer; sometimes one of them is killed, sometimes its evaluator or its reader."""

    every = 1.0
    kills = 0

    def kill_one(self, watches: list[subprocess.Popen[str]]) -> None:
        """Kill a watch and start another, or kill one of its processes."""
        process = self.chance.choice(watches)
        family = soak.children(process.pid)
        self.kills += 1
        if family and self.chance.random() < 1 / 3:
            victim = self.chance.choice(family)
            _kill(victim)
            self.orphans.append(victim)
            self.killed.add(process.pid)  # what it was at is taken up again, by it or by another
            return
        watches.remove(process)
        self.kill(process)
        watches.append(self.start())


def killed_watches(place: Path, steps: int, seed: int, clean: tuple[soak.Values, dict[int, str]]) -> Outcome:
    """Run a trainer of so many steps and its watches to the end of all of them; judge as `soak.py` does."""
    scenario = soak.Scenario(f"three watches, {seed}", steps=steps, train=150, watchers=3)
    run = place.with_name(f"{place.name}-run")
    run.mkdir()
    world = Watches(place, run, scenario, seed)
    world.excused.add("crashed")
    world.go()
    found = soak.judge(world, *clean)
    outcome = Outcome(world.kills)
    for words in found.broken:
        kind = outcome.doubled if words.startswith("evaluated twice") else outcome.left if "left:" in words else None
        (outcome.lost if kind is None else kind).append(words)
    outcome.tracebacks += [text for text in world.words() if "Traceback" in text]
    return outcome
