"""Work in a thread beside the loop: read ahead of a consumer, and one call behind a producer."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self, TypeVar

from milepost.errors import UsageError


class OneBehind:
    """Runs calls in one thread, one after the other and never more than one at a time, so that memory stays bounded.

    An error of a call is raised by the next `start` or `settle`.  A context manager: leaving it waits for the last
    call.

    >>> made = []
    >>> with OneBehind() as behind:
    ...     behind.start(made.append, 1)
    ...     behind.start(made.append, 2)
    ...     behind.settle()
    >>> made
    [1, 2]
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "milepost-behind")
        self._pending: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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


T = TypeVar("T")
_END: Any = object()


def ahead(iterator: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield what the iterator yields, with up to `depth` items made in advance by one thread.

    The thread starts with the first item asked for. An error of the iterator is raised here, after the items before
    it. When the consumer stops early (`close()`, or the generator is dropped), the iterator is closed in its own
    thread and the thread is waited for: at most as long as the item takes that it is making.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    if depth < 1:
        raise UsageError(f"depth of read-ahead is {depth}; expected 1 or more")
    return _ahead(iterator, depth)


def _ahead(iterator: Iterator[T], depth: int) -> Generator[T, None, None]:
    pool = ThreadPoolExecutor(1, "milepost-ahead")
    made = deque(pool.submit(next, iterator, _END) for _ in range(depth + 1))
    try:
        while (item := made.popleft().result()) is not _END:
            made.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        for future in made:
            future.cancel()
        if hasattr(iterator, "close"):
            with suppress(RuntimeError):  # the interpreter ends
                pool.submit(iterator.close)
        pool.shutdown()
