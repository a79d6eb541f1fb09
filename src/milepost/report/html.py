"""The table of results as HTML for notebooks: plain cells, everything escaped, no scripts and nothing to load."""

from collections.abc import Iterable, Sequence
from html import escape

from milepost.report._align import grid, status
from milepost.report.table import Results, Row


def table_html(results: Results, remark: str = "") -> str:
    """Return a table of the rows, and below it the remark.

    >>> table_html(Results((), ()))
    '<p>no checkpoints</p>'
    """
    below = f"<p>{escape(remark)}</p>" if remark else ""
    if not results.rows:
        return "<p>no checkpoints</p>" + below
    heads, right, columns = grid(results)
    head = _line("th", [*heads, "status"], [*right, False])
    body = [_line("td", cells, [*right, False]) for cells in _rows(results.rows, columns)]
    return f"<table>\n<thead>\n{head}</thead>\n<tbody>\n{''.join(body)}</tbody>\n</table>{below}"


def _rows(rows: Sequence[Row], columns: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    for row, *cells in zip(rows, *columns, strict=True):
        yield [*cells, status(row)]


def _line(tag: str, cells: Sequence[str], right: Sequence[bool]) -> str:
    aligned = [' style="text-align: right"' if one else ' style="text-align: left"' for one in right]
    shown = (f"<{tag}{style}>{escape(cell)}</{tag}>" for cell, style in zip(cells, aligned, strict=True))
    return f"<tr>{''.join(shown)}</tr>\n"
