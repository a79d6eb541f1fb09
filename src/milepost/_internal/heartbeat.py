"""Signs of life: long work calls `beat` as it goes on, and who watches over the process listens.

They distinguish a hang from slow work: a pass may take hours before its first part, but a batch has its end.
"""

from collections.abc import Callable

_listener: Callable[[], None] | None = None


def beat() -> None:
    """Say that the work goes on; called from the process's main thread of work, as often as it likes."""
    if _listener is not None:
        _listener()


def listen(to: Callable[[], None] | None) -> None:
    """Have `to` called at every beat from now on; None for nobody.

    >>> beats = []
    >>> listen(lambda: beats.append("beat"))
    >>> beat()
    >>> listen(None)
    >>> beat()
    >>> beats
    ['beat']
    """
    global _listener  # noqa: PLW0603 - one process, one who watches over it
    _listener = to
