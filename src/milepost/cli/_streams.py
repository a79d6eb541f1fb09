"""The only places that write to standard output and standard error: names are anybody's, and steer neither.

A line is one line, whatever stands in it; a message's further lines are indented, so that none looks like another
message; and no stream's encoding refuses a text.
"""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from milepost.core.escaping import ERRORS, message, one_line

UTF8 = "utf-8"


def to_stdout(lines: Iterable[str]) -> None:
    """Write lines to standard output."""
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def to_stderr(text: str) -> None:
    """Write a message to standard error, at once; nobody need be there to read it."""
    with suppress(OSError):
        sys.stderr.write(f"{message(text)}\n")
        sys.stderr.flush()


def path_to_stdout(path: str) -> None:
    """Write the very bytes of a path to standard output, and a line feed: for scripts."""
    sys.stdout.flush()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.buffer.flush()
    else:  # a stream of text in the place of the real one
        sys.stdout.write(f"{path}\n")


@contextmanager
def all_encodable() -> Iterator[None]:
    """Have standard output and standard error write what their encodings lack in its printed form."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=ERRORS)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def restart_in_utf8() -> None:
    """Start this command again in Python's UTF-8 mode where file names are not read as UTF-8, as by `LC_ALL=C` alone.

    What a name is in a store must not depend on who looks.  The streams keep their encoding.
    """
    if sys.getfilesystemencoding() == UTF8:
        return
    shown = {"PYTHONIOENCODING": os.environ.get("PYTHONIOENCODING") or sys.stdout.encoding}
    environment = {**os.environ, "PYTHONUTF8": "1", **shown}  # the processes that it starts read them alike
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)  # noqa: S606 - this very command
