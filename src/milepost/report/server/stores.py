"""The stores that a dashboard shows: what each holds, kept in memory, and pages that were made of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from milepost.errors import MilepostError
from milepost.report.addresses import Labels
from milepost.report.table import Plain
from milepost.store.listing import Listing
from milepost.store.store import Store

_LOG = logging.getLogger("milepost.serve")
_MOST_PAGES = 64

T = TypeVar("T")


@dataclass(slots=True)
class OpenStore:
    """One store: its name on the pages, and what it held at the last look; `problem` says why it cannot be read.

    `pages` were made of what it held then, by their addresses.  `taken` is the listing's version then, and the problem:
    what makes a page may refresh the listing.
    """

    name: str
    store: Store
    listing: Listing
    checkpoints: Sequence[Plain] = ()
    labels: Labels = field(default_factory=lambda: Labels(()))
    problem: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    taken: tuple[int, str] = (0, "")

    def page(self, address: str, make: Callable[[], str]) -> str:
        """Return the page at an address: made once of what the store holds."""
        if address not in self.pages:
            while len(self.pages) >= _MOST_PAGES:
                del self.pages[next(iter(self.pages))]
            self.pages[address] = make()
        return self.pages[address]

    def take(self) -> None:
        """Take in what the listing has now."""
        self.checkpoints = self.listing.checkpoints()
        self.labels = Labels(self.checkpoints)
        self.pages.clear()
        self.taken = self.listing.version, self.problem


class OpenStores:
    """All stores of a dashboard.  One thread reads them and makes pages, so that no page sees half a change.

    `version` grows when one of them changed.
    """

    def __init__(self, stores: Sequence[Store], every: float = 1.0) -> None:
        """Read every store once; `watch` looks again every so many seconds."""
        self._thread = ThreadPoolExecutor(1, "milepost-serve")
        self._every = every
        self._listeners: list[Callable[[], None]] = []
        self.version = 0
        self.held: list[OpenStore] = self._thread.submit(self._opened, stores).result()

    def _opened(self, stores: Sequence[Store]) -> list[OpenStore]:
        names = _names([str(store.path) for store in stores])
        held = [OpenStore(name, store, store.listing()) for name, store in zip(names, stores, strict=True)]
        for one in held:
            one.take()
        return held

    async def run(self, make: Callable[[], T]) -> T:
        """Return what a function makes of the stores, in the thread that reads them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

    async def watch(self) -> None:
        """Look for changes until this is cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self.look()

    async def look(self) -> None:
        """Look at every store; one that cannot be read keeps what it showed, with the reason."""
        if await self.run(self._look):
            self.version += 1
            for listener in list(self._listeners):
                listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called at each change, from the event loop; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _look(self) -> bool:
        changed = False
        for one in self.held:
            try:
                one.store.storage.check()  # a store that went away is not an empty one
                one.listing.refresh()
                one.problem = ""
            except (MilepostError, OSError) as error:
                one.problem = str(error)
                if one.problem != one.taken[1]:
                    _LOG.warning("%s: %s", one.name, error)
            if (one.listing.version, one.problem) != one.taken:
                one.take()
                changed = True
        return changed


def _names(paths: Sequence[str]) -> list[str]:
    """Return the last names of paths, or whole paths where these are the same.

    >>> _names(["/a/evals", "/b/evals"]), _names(["/a/x", "/b/y"])
    (['/a/evals', '/b/evals'], ['x', 'y'])
    """
    short = [path.rstrip("/").rpartition("/")[2] for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]
