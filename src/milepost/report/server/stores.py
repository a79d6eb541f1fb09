"""The stores that a dashboard shows: each one's listing, kept in memory and brought up to date by one thread."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from milepost.errors import MilepostError
from milepost.report.addresses import Labels
from milepost.report.table import Plain
from milepost.store.listing import Listing
from milepost.store.store import Store

_LOG = logging.getLogger("milepost.serve")


@dataclass(slots=True)
class OpenStore:
    """One store: its name on the pages, and what it held at the last look; `problem` says why it cannot be read."""

    name: str
    store: Store
    listing: Listing
    checkpoints: Sequence[Plain] = field(default_factory=list)
    version: int = 0
    problem: str = ""

    @property
    def labels(self) -> Labels:
        """The shortest address of each of its checkpoints."""
        return Labels(self.checkpoints)


class OpenStores:
    """All stores of a dashboard; `version` grows when one of them changed, and `wait` waits for that."""

    def __init__(self, stores: Sequence[Store], every: float = 1.0) -> None:
        """Read every store once; then, between `start` and `stop`, look every so many seconds."""
        names = _names([str(store.path) for store in stores])
        self.held = [OpenStore(name, store, store.listing()) for name, store in zip(names, stores, strict=True)]
        self.version = 0
        self._every = every
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[int], None]] = []
        self.look()

    def start(self) -> None:
        """Begin to look for changes, in a thread of its own."""
        self._thread = threading.Thread(target=self._look_often, name="milepost-serve", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Have a function called with each new version, from the thread that looks; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def look(self) -> None:
        """Look at every store; one that cannot be read keeps what it showed, with the reason."""
        changed = False
        for one in self.held:
            before = one.listing.version, one.problem
            try:
                one.listing.refresh()
                if one.listing.version != before[0] or not one.version:
                    one.checkpoints = one.listing.checkpoints()
                    one.version += 1
                one.problem = ""
            except (MilepostError, OSError) as error:
                one.problem = str(error)
                _LOG.warning("%s: %s", one.name, error)
            changed |= (one.listing.version, one.problem) != before
        if changed or not self.version:
            self.version += 1
            for listener in list(self._listeners):
                listener(self.version)

    def _look_often(self) -> None:
        while not self._ended.wait(self._every):
            self.look()


def _names(paths: Sequence[str]) -> list[str]:
    """Return the last names of paths, or whole paths where these are the same.

    >>> _names(["/a/evals", "/b/evals"]), _names(["/a/x", "/b/y"])
    (['/a/evals', '/b/evals'], ['x', 'y'])
    """
    short = [path.rstrip("/").rpartition("/")[2] for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]
