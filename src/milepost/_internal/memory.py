"""Memory that ran out, in the words of any framework, as one error."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from milepost._internal.bounded import CONFINED
from milepost.errors import MilepostError, OutOfMemory

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "unable to allocate",
    "oom when allocating",
    "resource_exhausted",
)


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that memory ran out.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("CUDA out of memory.")), ran_out(ValueError("out of range"))
    (True, True, False)
    """
    if isinstance(error, MilepostError):
        return isinstance(error, OutOfMemory)
    # TensorFlow's class may come with any text.
    is_named_so = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    return is_named_so or any(words in str(error).lower() for words in _WORDS)


@contextmanager
def fits_memory(what: str) -> Iterator[None]:
    """Turn what is raised where memory runs out into an `OutOfMemory` that says what did not fit."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MilepostError) or not ran_out(error):
            raise
        first = next(iter(str(error).splitlines()), "no memory left")
        raise OutOfMemory(f"{what} did not fit into memory: {first}") from error


def bounded_by_driver() -> bool:
    """Return whether this is a confined reader whose driver lowered its memory for the checkpoint that is read."""
    if CONFINED not in os.environ:
        return False
    import resource  # noqa: PLC0415 - only where there is a sandbox

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    return soft not in (hard, resource.RLIM_INFINITY)
