"""Is every checkpoint that a watch could claim evaluated exactly once, however often the watch is killed?

A trainer, a process of its own that waits for nobody, writes checkpoints and keeps the last five, while `milepost
watch` is killed with -9 every two seconds and started again at once; in one scenario four watches share the folder.
The formats are written by their own writers, in place, in pieces of 64 KiB with a pause after each.  The laws:

- once: what was in the store when a watch died is never predicted again, and nothing is predicted by two watches of
  which the first was not killed; the store has each value once.  What a kill interrupted may be "redone".
- lost: what a watch had claimed or pinned is in the store, and so is all that training left in place; what was seen is
  in the store or `vanished`, as is what was claimed where nothing can be pinned.  What was written and deleted while no
  watch looked is "never seen".
- equal: all exact values are those of one undisturbed `milepost run` over the same contents, bit for bit.
- left: no pin, no lease and no process is left, no watch ended with an error, and nothing failed in another way.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _figures import ROOT, Figure, main
from _soak_trainer import KEEP, made, order

sys.path.insert(0, str(ROOT))

from tests._material import ENVIRONMENT, MILEPOST, lines_of  # noqa: E402 - as the tests of the watch do

from milepost.store.store import Store  # noqa: E402 - the same

EVERY_SECONDS, LIMIT_SECONDS = 2.0, 120.0
EVALUATION = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests._material import evaluation_of


def predict(weights, x):
    with open(os.environ["SOAK_LOG"], "a") as log:
        log.write(f"{{os.getppid()}} {{int(weights['mark'])}}\\n")
    assert (weights["rest"] == weights["mark"]).all(), "a mix of two checkpoints"
    return x @ weights["w"] + weights["b"]


evaluation = evaluation_of(300, predict, batch_size=300)
"""

Values = dict[str, list[tuple[Any, ...]]]
"""Exact values by the digest of the weights."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a trainer does (see _soak_trainer.py), and how many watches there are.

    `apart`: the store is on another file system, so that nothing can be pinned: what a watch had claimed when it was
    killed may have vanished then.
    """

    name: str
    kind: str = "npz"
    steps: int = 60
    train: int = 0
    pause: int = 0
    back: int = 0
    last: bool = False
    watchers: int = 1
    apart: bool = False

    def words(self, folder: Path) -> list[str]:
        """Return the trainer's words."""
        numbers = (self.steps, self.train, self.pause, self.back, int(self.last))
        return [str(folder), self.kind, *map(str, numbers)]


SCENARIOS = (
    Scenario("full speed", steps=200, train=80),
    Scenario("without a pause", steps=200, train=4, last=True),
    Scenario("slow npz", pause=30),
    Scenario("slow torch zip", "torch-zip", pause=30),
    Scenario("slow torch legacy", "torch-legacy", pause=30),
    Scenario("slow safetensors", "safetensors", pause=30),
    Scenario("slow, renamed", "safetensors-renamed", pause=30),
    Scenario("slow TensorFlow 1", "tf1", steps=40, pause=15),
    Scenario("slow TensorFlow 2", "tf2", steps=40, pause=15),
    Scenario("slow with `last`", "torch-zip", steps=40, pause=25, last=True),
    Scenario("goes back", steps=50, pause=25, back=30, last=True),
    Scenario("cannot be pinned", steps=100, train=60, apart=True),
    Scenario("four watches", steps=120, train=150, watchers=4),
)


@dataclass(slots=True)
class Outcome:
    """What a scenario came to."""

    written: int = 0
    kills: int = 0
    once: int = 0
    twice: int = 0
    redone: int = 0
    vanished: int = 0
    unseen: int = 0
    equal: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def law(self, held: bool, words: str) -> None:  # noqa: FBT001 - the condition itself
        """Note a law that does not hold."""
        if not held:
            self.broken.append(words)


def values(store: Path) -> Values:
    """Return the exact values that a store has."""
    found: Values = {}
    if not (store / "store.json").exists():
        return found
    listing = Store.open(store).listing()
    for line in listing.lines():
        item = json.loads(line)
        if item["estimator"] == "exact":
            shown = (item["data"], item["metric"], item["value"], item["numerator"], item["n"])
            found.setdefault(item["checkpoint"]["digest"], []).append(shown)
    return {digest: sorted(each) for digest, each in found.items()}


def children(pid: int) -> list[int]:
    """Return a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(number) for file in tasks for number in file.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class World:
    """A trainer, its watches, and what was noted of them; one is killed `every` so many seconds."""

    every = EVERY_SECONDS

    def __init__(self, place: Path, run: Path, scenario: Scenario, seed: int) -> None:
        place.mkdir()
        self.run, self.store, self.log = run, place / "store", place / "log"
        self.log.touch()
        (place / "ev.py").write_text(EVALUATION)
        self.scenario = scenario
        self.chance = random.Random(seed)
        self.started = 0
        self.killed: set[int] = set()
        self.orphans: list[int] = []
        self.deaths: list[tuple[int, set[str]]] = []
        self.pinned: set[str] = set()
        self.ended: list[tuple[int, str]] = []
        self.excused = {"vanished"}
        self._place = place
        self._environment = {**ENVIRONMENT, "SOAK_LOG": str(self.log)}

    def start(self) -> subprocess.Popen[str]:
        """Start a watch, its words into files."""
        words = ["watch", str(self._place / "ev.py"), str(self.run), "--store", str(self.store), "--json"]
        base = self._place / str(self.started)
        self.started += 1
        with open(f"{base}.out", "w") as out, open(f"{base}.err", "w") as err:
            return subprocess.Popen(
                [*MILEPOST, *words, "--until", "done", "--poll", "0.1s"],
                env=self._environment, stdout=out, stderr=err, text=True,
            )  # fmt: skip

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a watch and note what the store had in that moment."""
        self.orphans += children(process.pid)
        process.kill()
        process.wait()
        self.killed.add(process.pid)
        self.deaths.append((len(self.marks()), set(values(self.store))))
        notes = [note for note in self.store.glob("pins/*/@pin.json") if not note.parent.name.startswith("new-")]
        links = [link.name for note in notes for link in note.parent.glob("step-*")]
        self.pinned |= set(links) if not self.scenario.pause else set()  # what is half written may be pinned, too

    def kill_one(self, watches: list[subprocess.Popen[str]]) -> None:
        """Kill one of the watches, and start another in its place."""
        self.kill(watches.pop(self.chance.randrange(len(watches))))
        watches.append(self.start())

    def go(self) -> None:
        """Run the trainer and its watches to the end of all of them."""
        began = time.monotonic()
        environment = {**self._environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        watches = [self.start() for _ in range(self.scenario.watchers)]
        words = [sys.executable, str(Path(__file__).with_name("_soak_trainer.py")), *self.scenario.words(self.run)]
        with subprocess.Popen(words, env=environment) as trainer:
            while watches and time.monotonic() - began < LIMIT_SECONDS:
                due = time.monotonic() + self.every * self.chance.uniform(0.75, 1.25)
                while time.monotonic() < due and any(item.poll() is None for item in watches):
                    time.sleep(0.02)
                self.ended += [(item.pid, str(item.returncode)) for item in watches if item.poll() is not None]
                watches = [item for item in watches if item.poll() is None]
                if watches and (trainer.poll() is None or len(self.killed) < 3):
                    self.kill_one(watches)
            for item in watches:
                item.kill()
                self.ended.append((item.pid, f"not within {LIMIT_SECONDS:g} s"))
                item.wait()
            trainer.kill() if trainer.poll() is None else None

    def marks(self) -> list[tuple[int, int]]:
        """Return the watch and the checkpoint's mark of every prediction."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines if line.endswith("\n")]

    def events(self) -> list[dict[str, Any]]:
        """Return all that the watches reported, as far as whole lines go."""
        texts = [self._place.joinpath(f"{number}.out").read_text() for number in range(self.started)]
        return [item for text in texts for item in lines_of(text[: text.rfind("\n") + 1])]

    def words(self) -> list[str]:
        """Return what each watch wrote on standard error."""
        return [self._place.joinpath(f"{number}.err").read_text() for number in range(self.started)]

    def errors(self) -> str:
        """Return what the watches that were not killed said last."""
        return "\n".join(text for text in self.words() if "Traceback" in text or "error" in text)


def judge(world: World, clean: Values, digests: dict[int, str]) -> Outcome:
    """Hold what happened against the laws."""
    written = [step + 1000 * life for step, life in order(world.scenario.steps, world.scenario.back)]
    found = values(world.store)
    names = {digest: mark for mark, digest in digests.items()}
    have = {names[digest] for digest in found if digest in names}
    outcome = Outcome(len(written), len(world.killed))
    outcome.law(len(have) == len(found), "the store has contents that training never wrote")
    count_evaluations(world, outcome, have, names)
    account(world, outcome, have, written)
    outcome.equal = sum(found[digests[mark]] == clean[digests[mark]] for mark in have)
    other = [mark for mark in have if found[digests[mark]] != clean[digests[mark]]]
    outcome.law(not other, f"other values than a clean run's: {[(mark, found[digests[mark]]) for mark in other]}")
    leftovers(world, outcome)
    return outcome


def count_evaluations(world: World, outcome: Outcome, have: set[int], names: dict[str, int]) -> None:
    """Count what was evaluated once, twice, and again only because a kill had interrupted it."""
    by: dict[int, list[int]] = {}
    for watch, mark in world.marks():
        by.setdefault(mark, [])
        if watch not in by[mark]:
            by[mark].append(watch)
    twice = {mark for mark, watches in by.items() if set(watches[:-1]) - world.killed}
    for begin, before in world.deaths:
        twice |= {names[digest] for digest in before} & {mark for _, mark in world.marks()[begin:]}
    outcome.twice = len(twice)
    outcome.once = len(have - twice)
    outcome.redone = sum(len(watches) > 1 for mark, watches in by.items() if mark not in twice)
    outcome.law(not twice, f"evaluated twice: {sorted(twice)}")
    outcome.law(have <= set(by), f"in the store without a prediction: {sorted(have - set(by))}")


def account(world: World, outcome: Outcome, have: set[int], written: list[int]) -> None:
    """Say where every checkpoint of a step went; one that was written twice counts as its file's name."""
    changes = [item for item in world.events() if item["event"] == "checkpoint" and item["step"] is not None]
    states: dict[str, set[int]] = {}
    for item in changes:
        if Path(item["path"]).name.startswith("step-"):
            states.setdefault(item["state"], set()).add(item["step"])
    steps = {mark % 1000 for mark in have}
    checkpoints = Store.open(world.store).checkpoints()
    lost = [Path(item.path) for item in checkpoints if item.failure and item.failure[0] == "vanished"]
    vanished = {int(path.stem[5:]) for path in lost if path.name.startswith("step-")}
    claimed = states.get("claimed", set()) | states.get("done", set())
    claimed |= {int(Path(name).stem[5:]) for name in world.pinned}
    held = steps | vanished if world.scenario.apart else steps
    outcome.law(claimed <= held, f"claimed and lost: {sorted(claimed - held)}")
    seen = set().union(*states.values()) if states else set()
    nowhere = sorted(seen - steps - vanished)
    outcome.law(not nowhere, f"seen, and neither evaluated nor vanished: {nowhere}")
    kept = set(written[-KEEP:])
    outcome.law(kept <= have, f"left in place and not evaluated: {sorted(kept - have)}")
    gone = {mark for mark in set(written) - have if mark % 1000 in vanished}
    outcome.vanished = len(gone)
    outcome.unseen = len(set(written) - have - gone)
    failed = Counter(item["class"] for item in world.events() if item["event"] == "failure")
    for kind in world.excused:
        del failed[kind]
    outcome.law(not failed, f"failed: {dict(failed)}")


def leftovers(world: World, outcome: Outcome) -> None:
    """Look for what should not be there any more."""
    codes = [code for _, code in world.ended if code not in ("0", "3")]
    outcome.law(not codes, f"watches ended with {codes}: {world.errors()[-2000:]}")
    for pattern in ("pins/*", "leases/*"):
        left = [(path.name, [item.name for item in path.glob("*")]) for path in world.store.glob(pattern)]
        outcome.law(not left, f"left: {left}")
    lost = outcome.vanished  # of what was lost half evaluated, the half is left
    for folder in world.store.glob("evaluations/*/*"):
        if not list(folder.glob("results.*.npz")):
            lost -= 1
            held = sorted(str(item.relative_to(folder)) for item in folder.rglob("*"))
            outcome.law(lost >= 0, f"nothing on record: {held}")
    limit = time.monotonic() + 10
    while any(map(alive, world.orphans)) and time.monotonic() < limit:
        time.sleep(0.05)
    outcome.law(not any(map(alive, world.orphans)), "children of killed watches live on")


def clean_run(place: Path, scenarios: Sequence[Scenario]) -> tuple[Values, dict[int, str]]:
    """Evaluate every content of some scenarios undisturbed; return the values, and the digest of each mark."""
    run = place / "run"
    run.mkdir(parents=True)
    marks = {pair for scenario in scenarios for pair in order(scenario.steps, scenario.back)}
    for step, life in marks:
        np.savez(run / f"step-{step + 1000 * life}.npz", **made(step, life))
    (place / "ev.py").write_text(EVALUATION)
    words = ["run", str(place / "ev.py"), str(run), "--store", str(place / "store"), "--json"]
    environment = {**ENVIRONMENT, "SOAK_LOG": str(place / "log")}
    done = subprocess.run([*MILEPOST, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the clean run failed: {done.stderr}")
    digests = {int(item.step or 0): str(item.digest) for item in Store.open(place / "store").checkpoints()}
    found = values(place / "store")
    assert len(found) == len(digests) == len(marks)
    return found, digests


def place_apart(folder: str, scenario: Scenario) -> str:
    """Return where a scenario's training folder is."""
    memory = "/dev/shm"  # noqa: S108 - what lies there is made in a folder of its own
    if scenario.apart and os.access(memory, os.W_OK) and os.stat(memory).st_dev != os.stat(folder).st_dev:
        return memory
    return folder


def soak(scenarios: tuple[Scenario, ...]) -> dict[str, Outcome]:
    """Run every scenario."""
    outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        clean, digests = clean_run(Path(folder, "clean"), scenarios)
        for seed, scenario in enumerate(scenarios):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=place_apart(folder, scenario)) as run:
                world = World(Path(folder, str(seed)), Path(run), scenario, seed)
                world.go()
                outcome = judge(world, clean, digests)
            outcome.seconds = time.monotonic() - began
            outcomes[scenario.name] = outcome
            print(row(scenario.name, outcome), *outcome.broken, sep="\n  ", file=sys.stderr, flush=True)
    return outcomes


HEAD = ("checkpoints", "kills", "once", "twice", "redone", "vanished", "never seen", "equal")


def row(name: str, outcome: Outcome | None) -> str:
    """Return a line of the table, its head where there is no outcome."""
    if outcome is None:
        return f"{'scenario':<20}" + "".join(f"{item:>12}" for item in HEAD)
    numbers = (outcome.written, outcome.kills, outcome.once, outcome.twice, outcome.redone)
    numbers += (outcome.vanished, outcome.unseen, outcome.equal)
    return f"{name:<20}" + "".join(f"{item:>12}" for item in numbers) + f"{outcome.seconds:>8.0f} s"


def figures_of(outcomes: dict[str, Outcome]) -> list[Figure]:
    """Return a line for each scenario."""
    figures = []
    for name, item in outcomes.items():
        found = (
            f"{item.written} written, {item.kills} kills: {item.once} once, {item.twice} twice, {item.redone} redone, "
            f"{item.vanished} vanished, {item.unseen} never seen, {item.equal} equal to a clean run's"
        )
        figures.append(Figure(name, found, "every law", not item.broken))
    return figures


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if not word.startswith("-")]
    chosen = tuple(item for item in SCENARIOS if not named or item.name in named)
    print(row("", None), file=sys.stderr)
    results = soak(chosen)
    main("Is everything that could be claimed evaluated exactly once, however often the watch is killed?",
         lambda: figures_of(results))  # fmt: skip
    sys.exit(any(item.broken for item in results.values()) and "--json" not in sys.argv[1:])
