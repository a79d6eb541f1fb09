"""One call behind: what a batch's outputs are reduced to is computed while the next batch is predicted."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Behind:
    """Runs calls in one thread, one after the other and never more than one at a time, so that memory stays bounded.

    An error of a call is raised by the next `start` or `settle`.  A context manager: leaving it waits for the last
    call.

    >>> made = []
    >>> with Behind() as behind:
    ...     behind.start(made.append, 1)
    ...     behind.start(made.append, 2)
    ...     behind.settle()
    >>> made
    [1, 2]
    """

    def __init__(self) -> None:
        """Make the thread, which starts with the first call."""
        self._pool = ThreadPoolExecutor(1, "milepost-behind")
        self._pending: Future[Any] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the call that is under way; its outcome does not matter any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, call: Callable[[Any], object], argument: Any) -> None:
        """Wait for the call before, then start this one."""
        self.settle()
        self._pending = self._pool.submit(call, argument)

    def settle(self) -> None:
        """Wait for the call under way, and raise its error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
