"""Work in a thread beside the loop: read ahead of a consumer, and one call behind a producer."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

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


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _EndOfItems:
    error: BaseException | None = None


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
    return _consume(iterator, depth)


def _consume(iterator: Iterator[T], depth: int) -> Generator[T, None, None]:
    made: queue.Queue[_Item[T] | _EndOfItems] = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_produce, args=(iterator, made, stopped), name="milepost-ahead", daemon=True)
    thread.start()
    try:
        while isinstance(found := made.get(), _Item):
            yield found.value
        if found.error is not None:
            raise found.error
    finally:
        stopped.set()
        # The producer looks at `stopped` after each put: one free place is enough to wake it up for the last time.
        _drain(made)
        thread.join()


def _produce(iterator: Iterator[T], made: "queue.Queue[_Item[T] | _EndOfItems]", stopped: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for value in iterator:
            made.put(_Item(value))
            if stopped.is_set():
                break
    except BaseException as raised:  # noqa: BLE001 - carried over to the consumer, whatever it is
        error = raised
    try:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    except BaseException as raised:  # noqa: BLE001 - as above; the first error counts
        error = error or raised
    if not stopped.is_set():
        made.put(_EndOfItems(error))


def _drain(made: "queue.Queue[_Item[T] | _EndOfItems]") -> None:
    while True:
        try:
            made.get_nowait()
        except queue.Empty:
            return
