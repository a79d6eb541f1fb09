"""HTML for notebooks: plain tables, everything escaped, no scripts and nothing to load."""

from collections.abc import Iterable, Sequence
from html import escape

from milepost.core.escaping import printable

_HEAD = "text-align: {}; border-bottom: 1px solid"
_CELL = "text-align: {}; vertical-align: top; font-variant-numeric: tabular-nums{}"
_WHOLE = "; white-space: nowrap"
_FAINT = "; opacity: 0.6"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool], faint: Sequence[bool] = ()
) -> str:
    """Return a table; `right` says which columns are right-aligned, `faint` which stand back.

    >>> table(["a"], [["<b>"]], [False]).count("&lt;b&gt;")
    1
    """
    sides = ["right" if one else "left" for one in right]
    less = faint or [False] * len(sides)
    styles = [_CELL.format(side, _WHOLE + _FAINT * one) for side, one in zip(sides, less, strict=True)]
    head = _line("th", heads, [_HEAD.format(side) for side in sides]).replace("_", "_<wbr>")
    body = "".join(_line("td", cells, styles) for cells in rows)
    shown = f"<table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div style="overflow-x: auto">{shown}</div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return labels and texts as a table without heads.

    >>> facts([("n", "9")]).count("<tr>")
    1
    """
    styles = [_CELL.format("left", "; font-weight: bold"), _CELL.format("left", "")]
    return f"<table><tbody>\n{''.join(_line('td', row, styles) for row in rows)}</tbody></table>"


def paragraphs(texts: Iterable[str]) -> str:
    """Return each text as a paragraph; empty ones are left out."""
    return "".join(f'<p style="margin: 0.2em 0">{_escape(text)}</p>' for text in texts if text)


def _escape(text: str) -> str:
    return escape(printable(text))


def _line(tag: str, cells: Sequence[str], styles: Sequence[str]) -> str:
    shown = (f'<{tag} style="{style}">{_escape(cell)}</{tag}>' for cell, style in zip(cells, styles, strict=True))
    return f"<tr>{''.join(shown)}</tr>\n"
