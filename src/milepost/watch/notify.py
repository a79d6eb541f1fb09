"""News of changed folders from the system, by the extra `watch`: it only makes the lookout look sooner than it would.

Polling stays the truth.  Where notification says nothing (the extra is not installed, a network file system, too many
folders, a limit of the system reached) a watch is as it was without it.
"""

import threading
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from importlib.util import find_spec
from os.path import basename
from types import TracebackType
from typing import Any, Self

from milepost.checkpoints.discovery import is_candidate, is_passed_over

_MOST = 1000
"""So many folders are watched, those nearest to the root first: each takes memory of the kernel, under a limit."""
_GATHER_MS = 100
"""A change is told once nothing new came for so long; this is also how often the extra's own loop wakes up."""
_GATHER_MOST_MS = 500
_CHECK_MS = 1000
"""How soon a new folder is noticed, and listened to."""
_REST_SECONDS = 0.4
"""Silence after each piece of news: a file that is being written changes all the time."""
_AGAIN_SECONDS = 60.0
_MODIFIED = 2


class Notifier:
    """Calls `wake` with the paths that changed in `folders()`, in a thread of its own between its entry and its exit.

    `folders` is asked again and again, since folders come and go.  No error ever leaves it.

    >>> with Notifier(list, print):
    ...     pass
    """

    def __init__(self, folders: Callable[[], Collection[str]], wake: Callable[[Collection[str]], None]) -> None:
        """Take what to listen to, and whom to tell."""
        self._folders = folders
        self._wake = wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, name="milepost-notifier", daemon=True)

    def __enter__(self) -> Self:
        """Begin, where the extra is installed."""
        if is_installed():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _go(self) -> None:
        while not self._stop.is_set():
            wait = _CHECK_MS / 1000
            try:
                self._listen(self._nearest())
            except FileNotFoundError:  # a folder went away just now
                pass
            except Exception:  # noqa: BLE001 - a limit reached, or whatever else: polling goes on
                wait = _AGAIN_SECONDS
            self._stop.wait(wait)

    def _nearest(self) -> list[str]:
        every = list(self._folders())
        return every if len(every) <= _MOST else sorted(every, key=lambda path: (path.count("/"), path))[:_MOST]

    def _listen(self, folders: list[str]) -> None:
        """Listen to folders until they are no longer the ones to listen to."""
        if not folders:
            return
        with closing(_changes(folders, self._stop)) as news:
            next(news, None)
            self._wake(())  # what came before anybody listened
            for changes in news:
                paths = {path for change, path in changes if _matters(change, basename(path))}
                if paths:
                    self._wake(paths)
                    self._stop.wait(_REST_SECONDS)
                if self._nearest() != folders:
                    return


def is_installed() -> bool:
    """Tell whether the extra is there."""
    return find_spec("watchfiles") is not None


def trouble(folder: str) -> str | None:
    """Try to listen to a folder; return why that does not work, None if it does.

    >>> trouble("/does/not/exist") is None
    False
    """
    stop = threading.Event()
    stop.set()
    try:
        with closing(_changes([folder], stop)) as news:
            next(news, None)
    except Exception as error:  # noqa: BLE001 - the answer
        return str(error) or type(error).__name__
    return None


def _changes(folders: list[str], stop: threading.Event) -> Generator[set[Any], None, None]:
    """Yield what changed in folders, not below them: (1 added, 2 modified, 3 deleted; path); empty after each second.

    Raises what the extra raises: OSError and RuntimeError.
    """
    from watchfiles import watch  # noqa: PLC0415 - an extra

    return watch(
        *folders,
        watch_filter=None,
        debounce=_GATHER_MOST_MS,
        step=_GATHER_MS,
        stop_event=stop,
        rust_timeout=_CHECK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        force_polling=False,
        poll_delay_ms=10_000,
        recursive=False,
        ignore_permission_denied=False,  # True hides other errors, too
    )


def _matters(change: int, name: str) -> bool:
    """Tell whether a change may be of a checkpoint: logs grow all the time.

    >>> _matters(1, "step-5.npz"), _matters(2, "step-5.npz"), _matters(2, "train.log"), _matters(1, ".tmp")
    (True, True, False, False)
    """
    return not is_passed_over(name) and (change != _MODIFIED or is_candidate(name))
