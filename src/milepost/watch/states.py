"""The ledger of a watch: every sighting and its state, from `seen` to one of `done`, `failed`, `vanished`, `thinned`.

A sighting is one content under one path.  It is `seen` once a format, or its name, says that it is a checkpoint;
`writing` while that content is not whole; `complete` while it waits for its turn; `claimed` while it is evaluated.
Each change is told as an event.  Files that are no checkpoints have no state.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from milepost.checkpoints._files.shards import moved, reworded
from milepost.checkpoints.discovery import would_search
from milepost.checkpoints.names import is_candidate, short_name, step_of_name
from milepost.core.types import CheckpointFiles, Json
from milepost.watch.scanner import Lookout
from milepost.watch.snapshot import Changes, Key, Seen, key_of, main_path

Fate = Literal["done", "held", "lost"]
"""What became of a content whose file is gone: its results are there, another watcher has it in hand, or neither."""

ENDS = ("done", "failed", "vanished", "thinned")
_POLLS = 2
"""An incomplete or unknown file that stood still for so many scans is not being written in this moment."""
_SETTLED_SECONDS = 10.0
_LOST = (
    "{how} before it could be evaluated, and it was not pinned; raise keep-last (max_to_keep), or put the store on the "
    "same file system as the checkpoints so that they can be pinned"
)


@dataclass(slots=True, eq=False)
class Entry:
    """One sighting: as the file system shows it, as it is addressed (`found`), and as it is read (`at`, its pin).

    `state` is "" before anybody looked into it and "ignored" where it is no checkpoint.  `still` is the scan, `changed`
    the monotonic second, of its last change; `last` is set where no more waiting is of use.
    """

    seen: Seen
    still: int
    changed: float
    state: str = ""
    files: CheckpointFiles | None = None
    at: CheckpointFiles | None = None
    step: int | None = None
    last: bool = False

    @property
    def path(self) -> str:
        """Its address."""
        return self.seen.path


class Ledger:
    """Keeps the states; the watch asks it what is `ready` and tells it how things ended."""

    def __init__(
        self,
        lookout: Lookout,
        look: Callable[[Sequence[str]], dict[str, CheckpointFiles]],
        tell: Callable[[Entry, str, str | None], None],
        whereabouts: Callable[[Entry], Fate],
        torn_after: float,
        every: int | None = None,
    ) -> None:
        """`look` reads the beginnings of files, `tell` is told of each new state and the reason for it.

        `whereabouts` says whether the store has the result of what is gone here, or another watcher has it in hand.
        """
        self.lookout = lookout
        self.counts: Counter[str] = Counter()
        self.ready: dict[Key, Entry] = {}
        self.writing: dict[Key, Entry] = {}
        self.claimed: dict[Key, Entry] = {}
        self.kept: dict[str, set[int]] = {}
        self.whereabouts = whereabouts
        self._others: list[tuple[Entry, str]] = []
        self._look = look
        self._tell = tell
        self._torn_after = torn_after
        self._every = every
        self._current: dict[str, Entry] = {}

    @property
    def busy(self) -> bool:
        """Whether anything has not ended."""
        return bool(self.ready or self.writing or self.claimed or self._others)

    def pending(self) -> list[str]:
        """Return the paths of all that has not ended: they are looked at in every scan."""
        return [entry.path for held in (self.ready, self.writing, self.claimed) for entry in held.values()]

    # ------------------------------------------------------------------------------------------------------- changes

    def absorb(self, changes: Iterable[Changes]) -> None:
        """Take in what the lookout saw, in its order, and look into what is new."""
        asked: dict[Key, Entry] = {}
        for change in changes:
            present = {key_of(seen)[1:]: seen for seen in change.new}
            for seen in change.gone:
                self._gone(seen, present)
            for seen in change.new:
                entry = self._new(seen)
                if entry is not None:
                    asked[key_of(seen)] = entry
            for entry in self._part(change.parts):
                asked[key_of(entry.seen)] = entry
        self.look_into(list(asked.values()))

    def adopt(self, seen: Seen) -> None:
        """Take in what an earlier watch had pinned and what is no longer in its folder."""
        entry = Entry(seen, self.lookout.scans, time.monotonic())
        self.look_into([entry])
        if entry.state == "writing":
            self.lose(entry, "deleted while it was being written")

    def miss(self, seen: Seen) -> None:
        """Take in what an earlier watch saw and could not hold, and what is gone since."""
        entry = Entry(seen, self.lookout.scans, time.monotonic(), step=step_of_name(seen.path))
        self.lose(entry, "deleted while no watch was there")

    def look_into(self, entries: Sequence[Entry]) -> None:
        """Ask a reader what these are, and move them on."""
        if not entries:
            return
        places = {}
        for entry in entries:
            pin = self.lookout.held(entry.seen)
            places[entry] = pin.link if pin is not None and os.path.exists(pin.link) else entry.path
        checkpoints = self._look(list(places.values()))
        whole = []
        for entry, place in places.items():
            at = checkpoints.get(place)
            if at is None or not would_search(at):
                self._unknown(entry, place)
                continue
            entry.at, entry.files = at, _addressed(at, place, entry.path)
            entry.step = step_of_name(entry.path)
            if not entry.state:
                self._move(entry, "seen")
            if at.state == "complete" or (at.state == "failed" and self._settled(entry)):
                whole.append(entry)
            else:
                self._move(entry, "writing")
        self._complete(whole)

    def _new(self, seen: Seen) -> Entry | None:
        """Return the entry of new content under a path, to be looked into; None where looking is of no use."""
        known = self._current.get(seen.path)
        if known is not None and key_of(known.seen) == key_of(seen):
            if known.files is not None and known.files.identity.content == seen.content:
                known.seen = seen  # it was looked into after it had changed
                if known.state in ENDS:
                    self.lookout.finish(seen, seen.content)  # pinned anew when the scan came upon it
                return None
            if known.state == "ignored" and known.seen.identity.size >= _HEAD <= seen.identity.size:
                known.seen = seen  # it grew, and its beginning was no checkpoint's
                return None
            if known.state in ("", "seen", "writing"):
                known.seen, known.still, known.changed = seen, self.lookout.scans, time.monotonic()
                return known
            if known.state == "complete":
                self.lose(known, "overwritten")
            if self._current[seen.path] is not known:
                return None  # its end has taken the new content in
        elif known is not None:
            self._leave(known, "replaced")
        age = max(0.0, time.time() - seen.identity.mtime_ns / 1e9)
        entry = Entry(seen, self.lookout.scans, time.monotonic() - age)
        self._current[seen.path] = entry
        return entry

    def _part(self, parts: Sequence[Seen]) -> Iterator[Entry]:
        """Yield the entries that parts have changed of, and that may be whole now."""
        for path in {main_path(seen.path): None for seen in parts}:
            entry = self._current.get(str(path))
            if entry is not None and entry.state in ("", "seen", "writing"):
                entry.still, entry.changed = self.lookout.scans, time.monotonic()
                yield entry

    def _gone(self, seen: Seen, present: dict[tuple[int, int], Seen]) -> None:
        entry = self._current.pop(seen.path, None)
        if entry is None:
            return
        other = present.get(key_of(seen)[1:])
        # A deleted file's inode is soon given away: only where the content is the same, too, it was renamed.
        if other is not None and (other.content == entry.seen.content or entry.state in ("", "writing")):
            self.drop(entry)  # it goes on under its new name
        else:
            self._leave(entry, "deleted")

    def _leave(self, entry: Entry, how: str) -> None:
        """Go on without the path: from the pin where there is one."""
        if entry.state not in ("", "seen", "writing", "complete", "claimed"):
            self.drop(entry)
            return
        if entry.state == "" and self.lookout.held(entry.seen) is not None:
            self.look_into([entry])
        if entry.state in ("complete", "claimed") and self.lookout.held(entry.seen) is not None:
            return
        if entry.state == "claimed":
            return  # it is open already: the evaluation says whether it was too late
        if is_candidate(os.path.basename(entry.path)) or entry.state == "complete":
            self.lose(entry, how)
        else:
            self.drop(entry)  # a temporary file

    # -------------------------------------------------------------------------------------------------------- states

    def patience(self, *, ending: bool) -> None:
        """Give up waiting for what stood still too long, and believe what stood still of a file that nobody knows."""
        for entry in list(self.writing.values()):
            age = time.monotonic() - entry.changed
            still = self.lookout.scans - entry.still >= _POLLS
            if entry.at is not None and entry.at.state == "failed":
                entry.last = still or age >= _SETTLED_SECONDS
            else:
                entry.last = age >= self._torn_after or (ending and still)
            if entry.last:
                self._take_out(entry)
                self.ready[key_of(entry.seen)] = entry  # the evaluation says what is wrong with it, as a row

    def claim(self, entry: Entry) -> None:
        """Note that an entry is being worked on."""
        self.ready.pop(key_of(entry.seen), None)
        self.claimed[key_of(entry.seen)] = entry

    def started(self, path: str) -> None:
        """Note that the evaluation of what was claimed has begun."""
        for entry in self.claimed.values():
            if entry.path == path and entry.state != "claimed":
                entry.state = "claimed"
                self._tell(entry, "claimed", None)

    def again(self, entry: Entry) -> None:
        """Look into an entry anew: it changed since, or its pin is no longer there."""
        entry.state = "seen"
        self.look_into([entry])

    def reopen(self, entry: Entry) -> None:
        """Look anew into an entry that had failed, since somebody wishes it."""
        self.counts["failed"] -= 1
        self.again(entry)

    def back(self, entry: Entry) -> None:
        """Have an entry that turned out to be unfinished wait on."""
        self._move(entry, "writing")

    def put_off(self, entry: Entry, reason: str) -> None:
        """Have an entry whose evaluation failed wait for another turn; its pin stays."""
        self._move(entry, "complete", reason)

    def end(self, entry: Entry, state: str, reason: str | None = None) -> None:
        """Note how an entry ended, and let its pin go."""
        self.counts[state] += 1
        self._move(entry, state, reason)
        entry.at = None
        self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        """Release the pin of an entry, and take in what was written over its content, unless that is known already."""
        content = entry.seen.content if entry.files is None else entry.files.identity.content
        seen = self.lookout.finish(entry.seen, content)
        if seen is None:
            return
        known = self._current.get(seen.path)
        if known is not None and (known.state not in ENDS or known.seen.content == seen.content):
            return
        self._current[seen.path] = entry = Entry(seen, self.lookout.scans, time.monotonic())
        self.look_into([entry])

    def lose(self, entry: Entry, how: str) -> None:
        """Note that an entry's content is gone for good, unless another watcher was in time, or may be."""
        fate = self.whereabouts(entry)
        if fate == "held":
            self._take_out(entry)
            self._others.append((entry, how))
        elif fate == "done":
            self.counts["elsewhere"] += 1
            self.end(entry, "done", "another watcher evaluated it")
        else:
            self.end(entry, "vanished", _LOST.format(how=how))

    def settle(self) -> None:
        """Look after what is gone here and in another watcher's hands."""
        others, self._others = self._others, []
        for entry, how in others:
            self.lose(entry, how)

    def drop(self, entry: Entry) -> None:
        """Forget an entry that needs no end of its own."""
        self._take_out(entry)
        if entry.state in ENDS:
            self._let_go(entry)
        else:
            self.lookout.release(entry.seen)

    def _complete(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._move(entry, "complete")
        if self._every is None:
            return
        roots = {entry.seen.root for entry in entries}
        for root in roots:
            kept = self.kept.setdefault(root, set())
            mine = [entry for entry in entries if entry.seen.root == root and entry.step is not None]
            steps = {entry.step for entry in mine if entry.step is not None}
            out = thinned(steps, self._every, kept)
            kept |= steps - out
            for entry in mine:
                if entry.step in out:
                    self.end(entry, "thinned", f"one of each {self._every:,} steps is evaluated")

    def _unknown(self, entry: Entry, place: str) -> None:
        if os.path.lexists(place):
            entry.state = "ignored"
            self.drop(entry)

    def _settled(self, entry: Entry) -> bool:
        return time.monotonic() - entry.changed >= _SETTLED_SECONDS

    def _move(self, entry: Entry, state: str, reason: str | None = None) -> None:
        self._take_out(entry)
        if state in ("complete", "writing"):
            (self.ready if state == "complete" else self.writing)[key_of(entry.seen)] = entry
        if entry.state != state:
            entry.state = state
            self._tell(entry, state, reason)

    def _take_out(self, entry: Entry) -> None:
        for held in (self.ready, self.writing, self.claimed):
            if held.get(key_of(entry.seen)) is entry:
                del held[key_of(entry.seen)]


_HEAD = 4096


def described(entry: Entry, run: str) -> dict[str, Json]:
    """Return what events tell of an entry."""
    return {"run": run, "path": entry.path, "name": short_name(entry.path), "step": entry.step}


def _addressed(at: CheckpointFiles, place: str, path: str) -> CheckpointFiles:
    """Return what was found at a pin as it is addressed: by its own path."""
    if place == path:
        return at
    failure = (at.failure[0], reworded(at.failure[1], place, path)) if at.failure else None
    return replace(at, path=path, paths=tuple(moved(file, place, path) for file in at.paths), failure=failure)


def thinned(steps: Iterable[int], every: int, kept: Iterable[int] = ()) -> set[int]:
    """Return the steps that thinning leaves out: of each `every` steps the first is kept, and what is `kept` already.

    >>> sorted(thinned([0, 937, 1874, 5100, 5200, 9999], 5000)), sorted(thinned([100, 200], 5000, kept=[200]))
    ([937, 1874, 5200, 9999], [100])
    """
    have = set(kept)
    taken = {step // every for step in have}
    out = set()
    for step in sorted(set(steps) - have):
        if step // every in taken:
            out.add(step)
        taken.add(step // every)
    return out
