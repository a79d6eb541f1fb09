"""Verbs that work in one process, each killed before one of its file operations, as `kills.py` asks.

The process is a fork of this one, which has imported everything and done nothing: it kills itself, for real, when it
begins the nth operation below the world's folder, so that nothing of it cleans up.
"""

import importlib
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests._material import contents, leftovers, save, weights_of
from tests.store._work import check_whole

import milepost.cli
from milepost._internal.atomic import PREFIX

STEPS = 8
_WRITTEN = ("out.csv", "out.jsonl", "out.svg", "out.md", "best.npz")
EVALUATION = """
import os
from tests._material import evaluation_of


def predict(weights, x):
    with open(os.environ["KILLS_LOG"], "a") as log:
        log.write(f"{int(weights['mark'])}\\n")
    return x @ weights["w"] + weights["b"]


evaluation = evaluation_of(300, predict, batch_size=300)
"""
_EVENTS = {"open", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.rename", "os.listdir",
           "os.scandir", "os.utime", "os.truncate"}  # fmt: skip

State = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What came of the kills of one verb."""

    kills: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every law held."""
        return not (self.lost or self.doubled or self.left or self.tracebacks or self.other)

    def broken(self) -> list[str]:
        """Return what did not hold, in words."""
        named = {"lost": self.lost, "doubled": self.doubled, "left over": self.left, "traceback": self.tracebacks}
        return [f"{what}: {words}" for what, found in (named | {"other": self.other}).items() for words in found]


class World:
    """Checkpoints, one of them damaged, and a store in which all were evaluated; put back before each trial."""

    def __init__(self, place: Path) -> None:
        self.place, self.run, self.store = place, place / "run", place / "store"
        self._kept = place.with_name(f"{place.name}-kept")
        self.run.mkdir(parents=True)
        for step in range(1, STEPS + 1):
            save(self.run / f"step-{step}.npz", weights_of(step), mark=np.int64(step))
        (self.run / "step-99.pt").write_bytes(b"<html>not found</html>")
        (place / "ev.py").write_text(EVALUATION)
        (place / "log").touch()
        os.environ.update(KILLS_LOG=str(place / "log"), XDG_CACHE_HOME=str(place / "cache"), TMPDIR=str(place))
        self.evaluate = ["run", str(place / "ev.py"), str(self.run), "--engine", "inprocess", *self.stored]
        if (code := self.forked(self.evaluate)) != 3:
            raise SystemExit(f"the world was not made: {code}, {self.message()}")
        shutil.copytree(place, self._kept, copy_function=os.link)

    @property
    def stored(self) -> list[str]:
        """The words that name the store."""
        return ["--store", str(self.store)]

    def put_back(self) -> None:
        """Make everything as it was: the very same files of checkpoints, by their links, and copies of all others."""
        shutil.rmtree(self.place)
        shutil.copytree(self._kept, self.place, copy_function=os.link)
        for folder in (self.store, self.place / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._kept / "store", self.store)
        (self.place / "log").unlink()
        (self.place / "log").touch()

    def state(self) -> State:
        """Return all that lies in the world, less what the user does not keep (the log, caches, words), and ctimes.

        Putting the world back changes these.
        """
        stored = contents(self.store).items()
        held = {f"store/{name}": _without_ctime(name, item) for name, item in stored if "/verified/" not in name}
        held |= {f"run/{path.name}": path.stat().st_ino for path in self.run.iterdir()}
        for name in _WRITTEN:
            path = self.place / name
            if path.is_symlink():
                held[name] = os.readlink(path)
            elif path.exists():
                held[name] = path.read_bytes()
        return held

    def predicted(self) -> list[str]:
        """Return the marks of the checkpoints that were predicted since the world was put back."""
        return sorted(set((self.place / "log").read_text().split()))

    def message(self) -> str:
        """Return what the last process wrote on standard error."""
        return (self.place / "words").read_text(errors="replace")

    def forked(self, words: list[str], kill_at: int = 0, count: Path | None = None) -> int:
        """Run a command in a fork of this process; return its exit code, or less than 0 where it was killed."""
        pid = os.fork()
        if not pid:
            self._be(words, kill_at, count)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _be(self, words: list[str], kill_at: int, count: Path | None) -> None:
        code = 99
        try:
            out = os.open(self.place / "words", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(out, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            seen = _killed_at(kill_at, str(self.place))
            code = milepost.cli.main(words)
            if count is not None:
                count.write_text(str(seen[0]))
        except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)


def _killed_at(number: int, place: str) -> list[int]:
    """Count this process's operations below a folder, and kill it before one of them; return the count as it grows."""
    seen = [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in _EVENTS and (str(args[0]).startswith(place) or event == "os.remove"):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


Words = Callable[[World], list[str]]
VERBS: dict[str, tuple[int, Words]] = {
    "score": (40, lambda world: ["score", "--all", "--metric", "top_k(k=3)", *world.stored]),
    "gc --delete": (
        50,
        lambda world: ["gc", str(world.run), "--metric", "top1", "--even-if-tied", "--keep-best", "2", "--keep-last",
                       "1", "--delete", *world.stored],
    ),
    "export csv": (20, lambda world: ["export", "csv", str(world.place / "out.csv"), *world.stored]),
    "export jsonl": (10, lambda world: ["export", "jsonl", str(world.place / "out.jsonl"), *world.stored]),
    "ls, cold": (20, lambda world: ["ls", "--json", *world.stored]),
    "forget --data": (25, lambda world: ["forget", "--data", "test", "--delete", *world.stored]),
    "forget 3": (15, lambda world: ["forget", "3", "--delete", *world.stored]),
    "best --link": (
        10, lambda world: ["best", "--metric", "top1", "--link", str(world.place / "best.npz"), *world.stored],
    ),
    "plot": (10, lambda world: ["plot", "curve", "-o", str(world.place / "out.svg"), *world.stored]),
    "report": (10, lambda world: ["report", "--markdown", "-o", str(world.place / "out.md"), *world.stored]),
    "compare": (5, lambda world: ["compare", "1", "2", *world.stored]),
    "failures --retry": (10, lambda world: ["failures", "--retry", *world.stored]),
    "run, nothing missing": (10, lambda world: world.evaluate),
}  # fmt: skip


def killed_verb(world: World, name: str, kills: int, chance: random.Random) -> Outcome:
    """Kill a verb at that many of its operations; hold what it left, and what comes after, against the laws."""
    outcome = Outcome()
    words, count = VERBS[name][1](world), world.place.with_name("count")
    world.put_back()
    before = world.state()
    usual = world.forked(words, count=count)
    after = world.state()
    world.forked(world.evaluate)
    at_last, predicted, total = world.state(), world.predicted(), int(count.read_text())
    for at in sorted(chance.sample(range(1, total + 1), min(kills, total))):
        world.put_back()
        if (code := world.forked(words, kill_at=at)) != -signal.SIGKILL:
            outcome.other.append(f"operation {at} of {total}: not killed, exit code {code}: {world.message()}")
            continue
        outcome.kills += 1
        where = f"operation {at} of {total}"
        check_whole(world.store)
        now = world.state()
        gone = [thing for thing, item in before.items() if after.get(thing) == item != now.get(thing)]
        outcome.lost += [f"{where}: {thing}" for thing in gone]
        again = world.forked(words)
        if "Traceback" in world.message():
            outcome.tracebacks.append(f"{where}: {world.message()}")
        if again != usual and not (again == 2 and _without_rest(now) == _without_rest(after)):
            outcome.other.append(f"{where}: the same again: exit code {again}: {world.message()}")
        if _without_rest(world.state()) != _without_rest(after):
            outcome.lost.append(f"{where}: the same again does not bring what it usually does")
        world.forked(world.evaluate)
        if "Traceback" in world.message():
            outcome.tracebacks.append(f"{where}: {world.message()}")
        outcome.lost += [f"{where}: in the end, {thing}" for thing in _differing(world.state(), at_last)]
        if world.predicted() != predicted:
            outcome.doubled.append(f"{where}: predicted {world.predicted()}, usually {predicted}")
        outcome.left += [f"{where}: {thing}" for thing in _left(world)]
    return outcome


def _without_rest(state: State) -> State:
    """Return a state less what the next run sweeps."""
    marks = (PREFIX, "store/workers/", "/leases/")
    return {name: item for name, item in state.items() if not any(mark in name for mark in marks)}


def _without_ctime(name: str, item: Any) -> Any:
    """Return what a store holds under a name without the ctime, and its digest, of a checkpoint."""
    if "/checkpoints/" not in name:
        return item
    return {**item, "identity": item["identity"][:4], "stamp": ""}


def _differing(one: State, other: State) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _left(world: World) -> list[str]:
    """Return temporary files, leases, heartbeats and folders of temporary files, after a run that swept."""
    known = {"run", "store", "ev.py", "log", "words", "cache", *_WRITTEN}
    return [*leftovers(world.store), *(name for name in os.listdir(world.place) if name not in known)]


def import_all() -> None:
    """Import what the verbs import when they are first used, so that a fork begins with its work."""
    for name in milepost.cli.verbs():
        importlib.import_module(f"milepost.cli.{name}")
    for name in (
        "milepost.run.run",
        "milepost.watch.watch",
        "milepost.scoring.records",
        "milepost.report._ranking",
        "milepost.report.pages.markdown",
        "milepost.report.chart.svg",
    ):
        importlib.import_module(name)
