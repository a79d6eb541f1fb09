"""The table of results as plain aligned lines: for pipes, logs and `print`; no colour, no frames, nothing cut off.

Columns are two or more spaces apart, and no cell but a failure's message holds two spaces in a row.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from milepost.core.escaping import one_line
from milepost.report._numbers import decimals, interval, number
from milepost.report.table import Cell, Results, Row

WIDTH = 80
"""Columns of prose: it is wrapped at so many in pipes and terminals alike."""

_KEPT = "\0"
"""Stands for a space that no line is broken at; no path holds it."""

_TOGETHER = re.compile(r"\([^()]{,40}\)|\[[^\[\]]*\]|\d+ %|\S+ = \S+")
"""What no line is broken in: an interval, a percentage, `p = 0.05`."""

_FIXED = ("run", "step", "variant", "data", "slice", "name", "n")
_ALWAYS = frozenset({"step", "name", "n"})
_RIGHT = frozenset({"step", "n", "rows", "time", "value", "files", "bytes", "attempts"})


def lines(results: Results) -> list[str]:
    """Return the header and one line a row, then footnotes; the status, which may end in a message, stands last."""
    return [*align(*grid(results)), *footnotes(results)] if results.rows else ["no checkpoints"]


def footnotes(results: Results) -> list[str]:
    """Return the footnotes with their numbers."""
    return [f"[{number}] {note}" for number, note in enumerate(results.footnotes, 1)]


def marks(results: Results, row: Row) -> str:
    """Return the numbers of a row's footnotes, "" where it has none."""
    return "".join(f" [{1 + results.footnotes.index(note)}]" for note in row.footnotes)


def align(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """Align rows of cells under their heads; `right` says which columns are right-aligned, by default those of numbers.

    >>> align(["step", "name"], [["900", "last"]])
    ['step  name', ' 900  last']
    """
    heads, rows = list(map(one_line, heads)), [[one_line(cell) for cell in row] for row in rows]
    right = right or [head in _RIGHT for head in heads]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    drawn = []
    for row in (heads, *rows):
        cells = zip(row, widths, right, strict=True)
        drawn.append("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells).rstrip())
    return drawn


def wrapped(texts: Iterable[str], hanging: int = 2) -> Iterator[str]:
    r"""Yield texts as lines of at most WIDTH columns; a word, a path or an interval is never broken.

    >>> print("\n".join(wrapped(["the value lies, with the confidence that is usual in this field, in [0.1, 0.9]"])))
    the value lies, with the confidence that is usual in this field, in
      [0.1, 0.9]
    """
    for text in texts:
        whole = _TOGETHER.sub(lambda found: unbroken(found[0]), text)
        lines = textwrap.wrap(
            whole, WIDTH, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
        )
        yield from map(plain, lines or [""])


def plain(text: str) -> str:
    """Return a text with what `unbroken` has put into it taken out."""
    return text.replace(_KEPT, " ")


def unbroken(text: str) -> str:
    """Return a text, such as a path, that `wrapped` breaks nowhere."""
    return text.replace(" ", _KEPT)


def shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def fixed(row: Row, column: str) -> str:
    """Return the text of one of a row's descriptive columns, "-" where there is none."""
    return ",".join(row.names) if column == "name" else shown(getattr(row, column))


def needed(results: Results) -> list[str]:
    """Return the descriptive columns that are needed: those always shown, and those that differ between rows.

    Failed checkpoints have no data and slice, and do not count for these two.
    """

    def differs(column: str) -> bool:
        return len({fixed(row, column) for row in results.rows if column not in {"data", "slice"} or row.data}) > 1

    return [column for column in _FIXED if column in _ALWAYS or differs(column)]


def first_line(text: Any) -> str:
    """Return the first line of a message, "" for None."""
    return str(text or "").strip().partition("\n")[0]


def status(row: Row) -> str:
    """Return a row's status, with the first line of the message where it failed."""
    first = first_line(row.message)
    return f"{row.status}: {first}" if first else row.status


def value_text(row: Row, cell: Cell | None) -> str:
    """Return a cell's exact value as text: "-" where it was never computed, "undefined" where it has no value."""
    if cell is None or (cell.value is None and not cell.undefined):
        return "-"
    return number(cell.value, decimals(row.n))


def mean_text(row: Row, cell: Cell | None) -> str:
    """Return a cell's batch mean as text, "-" where there is none."""
    if cell is None or cell.batch_size is None:
        return "-"
    return number(cell.batch_mean, decimals(row.n))


def interval_text(row: Row, cell: Cell | None) -> str:
    """Return a cell's interval as text, "" where there is none."""
    return interval(cell.low, cell.high, decimals(row.n)) if cell else ""


def metric_columns(results: Results, metric: str) -> list[str]:
    """Return which columns a metric has, as far as any row has them: value, interval, batch mean."""
    cells = [row.cells[metric] for row in results.rows if metric in row.cells]
    spans = ["interval"] if any(cell.low is not None for cell in cells) else []
    means = ["batch_mean"] if any(cell.batch_size is not None for cell in cells) else []
    return [metric, *spans, *means]


def grid(results: Results) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return the heads, the rows of cells, and which columns are right-aligned; the status stands last."""
    heads, rows = list(_FIXED), [[fixed(row, head) for head in _FIXED] for row in results.rows]
    texts = {"interval": interval_text, "batch_mean": mean_text}
    for metric in results.metrics:
        for head in metric_columns(results, metric):
            heads.append(head)
            text = texts.get(head, value_text)
            for cells, row in zip(rows, results.rows, strict=True):
                cells.append(text(row, row.cells.get(metric)) or "-")
    right = [head in _RIGHT or place >= len(_FIXED) for place, head in enumerate(heads)]
    rows = [[*cells, status(row) + marks(results, row)] for cells, row in zip(rows, results.rows, strict=True)]
    return [*heads, "status"], rows, [*right, False]
