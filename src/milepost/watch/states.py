"""The watch as a table: in which state a checkpoint is, what may happen to it, and what the watch then does.

`step` is pure.  The tracker learns the facts, keeps one record a checkpoint, and carries the effects out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from milepost.checkpoints.names import step_of_name
from milepost.core.types import CheckpointFiles, Identity, Json
from milepost.store.pins import Pin
from milepost.watch.snapshot import ScannedFile

State = Literal[
    "-", "seen", "writing", "complete", "claimed", "elsewhere", "ignored", "done", "failed", "vanished", "skipped"
]
Effect = Literal["pin", "read", "restart", "evaluate", "ask again", "publish", "release", "emit", "further record"]

ENDS: tuple[State, ...] = ("done", "failed", "vanished", "skipped")
"""Every checkpoint ends in one of them."""

OPEN: tuple[State, ...] = ("seen", "writing", "complete", "claimed", "elsewhere")
"""What has not ended yet."""


class Fact(StrEnum):
    """What may happen to a checkpoint."""

    NEW = "a file named like a checkpoint, or claimed by a format"
    COMPLETE = "read: complete"
    INCOMPLETE = "read: incomplete"
    REFUSED = "read: refused, and it stands still"
    NO_CHECKPOINT = "read: no checkpoint"
    CHANGED = "grew, or one of its files changed"
    STILL = "still for torn_after, or the watch is ending"
    LEFT_OUT = "left out by every"
    TURN = "its turn, and due"
    BEGUN = "its evaluation begins"
    RESULTS = "every data set has results"
    LEASED = "another holds the lease"
    FREED = "nobody holds the lease any more, the file is there"
    PINNED = "deleted or overwritten, the pin holds"
    PIN_LOST = "the pin is lost, the file is there"
    TAKEN = "deleted or overwritten without a pin, another watcher has it"
    GONE = "deleted or overwritten without a pin, nobody has it"
    RENAMED = "renamed, or a temporary file that is deleted"
    TORN = "torn, not the last try"
    PASSING = "crash, memory, timeout; attempts left"
    FAILURE = "any other failure"
    DIFFERS = "the file differs from what was read"
    RETRY = "retry requested, content the same"
    REPLACED = "its path, or its pin, shows other content"


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the table: in each state of `origins` the fact leads to `target` (None: the same state)."""

    origins: tuple[State, ...]
    fact: Fact
    target: State | None
    effects: tuple[Effect, ...] = ()


_ANY: tuple[State, ...] = (*OPEN, *ENDS, "ignored")

TABLE: tuple[Transition, ...] = (
    Transition(("-",), Fact.NEW, "seen", ("pin", "read")),
    Transition(("seen", "writing"), Fact.COMPLETE, "complete", ("pin", "emit")),
    Transition(("seen", "writing"), Fact.INCOMPLETE, "writing", ("emit",)),
    Transition(("seen", "writing"), Fact.REFUSED, "failed", ("publish", "emit", "release")),
    Transition(("seen", "writing"), Fact.NO_CHECKPOINT, "ignored", ("release",)),
    Transition(("seen", "writing"), Fact.CHANGED, None, ("restart", "read")),
    Transition(("ignored",), Fact.CHANGED, "seen", ("restart", "read")),
    Transition(("writing",), Fact.STILL, "complete"),
    Transition(("complete",), Fact.LEFT_OUT, "skipped", ("emit", "release")),
    Transition(("complete",), Fact.TURN, "claimed", ("evaluate",)),
    Transition(("claimed",), Fact.BEGUN, None, ("emit",)),
    Transition(("seen", "writing"), Fact.PINNED, None, ("read",)),
    Transition(("complete", "claimed", "elsewhere"), Fact.PINNED, None),
    Transition(("complete", "claimed"), Fact.PIN_LOST, "seen", ("read",)),
    Transition(("seen", "writing", "complete", "claimed"), Fact.TAKEN, "elsewhere", ("ask again",)),
    Transition(OPEN, Fact.GONE, "vanished", ("publish", "emit", "release")),
    Transition(("seen", "writing", "complete", "elsewhere"), Fact.RENAMED, "ignored", ("release",)),
    Transition(("claimed",), Fact.LEASED, "elsewhere", ("ask again",)),
    Transition(("elsewhere",), Fact.FREED, "complete"),
    Transition(OPEN, Fact.RESULTS, "done", ("emit", "release")),
    Transition(("claimed",), Fact.TORN, "writing", ("emit",)),
    Transition(("claimed",), Fact.PASSING, "complete", ("emit",)),
    Transition(("claimed",), Fact.FAILURE, "failed", ("emit", "release")),
    Transition(("claimed",), Fact.DIFFERS, "seen", ("read",)),
    Transition(("failed",), Fact.RETRY, "seen", ("read",)),
    Transition(_ANY, Fact.REPLACED, None, ("further record",)),
)

_STEPS = {(origin, row.fact): (row.target or origin, row.effects) for row in TABLE for origin in row.origins}


def step(state: State, fact: Fact) -> tuple[State, tuple[Effect, ...]]:
    """Return the state that a fact leads to, and the effects; a fact without a row in the table changes nothing.

    >>> step("writing", Fact.COMPLETE), step("done", Fact.COMPLETE)
    (('complete', ('pin', 'emit')), ('done', ()))
    """
    return _STEPS.get((state, fact), (state, ()))


@dataclass(slots=True, eq=False)
class Tracked:
    """What a watch knows of one checkpoint: one content under one path; no other place says its state.

    `file` is as the scan shows it, `files` as the reader lists it under its own path, `at` the same where it is read:
    at its `pin`.  `still` is the scan and `since` the monotonic second of its last change; `last` says that no more
    waiting is of use.  `attempts` counts failures that may pass; it is not evaluated before the second `due`.
    `reported` is the last state that was reported; `unread` asks for a reading.  `failures` and `evaluated` come from
    the evaluation that is under way; `requests` tell whether a retry is asked for.
    """

    file: ScannedFile
    still: int
    since: float
    pin: Pin | None = None
    state: State = "-"
    reported: State = "-"
    unread: bool = False
    files: CheckpointFiles | None = None
    at: CheckpointFiles | None = None
    last: bool = False
    attempts: int = 0
    due: float = 0.0
    reason: str | None = None
    evaluated: bool = False
    failures: list[dict[str, Json]] = field(default_factory=list)
    requests: tuple[Callable[[], bool], ...] = ()

    @property
    def path(self) -> str:
        """Its address."""
        return self.file.path

    @property
    def step(self) -> int | None:
        """The step in its name."""
        return step_of_name(self.file.path)

    @property
    def identity(self) -> Identity:
        """The file's identity as it was read, or as the scan shows it where nobody has read it."""
        return self.file.identity if self.files is None else self.files.identity

    @property
    def pinned(self) -> bool:
        """Whether a pin holds it."""
        return self.pin is not None and self.pin.holds
