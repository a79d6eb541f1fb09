"""What happens during a watch, on standard error: a live table of states, or plain lines where there is no terminal."""

from collections import Counter, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live as Drawn
from rich.table import Table
from rich.text import Text

from milepost.errors import printable
from milepost.report._numbers import count
from milepost.report.progress import Lines, Listener, headline, rate

Event = Mapping[str, Any]

STATES = ("seen", "writing", "complete", "claimed", "done", "failed", "vanished", "skipped")
_ENDS = STATES[4:]
_RECENT = 8
_STYLES = {"failed": "red", "vanished": "yellow", "done": "green", "claimed": "bold"}


def watching(stream: TextIO) -> Listener:
    """Return the live table for a terminal, plain lines for anything else."""
    console = Console(file=stream, highlight=False)
    return WatchTable(console) if console.is_terminal else Lines(stream)


class StateCounts:
    """The present state of every checkpoint, by the events of a watch; those that ended are only counted.

    >>> states = StateCounts()
    >>> states({"event": "checkpoint", "path": "a", "state": "seen"})
    >>> states({"event": "checkpoint", "path": "a", "state": "done"})
    >>> states.counts()
    {'done': 1}
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: dict[str, str] = {}
        self._ended: Counter[str] = Counter()
        self.recent: deque[Event] = deque(maxlen=_RECENT)

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if event["event"] != "checkpoint":
            return
        path, state = str(event["path"]), str(event["state"])
        if state in _ENDS:
            self._open.pop(path, None)
            self._ended[state] += 1
        else:
            self._open[path] = state
        kept = [item for item in self.recent if item["path"] != path]
        self.recent = deque([*kept, event], maxlen=_RECENT)

    def counts(self) -> dict[str, int]:
        """Return how many are in each state, in the order of states, those with none left out."""
        every = Counter(self._open.values()) + self._ended
        return {state: every[state] for state in STATES if every[state]}


class WatchTable:
    """A terminal: counts by state, the latest checkpoints, and the pace; notes and failures stay above."""

    def __init__(self, console: Console) -> None:
        """Draw on a console."""
        self._console = console
        self._states = StateCounts()
        self._pace = ""
        self._drawn = Drawn(self._table(), console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away."""
        self._drawn.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event and draw."""
        line = headline(event)
        if line:
            style = "red" if event["event"] == "failure" else "dim"
            self._console.print(Text(printable(line), style=style), soft_wrap=True)
        self._states(event)
        if event["event"] == "progress":
            self._pace = f"{event['data']}  {count(event['done'])}/{count(event.get('size'))} rows  {rate(event)}"
        if "claimed" not in self._states.counts():
            self._pace = ""
        self._drawn.update(self._table())

    def _table(self) -> Group:
        counts = self._states.counts()
        head = Text(
            "  ".join(f"{state} {count(number)}" for state, number in counts.items()) or "waiting for checkpoints",
            "bold",
        )
        table = Table(box=None, show_header=False, pad_edge=False, expand=True)
        # One line a checkpoint, so that the table does not jump: the reason takes what the others leave.
        for most, ratio in ((20, None), (28, None), (12, None), (None, None), (None, 1)):
            table.add_column(no_wrap=True, overflow="ellipsis", max_width=most, ratio=ratio)
        for event in self._states.recent:
            step = "" if event.get("step") is None else str(event["step"])
            style = _STYLES.get(str(event["state"]), "")
            reason = str(event.get("reason") or "").partition("\n")[0]
            cells = (str(event.get("run") or ""), str(event.get("name") or event["path"]), step)
            texts = [Text(printable(cell)) for cell in cells]
            table.add_row(*texts, Text(str(event["state"]), style), Text(printable(reason), "dim"))
        return Group(head, table, Text(printable(self._pace), "dim"))
