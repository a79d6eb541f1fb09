"""As much at once as memory holds: fewer checkpoints first, then smaller batches; what worked is remembered.

A checkpoint that ran out of memory goes on where its last part ended, exactly as a resumed run does: labels and counts
stay the same integers, and scores differ by no more than they do between any two batch sizes.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost._internal.memory import ran_out
from milepost.core.types import Failure, Json, Part, Target
from milepost.errors import CheckpointError, OutOfMemory
from milepost.loop.checks import has_fixed_batch
from milepost.loop.evaluate import Pass, evaluate

Outcome = tuple[Target, Part | Failure]


@dataclass(slots=True)
class _Open:
    """A checkpoint of a unit, and up to where its rows are done."""

    target: Target
    start: int
    message: str = "memory ran out"


@dataclass(slots=True)
class _Passing:
    """What takes part in one pass, by name; `left` are those that memory had no room for."""

    weights: dict[str, Any] = field(default_factory=dict)
    opened: dict[str, _Open] = field(default_factory=dict)
    loading: dict[str, float] = field(default_factory=dict)
    left: list[_Open] = field(default_factory=list)


@dataclass(slots=True)
class MemoryFit:
    """Takes units through the passes over one data set, in portions that fit.

    `load` loads a checkpoint's weights; `free` lets go of everything that is kept for speed only.
    """

    work: Pass
    load: Callable[[Target], Any]
    free: Callable[[], None]
    most: int | None = None
    _asked: int = field(init=False)
    _worked: tuple[int | None, int] = field(init=False)
    _environment: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        self._asked = self.work.batch_size
        self._worked = self.most, self._asked
        self._environment = dict(self.work.environment)

    def begin_with(self, less: int) -> None:
        """Begin with what is left to try after so many processes were killed: one checkpoint, then half the batch."""
        for _ in range(less):
            self._shrink(2 if self.most is None else 1, 1)
        self._worked = self.most, self.work.batch_size

    def run(self, targets: Sequence[Target], start: int, stop: int) -> Iterator[Outcome]:
        """Yield parts and failures of the targets' rows [start, stop).

        A checkpoint is `out of memory` only where it does not fit alone, one row at a time; what others were given
        before is then given to the next again.
        """
        waiting = [_Open(target, start) for target in targets]
        while waiting:
            group = [item for item in waiting if item.start == waiting[0].start][: self.most]
            waiting = [item for item in waiting if item not in group]
            self._note_less()
            left: list[_Open] = yield from self._together(group, stop)
            if not left:
                self._worked = self.most, self.work.batch_size
                continue
            self.free()
            if self._shrink(len(group), len(left)):
                waiting = left + waiting
            else:
                self.most, self.work.batch_size = self._worked
                yield left[0].target, Failure(OutOfMemory.kind, self._refusal(left[0].message))

    def _together(self, group: Sequence[_Open], stop: int) -> Generator[Outcome, None, list[_Open]]:
        """Take some checkpoints through one pass; return those that ran out of memory."""
        passing = _Passing()
        yield from self._opened(group, passing)
        try:
            yield from self._passed(passing, group[0].start, stop)
        except Exception as error:
            if not ran_out(error):
                raise
            for item in passing.opened.values():
                if item.start < stop:
                    item.message = str(error) or type(error).__name__
                    passing.left.append(item)
            passing.weights.clear()
        return passing.left

    def _opened(self, group: Sequence[_Open], passing: _Passing) -> Iterator[Outcome]:
        """Load checkpoints, as many as there is room for."""
        for number, item in enumerate(group):
            began = time.perf_counter()
            loaded = None if passing.left else self._loaded(item.target, alone=not passing.weights)
            if isinstance(loaded, Failure):
                yield item.target, loaded
            elif loaded is None:
                passing.left.append(item)
            else:
                name = str(number)
                passing.weights[name], passing.opened[name] = loaded[0], item
                passing.loading[name] = time.perf_counter() - began
            del loaded

    def _passed(self, passing: _Passing, start: int, stop: int) -> Iterator[Outcome]:
        """Take what is loaded through the pass; one that fails is dropped at once, to make room for the others."""
        if not passing.weights:
            return
        for name, outcome in evaluate(self.work, passing.weights, start, stop, passing.loading):
            item = passing.opened[name]
            if isinstance(outcome, Part):
                item.start = outcome.stop
                yield item.target, outcome
                continue
            del passing.weights[name], passing.opened[name]
            if outcome.kind == OutOfMemory.kind:
                item.message = outcome.message
                passing.left.append(item)
            else:
                yield item.target, outcome

    def _loaded(self, target: Target, *, alone: bool) -> tuple[Any] | Failure | None:
        """Return the weights, the failure of a checkpoint, or None where there is no room beside the others."""
        try:
            return (self.load(target),)
        except OutOfMemory:
            if not alone:
                return None
        except CheckpointError as error:
            return Failure(error.kind, str(error))
        self.free()
        try:
            return (self.load(target),)
        except CheckpointError as error:
            return Failure(error.kind, str(error))

    def _shrink(self, together: int, failed: int) -> bool:
        """Take fewer checkpoints, or smaller batches; False where there is nothing left to take away."""
        if together > 1:
            self.most = (together - failed) or together // 2
            return True
        if self.work.batch_size > 1 and not has_fixed_batch(self.work.model):
            self.work.batch_size //= 2
            return True
        return False

    def _note_less(self) -> None:
        """Record in the parts' environment with what they are made, where it is less than was asked for."""
        less = self.most is not None or self.work.batch_size != self._asked
        noted = {"memory": {"per_pass": self.most, "batch_size": self.work.batch_size, "asked": self._asked}}
        self.work.environment = {**self._environment, **(noted if less else {})}

    def _refusal(self, message: str) -> str:
        rows = "the model's fixed batch" if has_fixed_batch(self.work.model) else "one row"
        return f"it does not fit into memory, not even alone and with {rows} at a time: {message}"
