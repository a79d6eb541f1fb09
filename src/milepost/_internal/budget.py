"""What reading one checkpoint may cost, from its size: a small file must take neither gigabytes nor minutes.

The reader opens a budget for each checkpoint with `spending`; whatever parses charges it before it allocates.  Bytes of
tensors are not charged: what a table may unpack to is a rule of its own (`layout.affordable`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from milepost.errors import Corrupt

_MADE_AT_LEAST, _MADE_PER_BYTE, _MADE_AT_MOST = 128 << 20, 6, 8 << 30
_NODES_AT_LEAST, _NODES_PER_BYTE = 500_000, 0.25
_SECONDS_AT_LEAST, _SECONDS_PER_BYTE, _SECONDS_PER_UNPACKED = 5.0, 1e-7, 5e-7
_GLANCE_SECONDS = 1.5
_ANSWER_AT_LEAST, _ANSWER_PER_BYTE, _ANSWER_AT_MOST = 48 << 20, 0.25, 1 << 28
_DEADLINE_AT_LEAST, _DEADLINE_PER_BYTE = 20.0, 1e-6
_LARGE, _OFTEN = 1 << 16, 64  # when the clock is looked at


class TooCostly(Corrupt):
    """Reading a checkpoint takes more than its budget."""


@dataclass(slots=True)
class Budget:
    """What is left to one checkpoint of `size` bytes: bytes of memory, nodes (objects, entries), processor seconds.

    The figures are several times what the largest real files need: 20,000 tensors take some 70 MiB and 200,000 nodes.
    """

    path: str
    size: int
    seconds: float = _SECONDS_AT_LEAST
    made: float = field(init=False, default=0)
    nodes: float = field(init=False, default=0)
    until: float = field(init=False, default=0)
    _calls: int = field(init=False, default=0)
    _next_look: float = field(init=False, default=0)  # a thread takes no more processor time than passes

    def __post_init__(self) -> None:
        size, self.size = self.size, 0
        self.made, self.nodes, self.until = _MADE_AT_LEAST, _NODES_AT_LEAST, time.thread_time() + self.seconds
        self.extend(size)

    def extend(self, size: int) -> None:
        """Add what another file of `size` bytes, which is read too, may cost."""
        before = min(_MADE_PER_BYTE * self.size, _MADE_AT_MOST)
        self.size += size
        self.made += min(_MADE_PER_BYTE * self.size, _MADE_AT_MOST) - before
        self.nodes += _NODES_PER_BYTE * size
        self.until += _SECONDS_PER_BYTE * size
        self.seconds += _SECONDS_PER_BYTE * size

    def charge(self, made: int = 0, nodes: int = 0) -> None:
        """Spend bytes that are about to be made and nodes; raise `TooCostly` where the budget does not hold them."""
        self.made -= made
        self.nodes -= nodes
        self._calls += 1
        if self.made < 0:
            limit = _MADE_AT_LEAST + min(_MADE_PER_BYTE * self.size, _MADE_AT_MOST)
            raise TooCostly(self._beyond(f"{limit // max(self.size, 1):,} times its size", f"{limit >> 20:,} MiB"))
        if self.nodes < 0:
            limit = int(_NODES_AT_LEAST + _NODES_PER_BYTE * self.size)
            raise TooCostly(self._beyond(f"{limit:,} parts"))
        if (made >= _LARGE or self._calls % _OFTEN == 0) and time.monotonic() > self._next_look:
            left = self.until - time.thread_time()
            if left < 0:
                raise TooCostly(self._beyond(f"{self.seconds:.1f} s of processor time"))
            self._next_look = time.monotonic() + left

    def _beyond(self, limit: str, more: str = "") -> str:
        what = f"needs more than {limit} to read"
        of = f"{more} for {self.size:,} bytes" if more else f"it has {self.size:,} bytes"
        return f"{self.path}: {what} ({of}): damaged, or made to exhaust the reader"


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def spending(path: str, size: int, seconds: float = _SECONDS_AT_LEAST) -> Iterator[Budget]:
    """Give a checkpoint of `size` bytes its budget, for as long as the block runs in this thread.

    Within another such block its budget is spent: a checkpoint has one.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    budget = Budget(path, size, seconds)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


@contextmanager
def glancing(path: str, size: int) -> Iterator[Budget]:
    """Give a file its budget while a search looks what it is: fewer seconds, since it looks at many."""
    with spending(path, size, _GLANCE_SECONDS) as budget:
        yield budget


def charge(made: int = 0, nodes: int = 0) -> None:
    """Spend of the budget of the checkpoint that is being read, if there is one; raise `TooCostly` beyond it."""
    budget = _current.get()
    if budget is not None:
        budget.charge(made, nodes)


def extend(size: int) -> None:
    """Add to the budget what another file of `size` bytes, which stands beside the checkpoint, may cost."""
    budget = _current.get()
    if budget is not None:
        budget.extend(size)


def unpack_seconds(nbytes: int) -> None:
    """Add to the budget the time to unpack a tensor of `nbytes` bytes, whose size was found affordable."""
    budget = _current.get()
    if budget is not None:
        budget.until += _SECONDS_PER_UNPACKED * nbytes
        budget.seconds += _SECONDS_PER_UNPACKED * nbytes


def answer_bytes(size: int) -> int:
    """Return how many bytes of text may tell what a checkpoint of `size` bytes holds.

    >>> answer_bytes(0) >> 20, answer_bytes(1 << 40) >> 20
    (48, 256)
    """
    return min(_ANSWER_AT_LEAST + int(_ANSWER_PER_BYTE * size), _ANSWER_AT_MOST)


def answer_seconds(size: int) -> float:
    """Return after how many seconds of processor time a reader of `size` bytes is taken for hanging.

    More than its budget, which ends it in its own words, unless it hangs in one call.
    """
    return _DEADLINE_AT_LEAST + _DEADLINE_PER_BYTE * size
