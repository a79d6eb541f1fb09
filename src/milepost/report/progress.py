"""What happens during a run, on standard error: one live line a data set, or plain lines where there is no terminal.

Both are listeners: callables that take the run's events, plain dicts, and ignore the kinds that they do not know.
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from milepost.errors import printable
from milepost.report._numbers import count

Event = Mapping[str, Any]

_PHASES = ("load", "data", "model", "metrics")
_EVERY = 10.0


class Listener(Protocol):
    """Something that is told of events between its entry and its exit."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; whatever was drawn stays readable."""


def progress(stream: TextIO) -> Listener:
    """Return the live listener for a terminal, the plain one for anything else."""
    console = Console(file=stream, highlight=False)
    return Live(console) if console.is_terminal else Lines(stream)


def split(seconds: Mapping[str, float]) -> str:
    """Tell where the time went, as shares of the sum of the phases.

    >>> split({"load": 1.0, "data": 0.0, "model": 8.0, "metrics": 1.0})
    'load 10% data 0% model 80% metrics 10%'
    """
    total = sum(seconds.get(phase, 0.0) for phase in _PHASES)
    if total <= 0:
        return ""
    return " ".join(f"{phase} {100 * seconds.get(phase, 0.0) / total:.0f}%" for phase in _PHASES)


def headline(event: Event) -> str | None:
    r"""Return the line that an event is worth of its own, None where it is worth none.

    >>> headline({"event": "failure", "path": "a.pt", "class": "torn", "message": "12 bytes\nmore", "attempts": 1})
    'failed: a.pt: torn: 12 bytes'
    """
    kind = event["event"]
    if kind == "start":
        found = event.get("checkpoints")
        return f"store {event['store']}" + (f", {count(found)} checkpoints" if found is not None else "")
    if kind == "note":
        return str(event["message"])
    if kind == "failure":
        first = str(event.get("message") or "").strip().partition("\n")[0]
        return f"failed: {event.get('path')}: {event.get('class')}: {first}"
    return None


def rate(event: Event) -> str:
    """Return examples a second and the split of time of a `progress` event."""
    speed = event.get("examples_per_second") or 0.0
    parts = [f"{speed:,.0f} examples/s" if speed else "", split(event.get("seconds") or {})]
    return "  ".join(part for part in parts if part)


class Lines:
    """Plain lines: notes and failures at once, each checkpoint when it is done, progress every ten seconds at most."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to a stream; `clock` gives seconds."""
        self._stream = stream
        self._clock = clock
        self._told = clock()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one now."""
        line = headline(event) or self._line(event)
        if line:
            self._stream.write(printable(line) + "\n")
            self._stream.flush()

    def _line(self, event: Event) -> str | None:
        if event["event"] == "checkpoint" and event.get("state") == "done":
            return f"done: {_name(event)}"
        if event["event"] == "progress" and self._clock() - self._told >= _EVERY:
            self._told = self._clock()
            return "  ".join([str(event["data"]), _rows(event), rate(event), _names(event)]).rstrip()
        return None


class Live:
    """A terminal: one live line a data set; notes and failures stay above it; it goes away when all is done."""

    def __init__(self, console: Console) -> None:
        """Draw on a console."""
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._total = 0
        self._finished: set[tuple[Any, ...]] = set()
        columns = ("{task.description}", BarColumn(bar_width=8), "{task.fields[rows]}", "{task.fields[rate]}")
        drawn = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        self._progress = Progress(*drawn, console=console, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the live lines away."""
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw the event."""
        line = headline(event)
        if line:
            style = "red" if event["event"] == "failure" else "dim"
            self._console.print(Text(printable(line), style=style), soft_wrap=True)
        if event["event"] == "start":
            self._total = event.get("checkpoints") or 0
        elif event["event"] == "checkpoint" and event.get("state") in {"done", "failed", "skipped"}:
            self._finished.add((event.get("path"), event.get("variant")))
        elif event["event"] == "progress":
            self._advance(event)

    def _advance(self, event: Event) -> None:
        data = str(event["data"])
        if data not in self._tasks:
            self._tasks[data] = self._progress.add_task(data, rows="", rate="")
        finished = f"  {len(self._finished)}/{self._total} done" if self._total else ""
        self._progress.update(
            self._tasks[data],
            completed=event["done"],
            total=event["size"] or None,
            description=f"{data} {_names(event)}".replace("[", r"\["),
            rows=_rows(event),
            rate=(rate(event) + finished).replace("[", r"\["),
        )


def _rows(event: Event) -> str:
    return f"{count(event['done'])}/{count(event.get('size'))} rows"


def _names(event: Event) -> str:
    names = [str(name) for name in event.get("names") or ()]
    return names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "") if names else ""


def _name(event: Event) -> str:
    step = f" (step {event['step']})" if event.get("step") is not None else ""
    return f"{event.get('name') or event.get('path')}{step}"
