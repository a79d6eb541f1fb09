"""Text for a file or standard output: a file is whole or left as it was."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from milepost._internal.atomic import replacing
from milepost.errors import UsageError

STDOUT = "-"
"""The target that stands for standard output."""


@contextmanager
def text_target(target: str) -> Iterator[TextIO]:
    """Yield a stream of text for a path, or for standard output where the target is "-".

    A file appears, or replaces the one of that name (a link's target), once everything is written; an error leaves what
    was there.  A pipe or a device takes the text as it comes.  Raises UsageError where the file cannot be written.
    """
    if target == STDOUT:
        yield sys.stdout
        sys.stdout.flush()
        return
    whole = os.path.isfile(target) or not os.path.exists(target)
    final = os.path.realpath(target) if whole else target
    written = replacing(final) if whole else target
    try:
        with open(written, "x" if whole else "w", encoding="utf-8", newline="") as stream:
            yield stream
        if whole:
            os.replace(written, final)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}); name another file") from error
    finally:
        if whole:
            with suppress(OSError):
                os.unlink(written)
