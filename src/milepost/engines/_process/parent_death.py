"""The child's side of being a child: it ends when its driver does.

`python -m milepost.engines._process.parent_death MODULE` runs a module as `python -m MODULE` would, on the leash; with
`--confined` before the module, the process locks itself in first (confine_child.py).
"""

import ctypes
import faulthandler
import importlib
import os
import queue
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PR_SET_PDEATHSIG = 1
_LINGER_SECONDS = 2.0

CONFINED = "--confined"

DUMP_SIGNAL = signal.SIGUSR2
"""Asks a child to write its stack to standard error."""


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def dump_stack_on_signal() -> None:
    """Write the stack to standard error when the process crashes, and when the driver asks where it hangs."""
    faulthandler.enable(all_threads=False)
    faulthandler.register(DUMP_SIGNAL, all_threads=False)


class Inbox(Generic[Item]):
    """Requests as they come, read by a thread of its own, which sees the end of the stream while the process works.

    `read` returns the next request, or None at the end.  At the end an idle process returns from `take` and ends in the
    usual way; a busy one ends at once.
    """

    def __init__(self, read: Callable[[], Item | None]) -> None:
        self._read = read
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._busy = False
        threading.Thread(target=self._pump, name="milepost-inbox", daemon=True).start()

    def take(self) -> Item | None:
        """Wait for the next request; None means that there will be no more."""
        self._busy = False
        item = self._queue.get()
        self._busy = item is not None
        return item

    def _pump(self) -> None:
        while (item := self._next()) is not None:
            self._queue.put(item)
        self._queue.put(None)
        if not self._busy:
            threading.Event().wait(_LINGER_SECONDS)
        os._exit(0)

    def _next(self) -> Item | None:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more can be read
            sys.stderr.write(f"milepost: requests cannot be read any more: {error!r}\n")
            return None


def main() -> None:
    die_with_parent()
    dump_stack_on_signal()
    del sys.argv[0]
    if sys.argv[0] == CONFINED:
        del sys.argv[0]
        importlib.import_module("milepost.engines._process.confine_child").confine_self()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
