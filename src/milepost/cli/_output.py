"""What goes where: results on standard output, all else on standard error; under `--json` nothing but JSON lines."""

import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TextIO

from milepost.cli._streams import to_stdout
from milepost.report._align import lines
from milepost.report.table import NEWEST, Plain, Results, build, newest
from milepost.store.listing import Listing

if TYPE_CHECKING:
    from milepost.report.progress import Listener  # a listing needs no library that draws


class JsonLines:
    """Writes plain values as JSON lines, each flushed, so that a reader sees it at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, *values: Mapping[str, Any]) -> None:
        """Write lines with one flush; numbers that JSON has no word for become "inf", "-inf" or null."""
        self.write_texts(map(_line, values))

    def write_texts(self, texts: Iterable[str]) -> None:
        """Write lines that are JSON already."""
        self._stream.writelines(f"{text}\n" for text in texts)
        self._stream.flush()


def answer(values: Iterable[Mapping[str, Any]], lines: Iterable[str], *, as_json: bool) -> None:
    """Print values as JSON lines, or else lines of text; what is not asked for is not worked out."""
    if as_json:
        with json_lines() as out:
            out.write(*values)
    else:
        to_stdout(lines)


@contextmanager
def json_lines() -> Iterator[JsonLines]:
    """Keep standard output for JSON lines: what other code, or a child, prints meanwhile goes to standard error."""
    kept, copy = sys.stdout, _copy_of_stdout(sys.stdout)
    try:
        with redirect_stdout(sys.stderr), ExitStack() as stack:
            yield JsonLines(
                kept if copy is None else stack.enter_context(os.fdopen(os.dup(copy), "w", encoding="utf-8"))
            )
    finally:
        if copy is not None:
            os.dup2(copy, 1)
            os.close(copy)


class Reported(ExitStack):
    """Takes the events of a run or a watch: shows them, prints some kinds as JSON lines, keeps what they are about.

    `paths` are those of its checkpoints, `done` counts the checkpoints that were finished.
    """

    def __init__(self, show: "Listener", printed: Collection[str]) -> None:
        super().__init__()
        self._show, self._printed = show, printed
        self._out: JsonLines | None = None
        self.paths: set[str] = set()
        self.done = 0

    def __enter__(self) -> Self:
        """Keep standard output for JSON lines if there is something to print, and begin to show."""
        self._out = self.enter_context(json_lines()) if self._printed else None
        self.enter_context(self._show)
        return self

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] in ("checkpoint", "failure"):
            self.paths.add(str(event["path"]))
        self.done += event["event"] == "checkpoint" and event.get("state") == "done"
        self._show(event)
        if self._out and event["event"] in self._printed:
            self._out.write(event)


def print_checkpoints(
    listing: Listing,
    checkpoints: Sequence[Plain],
    *,
    limited: bool,
    slices: str = "all",
    arranged: Callable[[Results], Results] = lambda results: results,
    best: bool = False,
) -> None:
    """Print the table of some checkpoints, `arranged`; `limited` shows 50 in a terminal, and how many there are.

    These are the newest, or the first rows where `arranged` puts the best first.
    """
    terminal = sys.stdout.isatty()
    cut = limited and terminal
    shown = newest(checkpoints, NEWEST) if cut and not best else checkpoints
    digests = {row["digest"] for row in shown if row["digest"]}
    results = arranged(build(listing.records(slices=slices, digests=digests), shown))
    rows = len(results.rows)
    if cut and best:
        results = replace(results, rows=results.rows[:NEWEST])
    if terminal:
        from milepost.report._console import console_of  # noqa: PLC0415 - only a terminal needs the library that draws
        from milepost.report.rich_table import render  # noqa: PLC0415

        console = console_of()
        console.print(render(results, console))
    else:
        to_stdout(lines(results))
    if len(shown) < len(checkpoints):
        to_stdout([f"the newest {len(shown)} of {len(checkpoints):,} checkpoints; --all shows all"])
    if len(results.rows) < rows:
        to_stdout([f"the best {len(results.rows)} of {rows:,} rows; --all shows all"])


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
        return json.dumps(value, allow_nan=False)
    except ValueError:  # a number that is not finite
        return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
