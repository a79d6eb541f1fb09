"""What goes where: results on standard output, all else on standard error; under `--json` nothing but JSON lines."""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from milepost.report._align import lines
from milepost.report.table import Plain, Results, build, newest
from milepost.store.listing import Listing

_NEWEST = 50


class JsonLines:
    """Writes plain values as JSON lines, each flushed, so that a reader sees it at once."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream = stream

    def write(self, value: Mapping[str, Any]) -> None:
        """Write one line; numbers that JSON has no word for become "inf", "-inf" or null."""
        self._stream.write(_line(value))
        self._stream.flush()

    def write_texts(self, texts: Iterable[str]) -> None:
        """Write lines that are JSON already."""
        self._stream.writelines(f"{text}\n" for text in texts)
        self._stream.flush()

    def write_all(self, values: Iterable[Mapping[str, Any]]) -> None:
        """Write many lines with one flush."""
        self._stream.write("".join(map(_line, values)))
        self._stream.flush()


@contextmanager
def json_lines() -> Iterator[JsonLines]:
    """Keep standard output for JSON lines: what other code, or a child, prints meanwhile goes to standard error."""
    kept = sys.stdout
    sys.stdout = sys.stderr
    copy = _copy_of_stdout(kept)
    try:
        if copy is None:
            yield JsonLines(kept)
        else:
            with os.fdopen(os.dup(copy), "w", encoding="utf-8") as stream:
                yield JsonLines(stream)
    finally:
        sys.stdout = kept
        if copy is not None:
            os.dup2(copy, 1)
            os.close(copy)


def print_checkpoints(listing: Listing, checkpoints: Sequence[Plain], *, limited: bool, slices: str = "all") -> None:
    """Print the table of some checkpoints; `limited` shows the newest 50 in a terminal, and how many there are."""
    shown = newest(checkpoints, _NEWEST) if limited and sys.stdout.isatty() else checkpoints
    digests = {row["digest"] for row in shown if row["digest"]}
    _print_results(build(json.loads(f"[{','.join(listing.lines(slices=slices, digests=digests))}]"), shown))
    if len(shown) < len(checkpoints):
        sys.stdout.write(f"the newest {len(shown)} of {len(checkpoints):,} checkpoints; --all shows all\n")


def _print_results(results: Results) -> None:
    """Print the table: drawn in a terminal, as plain lines elsewhere."""
    if not sys.stdout.isatty():
        sys.stdout.write("\n".join(lines(results)) + "\n")
        return
    # Only a terminal needs the library that draws.
    from rich.console import Console  # noqa: PLC0415

    from milepost.report.rich_table import render  # noqa: PLC0415

    console = Console(highlight=False)
    console.print(render(results, console))


def _copy_of_stdout(stream: TextIO) -> int | None:
    """Duplicate descriptor 1 and point it at standard error; None where stdout is not a real one (a test's)."""
    if stream is not sys.__stdout__:
        return None
    stream.flush()
    copy = os.dup(1)
    os.dup2(2, 1)
    return copy


def _line(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False) + "\n"
    except ValueError:  # a number that is not finite
        return json.dumps(_plain(value), allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
