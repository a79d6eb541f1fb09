"""What has to be refused."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refused(error: type[Exception], otherwise: str) -> Iterator[None]:
    """Raise an `AssertionError` that says `otherwise` where the block raises no such error."""
    try:
        yield
    except error:
        return
    raise AssertionError(otherwise)
