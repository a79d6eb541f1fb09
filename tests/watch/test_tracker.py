"""The laws of a watch over a simulated world: files come, grow, are overwritten and deleted; pins are lost; other
watchers take and finish checkpoints; the watch is killed.

Folders, scans and pins are real; what a file holds is its text, and what a reader or an evaluation would say of it is
drawn.  Nothing waits: times are those that files are given.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from milepost._internal.fileid import identity_of
from milepost.checkpoints.names import is_candidate
from milepost.core.types import CheckpointFiles
from milepost.store.pins import Pin, Pins
from milepost.watch.effects import Fate
from milepost.watch.scanner import Scanner
from milepost.watch.scheduler import Scheduler
from milepost.watch.snapshot import ScannedFile, Snapshot
from milepost.watch.states import ENDS, OPEN, Fact, State, Tracked
from milepost.watch.tracker import Tracker

NAMES = ["step-1.npz", "step-30.npz", "last.npz", "new.part"]
KINDS = ["complete", "complete", "writing", "failed", "other"]
EVENTS = [
    *("write in place", "replace", "delete", "rename", "lose a pin", "retry", "kill", "nothing"),
    *("another watcher has it", "another watcher finishes it", "the others die"),
]
OUTCOMES = [None, None, Fact.RESULTS, Fact.LEASED, Fact.TORN, Fact.PASSING, Fact.FAILURE]


class Watched(Tracker):
    """A tracker whose ends are counted."""

    ends: Counter[Tracked]
    retries: Counter[Tracked]

    def apply(
        self,
        tracked: Tracked,
        fact: Fact,
        reason: str | None = None,
        found: tuple[ScannedFile, Pin | None] | None = None,
    ) -> None:
        before = tracked.state
        if fact is Fact.RETRY and before == "failed":
            self.retries[tracked] += 1
        super().apply(tracked, fact, reason, found)
        if before in OPEN and tracked.state in (*ENDS, "ignored"):
            self.ends[tracked] += tracked.state in ENDS
            assert tracked.pin is None
        if before in (*ENDS, "ignored"):
            assert tracked.state == before or fact in (Fact.RETRY, Fact.CHANGED)


class World:
    """What the reader, the store and the user are to a tracker."""

    def __init__(self) -> None:
        self.results: set[str] = set()
        self.taken: set[str] = set()
        self.texts: dict[tuple[int, int, int, int], str] = {}
        self.published: Counter[Tracked] = Counter()
        self.events: list[tuple[Tracked, State]] = []

    def text(self, tracked: Tracked) -> str:
        return self.texts.get(tracked.identity.content, "")

    def read(self, paths: Sequence[str]) -> Mapping[str, CheckpointFiles]:
        found: dict[str, CheckpointFiles] = {}
        for path in paths:
            if os.path.exists(path):
                files = CheckpointFiles(path, "test", (path,), identity_of(path))
                match Path(path).read_text().partition(" ")[0]:
                    case "complete":
                        found[path] = files
                    case "writing":
                        found[path] = replace(files, state="writing")
                    case "failed":
                        found[path] = replace(files, format=None, state="failed", failure=("corrupt", "not this"))
        return found

    def fate(self, tracked: Tracked, *, here: bool) -> Fate:
        text = self.text(tracked)
        return "done" if text in self.results else "held" if text in self.taken else "lost"

    def needed(self, tracked: Tracked) -> bool:
        return self.text(tracked) not in self.results

    def publish(self, tracked: Tracked) -> None:
        assert tracked.state in ("failed", "vanished")
        # Nobody misses a temporary file.
        assert is_candidate(Path(tracked.path).name) or self.text(tracked).startswith(("complete", "failed"))
        self.published[tracked] += 1

    def emit(self, tracked: Tracked, state: State) -> None:
        assert state == "failed" or (tracked, state) not in self.events[-1:]  # a retry may fail again
        self.events.append((tracked, state))

    def keeping(self, tracked: Tracked) -> AbstractContextManager[None]:
        return nullcontext()


class Watching(RuleBasedStateMachine):
    """A folder, what happens in it, and a watch that looks now and then."""

    @initialize(every=st.sampled_from([None, 10]), links=st.booleans())
    def begin(self, every: int | None, links: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "run").mkdir()
        (self.folder / "store").mkdir()
        self.clock = self.number = 0
        self.every = every
        self.world = World()
        self.released: Counter[str] = Counter()
        self.evaluated: Counter[str] = Counter()
        self.link = os.link
        if not links:
            os.link = self.refuse  # type: ignore[assignment]
        self.start()

    def refuse(self, source: str, target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    def start(self) -> None:
        """Start a watch, as after a kill."""
        self.pins = Pins(self.folder / "store")
        self.pins.__enter__()
        snapshot = Snapshot([str(self.folder / "run")])
        self.scanner = Scanner(snapshot, self.pins, self.settled)
        self.tracker = Watched(self.scanner, self.world, Scheduler("oldest", self.every, 2), 1e9)
        self.tracker.ends, self.tracker.retries = Counter(), Counter()
        self.scanner.scan(full=True)
        self.take_in()
        self.tracker.adopt()

    def settled(self, file: ScannedFile) -> bool:
        return self.world.texts.get(file.identity.content) in self.world.results

    def take_in(self) -> None:
        for result in self.scanner.take(()):
            self.tracker.take_in(result)
        self.tracker.look()

    def write(self, path: Path, kind: str) -> None:
        self.number += 1
        text = f"{kind} {self.number}"
        path.write_text(text)
        self.clock += 1
        os.utime(path, (1e9 + self.clock, 1e9 + self.clock))  # long ago: it does not seem to be written just now
        self.world.texts[identity_of(str(path)).content] = text

    def path(self, name: str) -> Path:
        return self.folder / "run" / name

    # One rule, and not one for each event: Hypothesis leaves rules out of most of its runs, and what is of interest
    # takes several of them.

    @rule(
        event=st.sampled_from(EVENTS),
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(KINDS),
        which=st.integers(0, 9),
        outcome=st.sampled_from(OUTCOMES),
    )
    def happen(self, event: str, name: str, kind: str, which: int, outcome: Fact | None) -> None:
        """Let something happen in the folder, to the pins or to the watchers; then the watch may take a turn."""
        there = sorted((self.folder / "run").iterdir())
        one = there[which % len(there)] if there else self.path(name)
        self.in_the_folder(event, name, kind, one)
        self.around_it(event, name, one)
        if outcome is not None:
            self.scanner.scan(full=True)
            self.turn(outcome, ending=False)

    def in_the_folder(self, event: str, name: str, kind: str, one: Path) -> None:
        match event:
            case "write in place":
                self.write(self.path(name), kind)
            case "replace":
                self.write(self.path(".hidden"), kind)
                os.replace(self.path(".hidden"), self.path(name))
            case "delete":
                one.unlink(missing_ok=True)
            case "rename" if one.exists():
                os.replace(one, self.path(name))

    def around_it(self, event: str, name: str, one: Path) -> None:
        match event:
            case "lose a pin":
                for link in [*(self.folder / "store" / "pins").glob(f"*/{name}")][:1]:
                    shutil.rmtree(link.parent)
            case "another watcher has it" if one.exists():
                self.world.taken.add(one.read_text())
            case "another watcher finishes it" if one.exists() and one.read_text().startswith("complete"):
                self.world.results.add(one.read_text())
            case "the others die":
                self.world.taken.clear()
            case "retry":
                for tracked in self.tracker.of("failed"):
                    self.tracker.retry(tracked)
            case "kill":
                self.start()

    def turn(self, outcome: Fact, *, ending: bool) -> None:
        """Do what the loop does once."""
        self.take_in()
        self.tracker.wait_or_give_up(ending=ending)
        self.tracker.ask_again()
        self.tracker.look()
        for tracked in self.tracker._scheduler.next(self.tracker.of("complete"), ending=True):
            if self.tracker.intact(tracked):
                self.tracker.apply(tracked, Fact.TURN)
                self.evaluate(tracked, outcome)
        self.tracker.look()

    def evaluate(self, tracked: Tracked, outcome: Fact) -> None:
        at = tracked.at
        assert at is not None
        text = Path(at.path).read_text()
        assert at.format is None or text == self.world.text(tracked)  # what is evaluated is what was read
        if text in self.world.results:
            self.tracker.apply(tracked, Fact.RESULTS)
            return
        if outcome is Fact.LEASED:
            self.world.taken.add(text)
        if text.startswith("writing"):
            outcome = Fact.FAILURE if tracked.last else Fact.TORN
        if outcome is Fact.RESULTS:
            self.tracker.apply(tracked, Fact.BEGUN)
            self.world.results.add(text)
            self.evaluated[text] += 1
        elif outcome is Fact.TORN and tracked.last:
            outcome = Fact.FAILURE
        self.tracker.apply(tracked, outcome)

    # ------------------------------------------------------------------------------------------------------- the laws

    @invariant()
    @precondition(lambda self: hasattr(self, "tracker"))
    def a_pin_has_one_record(self) -> None:
        held = [tracked.pin for tracked in self.tracker.open if tracked.pin is not None]
        assert len(held) == len(set(held))

    @invariant()
    @precondition(lambda self: hasattr(self, "tracker"))
    def a_record_ends_once(self) -> None:
        for tracked, number in self.tracker.ends.items():
            assert number <= 1 + self.tracker.retries[tracked]

    def teardown(self) -> None:
        if not hasattr(self, "tracker"):
            return
        try:
            self.world.taken.clear()
            for _ in range(12):
                self.scanner.scan(full=True)
                self.turn(Fact.RESULTS, ending=True)
                if not self.tracker.of(*OPEN):
                    self.tracker.adopt()
            assert not self.tracker.of(*OPEN)
            assert max(self.evaluated.values(), default=0) <= 1  # nothing is evaluated twice
            assert not list((self.folder / "store").glob("pins/*"))  # every pin was released
            last: dict[Tracked, State] = dict(self.world.events)
            for tracked in self.tracker.at_path.values():
                assert tracked.state in (*ENDS, "ignored")
                assert tracked.state == "ignored" or last[tracked] == tracked.state  # and every end was reported
            for path in (self.folder / "run").iterdir():
                text, state = path.read_text(), self.tracker.at_path[str(path)].state
                if text.startswith("complete") and self.every is None:
                    assert state in ("done", "failed")  # what is there has not vanished, and is nobody else's
                    assert state == "failed" or text in self.world.results
        finally:
            os.link = self.link
            shutil.rmtree(self.folder)


Watching.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWatching = Watching.TestCase
