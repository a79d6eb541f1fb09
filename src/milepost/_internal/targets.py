"""Files that a command writes for its user: whole or left as they were."""

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
def file_target(target: str) -> Iterator[str]:
    """Yield the path to write to; once everything is written it stands at `target` (a link's target).

    An error leaves what was there.  A pipe or a device is written to itself.  Raises UsageError where the file cannot
    be written.
    """
    whole = os.path.isfile(target) or not os.path.exists(target)
    final = os.path.realpath(target) if whole else target
    written = replacing(final) if whole else target
    try:
        if whole:  # made by us alone: what somebody else put there is not followed
            os.close(os.open(written, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _refused(target, error) from error
    try:
        yield written
        if whole:
            os.replace(written, final)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        if whole:
            with suppress(OSError):
                os.unlink(written)


def _refused(target: str, error: OSError) -> UsageError:
    return UsageError(f"{target}: cannot be written ({error.strerror or error}); name another file")


@contextmanager
def text_target(target: str) -> Iterator[TextIO]:
    """Yield a stream of text for a path as `file_target` does, or for standard output where the target is "-"."""
    if target == STDOUT:
        yield sys.stdout
        sys.stdout.flush()
        return
    with file_target(target) as path, open(path, "w", encoding="utf-8", newline="") as stream:
        yield stream
