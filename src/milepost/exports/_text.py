"""Text for a file or standard output: a file is whole or left as it was."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from milepost.errors import UsageError

STDOUT = "-"
"""The target that stands for standard output."""


@contextmanager
def text_target(target: str) -> Iterator[TextIO]:
    """Yield a stream of text for a path, or for standard output where the target is "-".

    A file appears, or replaces the one of that name, once everything is written; an error leaves what was there.
    Raises UsageError where the file cannot be written.
    """
    if target == STDOUT:
        yield sys.stdout
        sys.stdout.flush()
        return
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}); name another file") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
