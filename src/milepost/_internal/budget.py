"""What reading one checkpoint may cost, from its size: a small file must take neither gigabytes nor minutes.

The reader opens a budget for each checkpoint with `spending`; whatever parses charges it before it allocates.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from milepost.errors import Corrupt

_MADE_AT_LEAST, _MADE_PER_BYTE = 64 << 20, 8
_NODES_AT_LEAST, _NODES_PER_BYTE = 200_000, 1
_SECONDS_AT_LEAST, _SECONDS_PER_BYTE = 5.0, 5e-8


@dataclass(slots=True)
class Budget:
    """What is left to one checkpoint of `size` bytes: bytes of memory, nodes (objects, entries), processor seconds."""

    path: str
    size: int
    made: int = field(init=False)
    nodes: int = field(init=False)
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.made = _MADE_AT_LEAST + _MADE_PER_BYTE * self.size
        self.nodes = _NODES_AT_LEAST + _NODES_PER_BYTE * self.size
        self.until = time.thread_time() + _SECONDS_AT_LEAST + _SECONDS_PER_BYTE * self.size

    def charge(self, made: int = 0, nodes: int = 0) -> None:
        """Spend bytes that are about to be made and nodes; raise `Corrupt` where the budget does not hold them."""
        self.made -= made
        self.nodes -= nodes
        if self.made < 0 or self.nodes < 0 or time.thread_time() > self.until:
            what = "memory" if self.made < 0 else "parts" if self.nodes < 0 else "seconds"
            raise Corrupt(f"{self.path}: needs more {what} than a file of {self.size:,} bytes may take to read")


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def spending(path: str, size: int) -> Iterator[Budget]:
    """Give a checkpoint of `size` bytes its budget, for as long as the block runs in this thread."""
    budget = Budget(path, size)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def charge(made: int = 0, nodes: int = 0) -> None:
    """Spend of the budget of the checkpoint that is being read, if there is one; raise `Corrupt` beyond it."""
    budget = _current.get()
    if budget is not None:
        budget.charge(made, nodes)
