"""What happens during a run, on standard error: one live line a data set, or plain lines where there is no terminal.

Both are listeners: callables that take the run's events, plain dicts, and ignore the kinds that they do not know.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from milepost.core.escaping import message
from milepost.report._align import first_line
from milepost.report._console import console_of
from milepost.report._numbers import count
from milepost.report._printed import printed

Event = Mapping[str, Any]

_PHASES = ("load", "data", "model", "metrics")
_EVERY = 10.0


class Listener(Protocol):
    """Something that takes events between its entry and its exit; whatever it has drawn stays readable."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Screen(ABC):
    """A terminal: something drawn in place that goes away at the end; notes and failures stay above it."""

    def __init__(self, console: Console, drawn: Progress | Live) -> None:
        self._console, self._drawn = console, drawn

    def __enter__(self) -> Self:
        self._drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawn.stop()

    def __call__(self, event: Event) -> None:
        """Take one event and draw."""
        shown = printed(event)
        if line := headline(shown):
            style = "red" if event["event"] == "failure" else "dim"
            self._console.print(Text(message(line), style=style), soft_wrap=True)
        self.take(shown)

    @abstractmethod
    def take(self, event: Event) -> None:
        """Change what is drawn in place."""


def progress(stream: TextIO, screen: Callable[[Console], Listener] | None = None) -> Listener:
    """Return a screen (by default the live lines of a run) for a terminal, plain lines for anything else."""
    console = console_of(stream)
    return (screen or RunLines)(console) if console.is_terminal else Lines(stream)


def split(seconds: Mapping[str, float]) -> str:
    """Say where the time went, as shares of the sum of the phases.

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
    match event["event"]:
        case "start":
            found = event.get("checkpoints")
            return f"store {event['store']}" + (f", {count(found)} checkpoints" if found is not None else "")
        case "note":
            return str(event["message"])
        case "failure":
            return f"failed: {of_variant(event, 'path')}: {event.get('class')}: {first_line(event.get('message'))}"
    return None


def of_variant(event: Event, key: str) -> str:
    """Return what an event is about, with the variant behind it unless that is the raw weights.

    >>> of_variant({"name": "step-9", "variant": "ema"}, "name"), of_variant({"name": "step-9"}, "name")
    ('step-9:ema', 'step-9')
    """
    variant = event.get("variant") or "raw"
    return str(event.get(key)) if variant == "raw" else f"{event.get(key)}:{variant}"


def rate(event: Event) -> str:
    """Return examples a second and the split of time of a `progress` event."""
    speed = event.get("examples_per_second") or 0.0
    texts = [f"{speed:,.0f} examples/s" if speed else "", split(event.get("seconds") or {})]
    return "  ".join(filter(None, texts))


class Lines:
    """Plain lines: notes and failures at once, each checkpoint when it is done, progress every ten seconds at most."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._written = stream, clock, clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one now."""
        shown = printed(event)
        if line := headline(shown) or self._line(shown):
            self._stream.write(message(line) + "\n")
            self._stream.flush()

    def _line(self, event: Event) -> str | None:
        if event["event"] == "checkpoint" and event.get("state") == "done":
            step = f" (step {event['step']})" if event.get("step") is not None else ""
            return f"done: {of_variant(event, 'name' if event.get('name') else 'path')}{step}"
        if event["event"] == "progress" and self._clock() - self._written >= _EVERY:
            self._written = self._clock()
            return "  ".join([str(event["data"]), rows(event), rate(event), _names(event)]).rstrip()
        return None


class RunLines(Screen):
    """One live line a data set."""

    def __init__(self, console: Console) -> None:
        name = TextColumn("{task.description}", markup=False)  # names hold brackets
        rows = TextColumn("{task.fields[rows]}", markup=False)
        # Where the line is too long it is the pace that is cut, not what is evaluated.
        cut = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        pace = TextColumn("{task.fields[rate]}", table_column=cut, markup=False)
        self._lines = Progress(name, BarColumn(bar_width=8), rows, pace, console=console, transient=True, expand=True)
        super().__init__(console, self._lines)
        self._tasks: dict[str, TaskID] = {}
        self._total = 0
        self._finished: set[tuple[Any, ...]] = set()

    def take(self, event: Event) -> None:
        """Move the line of the event's data set."""
        if event["event"] == "start":
            self._total = event.get("checkpoints") or 0
        elif event["event"] == "checkpoint" and event.get("state") in {"done", "failed", "skipped"}:
            self._finished.add((event.get("path"), event.get("variant")))
        elif event["event"] == "progress":
            self._advance(event)

    def _advance(self, event: Event) -> None:
        data = str(event["data"])
        if data not in self._tasks:
            self._tasks[data] = self._lines.add_task(data, rows="", rate="")
        finished = f"{len(self._finished)}/{self._total} done  " if self._total else ""
        self._lines.update(
            self._tasks[data],
            completed=event["done"],
            total=event["size"] or None,
            description=f"{data} {_names(event)}",
            rows=rows(event),
            rate=finished + rate(event),
        )


def rows(event: Event) -> str:
    """Return how many rows of how many are done, of a `progress` event."""
    return f"{count(event['done'])}/{count(event.get('size'))} rows"


def _names(event: Event) -> str:
    names = event.get("names") or [""]
    return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else str(names[0])
