"""Files of a store that a command could not read: each is reported once, the others are shown, and the code says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from milepost.cli._streams import to_stderr
from milepost.errors import StoreError

_REPORTED = ContextVar[set[str] | None]("_REPORTED", default=None)
"""The messages of the command that runs now, None where none runs."""


@contextmanager
def damage_reported() -> Iterator[set[str]]:
    """Yield a set that fills with the messages about files that are left out."""
    found = set[str]()
    before = _REPORTED.set(found)
    try:
        yield found
    finally:
        _REPORTED.reset(before)


def report(error: StoreError) -> None:
    """Report that a file is left out; raise the error where no command runs that could say so."""
    reported = _REPORTED.get()
    if reported is None:
        raise error
    if str(error) not in reported:
        reported.add(str(error))
        to_stderr(f"milepost: left out: {error}")
