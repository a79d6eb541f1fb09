"""What `failures --retry` asks of a watch that is running: failed checkpoints that are to be tried once more."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from milepost.run.driver import Driver
from milepost.watch.snapshot import SWEEP_SECONDS
from milepost.watch.states import Tracked

EVERY_SECONDS = SWEEP_SECONDS
"""Seconds between two looks."""


class RetryRequests:
    """Looks for requests, as seldom as a sweep: each is a file in one of the store's `retries` folders."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin."""
        self._clock = clock
        self._looked = clock()

    def due(self) -> bool:
        """Tell whether it is time to look."""
        due = self._clock() - self._looked >= EVERY_SECONDS
        self._looked = self._clock() if due else self._looked
        return due


def requests_for(drivers: Sequence[Driver], tracked: Tracked) -> Iterator[Callable[[], bool]]:
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
