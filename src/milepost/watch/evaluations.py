"""The evaluations of a watch: those whose turn it is are handed to the drivers, and how each ended becomes a fact."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from milepost._internal.fileid import identity, identity_of, stamp
from milepost._internal.serialization import now
from milepost.checkpoints._files.links import is_outside, refused_link
from milepost.checkpoints._files.own import name_of
from milepost.checkpoints._files.shards import main_file_in
from milepost.checkpoints.names import is_candidate
from milepost.core.escaping import one_line
from milepost.core.types import CheckpointFiles, Identity, Json
from milepost.errors import (
    CheckpointError,
    Crashed,
    NoSpace,
    OutOfMemory,
    StoreFull,
    TimedOut,
    Torn,
    UsageError,
    Vanished,
)
from milepost.run.driver import Driver
from milepost.run.events import Listen
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.watch.effects import Fate
from milepost.watch.scheduler import ATTEMPTS, wait_seconds
from milepost.watch.snapshot import Snapshot
from milepost.watch.states import Fact, State, Tracked
from milepost.watch.tracker import Tracker

_PASSING = frozenset({Crashed.kind, OutOfMemory.kind, TimedOut.kind, NoSpace.kind})
"""Failures of a process or of the store, which may pass without the file changing."""
_BATCH = 500
"""Files that the reader is asked about at once."""


class Evaluations:
    """The drivers, one for each evaluation of the file, as a watch uses them; the `World` of its tracker."""

    _tracker: Tracker
    _whole: Callable[[Tracked], None]

    def __init__(self, listen: Listen, snapshot: Snapshot) -> None:
        """Report to `listen`; links that lead out of the snapshot's roots are not followed."""
        self.drivers: list[Driver] = []
        self._listen = listen
        self._snapshot = snapshot
        self._claimed: dict[str, Tracked] = {}

    def begin(self, tracker: Tracker, whole: Callable[[Tracked], None]) -> None:
        """Have the drivers read checkpoints where they are pinned; `whole` takes each that is complete."""
        self._tracker, self._whole = tracker, whole
        for driver in self.drivers:
            driver.identifier.place = self._place

    def report(self, event: dict[str, Json]) -> None:
        """Take one event of a driver: what it says of a checkpoint's state is the watch's to decide."""
        tracked = self._claimed.get(str(event.get("path")))
        if event["event"] == "checkpoint":
            if tracked is None:
                return
            if event["state"] == "claimed":
                self._tracker.apply(tracked, Fact.BEGUN)
            elif event["state"] == "done":
                tracked.evaluated = True
            else:
                tracked.reason = event["reason"]
        elif event["event"] == "failure" and tracked is not None:
            tracked.failures.append(event)
        else:
            self._listen(event)

    # --------------------------------------------------------------------------------------------------- evaluations

    def work(self, chunk: Sequence[Tracked], *, ending: bool) -> None:
        """Have a few checkpoints evaluated together, and learn how each ended."""
        for tracked in chunk:
            # Two contents under one path, the older one pinned, are taken one after the other.
            if tracked.path not in self._claimed and self._tracker.intact(tracked):
                tracked.failures, tracked.evaluated = [], False
                self._tracker.apply(tracked, Fact.TURN)
                self._claimed[tracked.path] = tracked
        claimed = list(self._claimed.values())
        for driver in self.drivers:
            for tracked in claimed:
                driver.forget(tracked.path)
            driver.work([tracked.files for tracked in claimed if tracked.files is not None])
        deferred = set().union(*(driver.deferred for driver in self.drivers))
        self._claimed = {}
        for tracked in claimed:
            if tracked.path in deferred:
                self._tracker.apply(tracked, Fact.LEASED)
            elif tracked.failures:
                self._failed(tracked, ending=ending)
            else:
                self._tracker.apply(tracked, Fact.RESULTS, None if tracked.evaluated else tracked.reason)
            for driver in self.drivers:
                driver.identifier.forget(tracked.path)  # it is in the store

    def _failed(self, tracked: Tracked, *, ending: bool) -> None:
        failures = {(event["class"], event["message"]): event for event in tracked.failures}
        latest, kinds = tracked.failures[-1], {kind for kind, _ in failures}
        if kinds <= {Torn.kind, Vanished.kind} and not self._tracker.intact(tracked):
            return
        if kinds == {Torn.kind} and not tracked.last:
            self._tracker.apply(tracked, Fact.TORN)
            return
        if kinds == {Vanished.kind}:
            self._tracker.apply(tracked, Fact.GONE, latest["message"])
            return
        for event in failures.values():
            self._listen(event)
        tracked.attempts = max(tracked.attempts + 1, *(event["attempts"] for event in tracked.failures))
        full = NoSpace.kind in kinds  # that is no fault of the checkpoint's: it is tried until there is room
        if kinds <= _PASSING and (full or tracked.attempts < ATTEMPTS) and not ending:
            wait = wait_seconds(min(tracked.attempts, ATTEMPTS))
            tracked.due = time.monotonic() + wait
            self._tracker.apply(tracked, Fact.PASSING, f"{latest['class']}: tried again in {wait:g} s")
        else:
            if full:
                self._tracker.hand_on(tracked)
            tracked.requests = tuple(_requests(self.drivers, tracked))
            self._tracker.apply(tracked, Fact.FAILURE, latest["class"])

    def _place(self, files: CheckpointFiles) -> CheckpointFiles:
        """Return where a checkpoint is to be read: at its pin, as long as that is there."""
        tracked = self._claimed.get(files.path)
        at = tracked.at if tracked is not None and tracked.files == files else None
        return at if at is not None and os.path.exists(at.path) else files

    # --------------------------------------------------------------------------------------------------------- World

    def read(self, paths: Sequence[str]) -> Mapping[str, CheckpointFiles]:
        """Ask the reader what lies under these paths; what is gone is left out."""
        roots = self._snapshot.roots
        outside = {path for path in paths if is_outside(path, roots)}
        rows = [refused_link(path, roots) for path in outside]
        inside = [path for path in paths if path not in outside]
        for begin in range(0, len(inside), _BATCH):
            rows += self._discover(inside[begin : begin + _BATCH])
        return {files.path: files for files in rows if files is not None}

    def _discover(self, paths: list[str]) -> list[CheckpointFiles]:
        try:
            return self.drivers[0].session.discover(paths)
        except (UsageError, CheckpointError) as error:
            if len(paths) > 1:  # one of them is gone, or brought the reader down
                return [files for path in paths for files in self._discover([path])]
            (path,) = paths
            if not os.path.exists(path) and not (os.path.islink(path) and is_candidate(os.path.basename(path))):
                return []
            why = (error.kind if isinstance(error, CheckpointError) else Vanished.kind, str(error))
            return [CheckpointFiles(path, None, (path,), identity(os.lstat(path)), "failed", why)]

    def fate(self, tracked: Tracked, *, here: bool) -> Fate:
        """Say whether another watcher has this very content's result, is at it, or has it pinned where we have not."""
        store, run = self.drivers[0].store, self._run_of(tracked.path)
        mine = tracked.identity
        pins = [] if here else store.pins.of_others(tracked.path, mine.device, mine.inode, store.workers())
        held = any(_shows(pin.link, mine) for pin in pins)  # asked first: who releases it has published
        fate = whereabouts(self.drivers, run, tracked.path, self._latest(run, tracked))
        return "held" if fate == "lost" and held else fate

    def _latest(self, run: str, tracked: Tracked) -> Identity:
        """Return the identity by which others know a checkpoint."""
        mine = tracked.identity
        if tracked.files is not None:
            return mine
        # Gone before it was read, perhaps half written: what others read of this very file counts.
        read = [item for item in self.drivers[0].store.checkpoints(run) if item.path == tracked.path and item.digest]
        same = [item.identity for item in read if item.identity.content[:2] == mine.content[:2]]
        later = [identity for identity in same if identity.mtime_ns >= mine.mtime_ns]
        return max(later, key=lambda identity: identity.mtime_ns, default=mine)

    def needed(self, tracked: Tracked) -> bool:
        """Say whether any result is missing, as far as that is known without reading the file."""
        files = tracked.files
        run = self._run_of(tracked.path)
        return files is None or whereabouts(self.drivers, run, files.path, files.identity) != "done"

    def publish(self, tracked: Tracked) -> None:
        """Publish and report the failure of a checkpoint that was refused or has vanished."""
        run = self._run_of(tracked.path)
        if tracked.state == "failed" and tracked.files is not None:
            try:
                refused = self.drivers[0].identifier.identify(tracked.files)
            except StoreFull:  # reported all the same
                kind, message = tracked.files.failure or (str(tracked.reason), "")
                refused = [self.drivers[0].identifier.unidentified(tracked.files, kind, message)]
            for checkpoint in refused:
                if checkpoint.failure is not None:
                    self.drivers[0].reporter.failed(checkpoint, *checkpoint.failure)
            tracked.requests = tuple(_requests(self.drivers[:1], tracked))
            self.drivers[0].identifier.forget(tracked.path)
            return
        message = str(tracked.reason).removeprefix(one_line(f"{tracked.path}: "))
        record = CheckpointRecord(
            run,
            tracked.path,
            tracked.identity,
            name_of(tracked.path),
            step=tracked.step,
            step_source=None if tracked.step is None else "name",
            failure=(Vanished.kind, message),
            seen=now(),
        )
        with suppress(StoreFull):  # reported all the same
            self.drivers[0].store.add_checkpoint(record)
        self.drivers[0].reporter.failed(record, Vanished.kind, message)

    def emit(self, tracked: Tracked, state: State) -> None:
        """Report a state."""
        if state == "complete":
            self._whole(tracked)
        named = {"run": self._run_of(tracked.path), "path": tracked.path, "name": name_of(tracked.path)}
        reason = tracked.reason if state == tracked.state else None
        self._listen({"event": "checkpoint", **named, "step": tracked.step, "state": state, "reason": reason})

    @contextmanager
    def keeping(self, tracked: Tracked) -> Iterator[None]:
        """Release a pin in this context: what the checkpoint's files were known to hold they hold after it."""
        paths = () if tracked.files is None else tracked.files.paths
        before = stamp(paths)
        yield
        after = stamp(paths)
        if tracked.files is not None and before and after and before != after:
            for driver in self.drivers:
                driver.identifier.restamped(tracked.files, before, after)

    def _run_of(self, path: str) -> str:
        return self.drivers[0].identifier.run_of(path)


def whereabouts(drivers: Sequence[Driver], run: str, path: str, identity: Identity) -> Fate:
    """Say what became of a content whose file may be gone: its results are in the store, or somebody makes them.

    As long as somebody is at one of its data sets the others are not lost.  Where all its outcomes are kept and records
    are missing, since whoever evaluated it was killed before, these are computed now: that takes no model.
    """
    files = CheckpointFiles(path, None, (), identity)
    fates = set[Fate]()
    for driver in drivers:
        for variant in driver.spec.variants:
            checkpoint = driver.store.checkpoint(run, path, identity, variant, driver.spec.signature)
            if checkpoint is None or checkpoint.digest is None:
                fates.add("lost")
                continue
            for data in driver.data:
                item = driver.item(checkpoint, files, data)
                if item.gaps and driver.in_hand(item):
                    fates.add("held")
                elif item.gaps and (item := driver.item(checkpoint, files, data)).gaps:
                    fates.add("lost")  # who held it has not just finished it
                elif item.decision.action == "score":
                    driver.finish(item, new=False)
    return "held" if "held" in fates else "lost" if "lost" in fates else "done"


def _requests(drivers: Sequence[Driver], tracked: Tracked) -> Iterator[Callable[[], bool]]:
    """Yield how to ask whether a retry is requested of each failure of a checkpoint, as far as they are known."""
    if tracked.files is None:
        return
    for driver in drivers:
        for checkpoint in driver.identifier.known(tracked.files):
            if checkpoint.failure is not None:
                yield partial(driver.store.retry_requests.has, checkpoint)
                continue
            items = [driver.item(checkpoint, tracked.files, data) for data in driver.data]
            yield from (driver.store.evaluation(item.key).failures.retry_requested for item in items if item.gaps)


def _shows(link: str, identity: Identity) -> bool:
    try:
        return identity_of(main_file_in(link)).content == identity.content
    except OSError:
        return False
