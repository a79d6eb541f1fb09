"""The table of results in a terminal: calm, right-aligned, the batch mean dimmed, failures in red below it.

The first layout that fits the width is drawn: everything of a checkpoint on one line; intervals on a second line; the
same with the last metrics left out and a line that says so.
"""

from bisect import bisect_left
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from milepost._internal.text import listed
from milepost.core.escaping import one_line, printable
from milepost.report._align import (
    first_line,
    fixed,
    footnotes,
    interval_text,
    marks,
    mean_text,
    metric_columns,
    needed,
    value_text,
)
from milepost.report._numbers import count
from milepost.report.addresses import RAW
from milepost.report.table import Results, Row

_DIM = "dim"
_LONG_HEAD = 8


def render(results: Results, console: Console) -> RenderableType:
    """Return what to print: the table that fits the console's width, then failures and notes."""
    table = _fitting(results, console) if results.rows else Text("no checkpoints")
    return Group(table, *(_failure(row) for row in results.rows if row.failed), *_notes(results))


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
    of = f" (batches of {listed([str(size) for size in sorted(sizes)])})" if sizes else ""
    texts = [f"~ is the mean of batch means{of}, [ , ] the 95 % interval"]
    texts += [f"not shown at this width: {left_out}"] if left_out else []
    return [Text(text, style=_DIM) for text in texts]


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def _table(results: Results, metrics: Sequence[str], *, stacked: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    columns = needed(results)
    heads = {metric: metric_columns(results, metric) for metric in metrics}
    for column in columns:
        table.add_column(Text(column), justify="right" if column in {"step", "n"} else "left", no_wrap=column != "name")
    for metric in metrics:
        if stacked:
            head = one_line(metric)
            head = head if len(head) <= _LONG_HEAD else head.replace("_", "_\n")
            table.add_column(Text(head), justify="right", no_wrap=True)
            continue
        for head in heads[metric]:
            side: JustifyMethod = "left" if head == "interval" else "right"
            style = _DIM if head == "batch_mean" else ""
            shown = one_line(head).replace("batch_mean", "batch mean")
            table.add_column(Text(shown, style), justify=side, no_wrap=True)
    table.add_column("status", no_wrap=True)
    for row in results.rows:
        cells: list[RenderableType] = [_described(row, column) for column in columns]
        for metric in metrics:
            cells += [_stacked_cell(row, metric)] if stacked else _wide_cells(row, metric, heads[metric])
        table.add_row(*cells, _status(row, marks(results, row)))
    return table


def _wide_cells(row: Row, metric: str, heads: Sequence[str]) -> list[Text]:
    cell, shown = row.cells.get(metric), not row.failed
    texts = {"interval": Text(interval_text(row, cell)), "batch_mean": Text(mean_text(row, cell) * shown, style=_DIM)}
    value = Text(value_text(row, cell) * shown)
    return [texts.get(head, value) for head in heads]


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


def _described(row: Row, column: str) -> Text:
    special = {"n": "" if row.n is None else count(row.n), "name": "\n".join(row.names)}
    return Text(printable(special[column] if column in special else fixed(row, column)))


def _status(row: Row, marked: str) -> Text:
    return Text(row.status + marked, style="red" if row.failed else "" if row.status == "ok" else "yellow")


def _failure(row: Row) -> Text:
    address = f"{row.run}:{row.step}" if row.run and row.step is not None else ", ".join(row.names)
    address += "" if row.variant == RAW else f":{row.variant}"
    return Text(one_line(f"{address}  {row.status}: {first_line(row.message)}"), style="red")


def _notes(results: Results) -> list[Text]:
    cells = (item for row in results.rows for item in row.cells.items())
    notes = (f"{metric}: {cell.note}" for metric, cell in cells if cell.note and cell.value is None)
    return [Text(one_line(note), style="yellow") for note in (*dict.fromkeys(notes), *footnotes(results))]
