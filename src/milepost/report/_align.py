"""The table of results as plain aligned lines: for pipes, logs and `print`; no colour, no frames, nothing cut off.

Columns are two or more spaces apart, and no cell but a failure's message holds two spaces in a row.
"""

from collections.abc import Sequence

from milepost.errors import printable
from milepost.report._numbers import decimals, interval, number
from milepost.report.table import Cell, Results, Row

_GUTTER = "  "
_FIXED = ("run", "step", "variant", "data", "slice", "name", "n")
_ALWAYS = frozenset({"step", "name", "n"})
_RIGHT = frozenset({"step", "n"})


def lines(results: Results) -> list[str]:
    """Return the header and one line a row.

    Every metric has the columns value, interval and batch mean, as far as any row has them; the status, which may end
    in a failure's message, stands last.
    """
    if not results.rows:
        return ["no checkpoints"]
    heads, right, columns = grid(results)
    heads.append("status")
    right.append(False)
    columns.append([status(row) for row in results.rows])
    return align(heads, list(zip(*columns, strict=True)), right)


def align(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Align rows of cells under their heads; `right` tells which columns stand to the right.

    >>> align(["step", "name"], [["900", "last"]], [True, False])
    ['step  name', ' 900  last']
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    drawn = []
    for row in (heads, *rows):
        cells = zip(row, widths, right, strict=True)
        drawn.append(_GUTTER.join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells).rstrip())
    return drawn


def fixed(row: Row, column: str) -> str:
    """Return the text of one of a row's descriptive columns, "-" where there is none."""
    if column == "name":
        return ",".join(row.names)
    value = getattr(row, column)
    return "-" if value is None or value == "" else str(value)


def told_apart(results: Results) -> list[str]:
    """Return the descriptive columns that are needed: those always shown, and those that differ between rows."""
    return [column for column in _FIXED if column in _ALWAYS or _differs(results, column)]


def status(row: Row) -> str:
    """Return a row's status, with the first line of the message where it failed."""
    first = row.message.strip().partition("\n")[0]
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


def _differs(results: Results, column: str) -> bool:
    """Failed checkpoints have no data and slice, which tells nothing apart."""
    return len({fixed(row, column) for row in results.rows if column not in {"data", "slice"} or row.data}) > 1


def grid(results: Results) -> tuple[list[str], list[bool], list[list[str]]]:
    """Return the heads, which of them stand to the right, and the cells by column; the status is not among them."""
    heads = list(_FIXED)
    right = [head in _RIGHT for head in heads]
    columns = [[fixed(row, head) for row in results.rows] for head in heads]
    for metric in results.metrics:
        cells = [(row, row.cells.get(metric)) for row in results.rows]
        added = [(metric, [value_text(*pair) for pair in cells])]
        if any(cell and cell.low is not None for _, cell in cells):
            added.append(("interval", [interval_text(*pair) or "-" for pair in cells]))
        if any(cell and cell.batch_size is not None for _, cell in cells):
            added.append(("batch_mean", [mean_text(*pair) for pair in cells]))
        for head, column in added:
            heads.append(head)
            right.append(True)
            columns.append(column)
    return heads, right, columns
