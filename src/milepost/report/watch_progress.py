"""What happens during a watch, on standard error: a live table of states, or plain lines where there is no terminal."""

from collections import Counter, deque
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from milepost.core.escaping import one_line
from milepost.report._align import first_line
from milepost.report._numbers import count
from milepost.report.progress import Event, Listener, Screen, progress, rate, rows

STATES = ("seen", "writing", "complete", "claimed", "done", "failed", "vanished", "skipped")
_ENDS = STATES[4:]
_RECENT = 8
_STYLES = {"failed": "red", "vanished": "yellow", "done": "green", "claimed": "bold"}


def watching(stream: TextIO) -> Listener:
    """Return the live table for a terminal, plain lines for anything else."""
    return progress(stream, WatchTable)


class StateCounts:
    """The present state of every checkpoint, by the events of a watch; those that ended are only counted."""

    def __init__(self) -> None:
        self._open, self._ended = dict[str, str](), Counter[str]()
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


class WatchTable(Screen):
    """Counts by state, the latest checkpoints, and the pace."""

    def __init__(self, console: Console) -> None:
        self._states, self._pace = StateCounts(), ""
        self._live = Live(self._table(), console=console, transient=True, refresh_per_second=4)
        super().__init__(console, self._live)

    def take(self, event: Event) -> None:
        """Draw the table again."""
        self._states(event)
        if event["event"] == "progress":
            self._pace = f"{event['data']}  {rows(event)}  {rate(event)}"
        if "claimed" not in self._states.counts():
            self._pace = ""
        self._live.update(self._table())

    def _table(self) -> Group:
        counts = "  ".join(f"{state} {count(number)}" for state, number in self._states.counts().items())
        table = Table(box=None, show_header=False, pad_edge=False, expand=True)
        # One line a checkpoint, so that the table does not jump: the reason takes what the others leave.
        for most, ratio in ((20, None), (28, None), (12, None), (None, None), (None, 1)):
            table.add_column(no_wrap=True, overflow="ellipsis", max_width=most, ratio=ratio)
        for event in self._states.recent:
            step = "" if event.get("step") is None else str(event["step"])
            style = _STYLES.get(str(event["state"]), "")
            cells = (str(event.get("run") or ""), str(event.get("name") or event["path"]), step)
            reason = Text(one_line(first_line(event.get("reason"))), "dim")
            table.add_row(*(Text(one_line(cell)) for cell in cells), Text(str(event["state"]), style), reason)
        return Group(Text(counts or "waiting for checkpoints", "bold"), table, Text(one_line(self._pace), "dim"))
