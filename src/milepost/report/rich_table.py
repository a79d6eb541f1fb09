"""The table of results in a terminal: calm, right-aligned, the batch mean dimmed, failures in red below it.

The first layout that fits the width is drawn: everything of a checkpoint on one line; intervals on a second line; the
same with the last metrics left out and a line that says so.
"""

import io
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from milepost.errors import printable
from milepost.report._align import fixed, interval_text, mean_text, told_apart, value_text
from milepost.report._numbers import count
from milepost.report.table import Plain, Results, Row, build

_BOX = box.SIMPLE_HEAD
_DIM = "dim"
_LONG_HEAD = 8
_NARROWEST = 100


def render(results: Results, console: Console) -> RenderableType:
    """Return what to print: the table that fits the console's width, then failures and notes."""
    parts: list[RenderableType] = [_fitting(results, console)] if results.rows else [Text("no checkpoints")]
    parts += [_failure(row) for row in results.rows if row.failed]
    parts += _notes(results)
    return Group(*parts)


def results_table(records: Iterable[Plain], checkpoints: Iterable[Plain] = (), width: int | None = None) -> str:
    """Draw records as a table without colour, at most `width` wide (the terminal's, 100 at least): `print(results)`.

    >>> record = {"run": "lenet", "checkpoint": {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"},
    ...           "data": "test", "slice": None, "metric": "top1", "estimator": "exact", "value": 0.5, "n": 10,
    ...           "intervals": [{"low": 0.2, "high": 0.8, "level": 0.95, "method": "wilson"}], "status": "ok"}
    >>> print(results_table([record], width=80))
    step  name    n   top1  interval        status
    ──────────────────────────────────────────────
       9  a.npz  10  0.500  [0.200, 0.800]  ok
    """
    columns = width or max(_NARROWEST, shutil.get_terminal_size().columns)
    console = Console(width=columns, file=io.StringIO(), color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(render(build(records, checkpoints), console))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _fitting(results: Results, console: Console) -> RenderableType:
    many = len(results.metrics)
    if sum(map(len, results.metrics)) + many <= console.width:
        wide = _table(results, results.metrics, stacked=False)
        if _fits(wide, console):
            return wide

    def too_wide(kept: int) -> bool:
        return not _fits(_table(results, results.metrics[:kept], stacked=True), console)

    # To measure a table takes as long as to draw it: by halves, not one metric after the other.
    kept = 1 + bisect_left(range(2, many + 1), True, key=too_wide)  # noqa: FBT003 - what is looked for
    return Group(_table(results, results.metrics[:kept], stacked=True), *_legend(results, kept))


def _legend(results: Results, kept: int) -> list[Text]:
    """Say what the signs of the stacked layout mean, and what was left out."""
    left_out = ", ".join(results.metrics[kept:])
    sizes = {cell.batch_size for row in results.rows for cell in row.cells.values() if cell.batch_size is not None}
    of = f" (batches of {max(sizes)})" if sizes else ""
    told = [Text(f"~ is the mean of batch means{of}, [ , ] the 95 % interval", style=_DIM)]
    return [*told, Text(f"not shown at this width: {left_out}", style=_DIM)] if left_out else told


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def _table(results: Results, metrics: Sequence[str], *, stacked: bool) -> Table:
    table = Table(box=_BOX, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    columns = told_apart(results)
    for column in columns:
        table.add_column(column, justify="right" if column in {"step", "n"} else "left", no_wrap=column != "name")
    for metric in metrics:
        if stacked:
            table.add_column(_broken(metric), justify="right", no_wrap=True)
        else:
            _wide_heads(table, results, metric)
    table.add_column("status", no_wrap=True)
    for row in results.rows:
        cells: list[RenderableType] = [_described(row, column) for column in columns]
        for metric in metrics:
            cells += [_stacked_cell(row, metric)] if stacked else _wide_cells(results, row, metric)
        table.add_row(*cells, _status(row))
    return table


def _broken(metric: str) -> str:
    return metric if len(metric) <= _LONG_HEAD else metric.replace("_", "_\n")


def _wide_heads(table: Table, results: Results, metric: str) -> None:
    table.add_column(metric, justify="right", no_wrap=True)
    if _has_interval(results, metric):
        table.add_column("interval", justify="left", no_wrap=True)
    if _has_mean(results, metric):
        table.add_column(Text("batch mean", style=_DIM), justify="right", no_wrap=True)


def _wide_cells(results: Results, row: Row, metric: str) -> list[RenderableType]:
    cell = row.cells.get(metric)
    cells: list[RenderableType] = [Text("" if row.failed else value_text(row, cell))]
    if _has_interval(results, metric):
        cells.append(Text(interval_text(row, cell)))
    if _has_mean(results, metric):
        cells.append(Text("" if row.failed else mean_text(row, cell), style=_DIM))
    return cells


def _stacked_cell(row: Row, metric: str) -> Text:
    if row.failed:
        return Text("")
    cell = row.cells.get(metric)
    shown, span = Text(value_text(row, cell)), interval_text(row, cell)
    if cell is not None and cell.batch_size is not None:
        shown.append(f"{' ' if span else chr(10)}~ {mean_text(row, cell)}", style=_DIM)
    if span:
        shown.append(f"\n{span}")
    return shown


def _has_mean(results: Results, metric: str) -> bool:
    return any(metric in row.cells and row.cells[metric].batch_size is not None for row in results.rows)


def _has_interval(results: Results, metric: str) -> bool:
    return any(metric in row.cells and row.cells[metric].low is not None for row in results.rows)


def _described(row: Row, column: str) -> Text:
    if column == "n":
        return Text("" if row.n is None else count(row.n))
    if column == "name":
        return Text(printable("\n".join(row.names)))
    return Text(printable(fixed(row, column)))


def _status(row: Row) -> Text:
    if row.failed:
        return Text(row.status, style="red")
    return Text(row.status, style="" if row.status == "ok" else "yellow")


def _failure(row: Row) -> Text:
    address = f"{row.run}:{row.step}" if row.run and row.step is not None else ", ".join(row.names)
    return Text(printable(f"{address}  {row.status}: {row.message.strip().partition(chr(10))[0]}"), style="red")


def _notes(results: Results) -> list[Text]:
    found: dict[str, None] = {}
    for row in results.rows:
        for metric, cell in row.cells.items():
            if cell.note and (cell.undefined or cell.value is None):
                found.setdefault(f"{metric}: {cell.note}", None)
    return [Text(note, style="yellow") for note in found]
