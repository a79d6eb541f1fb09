"""The table of results as HTML for notebooks: plain cells, everything escaped, no scripts and nothing to load."""

from collections.abc import Sequence
from html import escape

from milepost.report._align import footnotes, grid
from milepost.report.table import Results


def table_html(results: Results, remark: str = "") -> str:
    """Return a table of the rows, and below it its footnotes and the remark.

    >>> table_html(Results((), ()))
    '<p>no checkpoints</p>'
    """
    below = "".join(f"<p>{escape(text)}</p>" for text in (*footnotes(results), remark) if text)
    if not results.rows:
        return "<p>no checkpoints</p>" + below
    heads, rows, right = grid(results)
    body = "".join(_line("td", cells, right) for cells in rows)
    return f"<table>\n<thead>\n{_line('th', heads, right)}</thead>\n<tbody>\n{body}</tbody>\n</table>{below}"


def _line(tag: str, cells: Sequence[str], right: Sequence[bool]) -> str:
    sides = ("right" if one else "left" for one in right)
    shown = (f'<{tag} style="text-align: {side}">{escape(c)}</{tag}>' for c, side in zip(cells, sides, strict=True))
    return f"<tr>{''.join(shown)}</tr>\n"
