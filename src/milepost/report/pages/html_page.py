"""A page as HTML: one file that loads nothing, with charts in line, for light and dark screens and for paper."""

from collections.abc import Iterable, Sequence
from functools import singledispatch
from importlib.resources import files

from milepost.report.chart._xml import text
from milepost.report.chart.model import NumbersTable
from milepost.report.chart.sparkline import spark_svg
from milepost.report.chart.svg import css, svg
from milepost.report.pages.blocks import (
    AlignedText,
    Block,
    Choice,
    Drawing,
    Facts,
    Fold,
    Form,
    Grid,
    Heading,
    Page,
    PageCell,
    Paragraph,
)

_LONG = 40
"""Signs of a cell beyond which it is broken into lines."""
_HALF = 450
"""Pixels of a chart that fits a phone; two stand side by side where there is room."""
_MOST_NUMBERS = 400
"""Most rows of a figure's numbers that stand behind it; beyond, every so manieth."""


def page_html(page: Page) -> str:
    """Return a page as one file of HTML, without script and with its sheet in it."""
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>{_policy()}"
    return (
        f"<!doctype html>\n<html lang='en'><head>{head}<title>{text(page.title)}</title>"
        f"<style>{sheet()}</style></head>\n<body><main>\n{blocks_html(page.blocks)}</main></body></html>\n"
    )


def sheet() -> str:
    """Return the sheet of all pages: that of the charts, and page.css beside this file."""
    return css() + (files("milepost.report.pages") / "page.css").read_text("utf-8")


def blocks_html(blocks: Iterable[Block]) -> str:
    """Return blocks as HTML, everything in them escaped."""
    return "".join(f"{_html(block)}\n" for block in blocks)


def _policy() -> str:
    """Return what keeps a file from loading or running anything, whatever a name in it is."""
    rules = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return f'<meta http-equiv="Content-Security-Policy" content="{rules}">'


@singledispatch
def _html(block: object) -> str:
    raise TypeError(f"no HTML for {type(block).__name__}")


@_html.register
def _heading(block: Heading) -> str:
    anchor = f' id="{text(block.anchor)}"' if block.anchor else ""
    return f"<h{block.level}{anchor}>{text(block.text)}</h{block.level}>"


@_html.register
def _paragraph(block: Paragraph) -> str:
    tone = f' class="{block.tone}"' if block.tone else ""
    return f"<p{tone}>{text(block.text)}</p>"


@_html.register
def _facts(block: Facts) -> str:
    rows = "".join(f"<tr><th scope='row'>{text(label)}</th><td>{text(words)}</td></tr>" for label, words in block.lines)
    return f"<table class='facts'><tbody>{rows}</tbody></table>"


@_html.register
def _aligned(block: AlignedText) -> str:
    return f"<pre class='wide' tabindex='0'>{text(chr(10).join(block.lines))}</pre>"


@_html.register
def _grid(block: Grid) -> str:
    sides = [" class='right'" if one else "" for one in block.right]
    heads = "".join(
        f"<th scope='col'{side}>{_breakable(head)}</th>" for head, side in zip(block.heads, sides, strict=True)
    )
    rows = "".join(
        f"<tr>{''.join(_cell(cell, right=right) for cell, right in zip(row, block.right, strict=True))}</tr>\n"
        for row in block.rows
    )
    caption = f"<caption>{text(block.caption)}</caption>" if block.caption else ""
    table = f"<table class='grid'>{caption}<thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table>"
    return f"<div class='wide' tabindex='0' role='region' aria-label='{text(block.caption or 'table')}'>{table}</div>"


@_html.register
def _drawing(block: Drawing) -> str:
    numbers = _numbers(block.chart.table)
    small = ' class="half"' if block.chart.width <= _HALF else ""
    return f"<figure{small}>{svg(block.chart, alone=False)}{numbers}</figure>"


@_html.register
def _choice(block: Choice) -> str:
    shown = (
        f'<a href="{text(cell.href)}">{text(cell.text)}</a>' if cell.href else f"<b>{text(cell.text)}</b>"
        for cell in block.cells
    )
    label = text(block.label)
    return f"<nav class='choice' aria-label='{label}'><span>{label}</span>{''.join(shown)}</nav>"


@_html.register
def _form(block: Form) -> str:
    fields = []
    for name, label, value, known in block.fields:
        options = "".join(f"<option value='{text(item)}'></option>" for item in known)
        fields.append(
            f"<label>{text(label)}<input name='{name}' value='{text(value)}' list='known-{name}' autocomplete='off'>"
            f"</label><datalist id='known-{name}'>{options}</datalist>"
        )
    return f"<form method='get' action='{text(block.action)}'>{''.join(fields)}<button>show</button></form>"


@_html.register
def _fold(block: Fold) -> str:
    anchor = f' id="{text(block.anchor)}"' if block.anchor else ""
    return f"<details{anchor}><summary>{text(block.title)}</summary>\n{blocks_html(block.blocks)}</details>"


def _cell(cell: PageCell, *, right: bool) -> str:
    words = ["right"] * right + [cell.tone] * bool(cell.tone) + ["long"] * (len(cell.text) > _LONG and not cell.spark)
    name = f' class="{" ".join(words)}"' if words else ""
    inside = spark_svg(cell.spark, cell.text) if cell.spark else text(cell.text)
    linked = f'<a href="{text(cell.href)}">{inside}</a>' if cell.href else inside
    return f"<td{name}>{linked}</td>"


def _numbers(table: NumbersTable) -> str:
    """Return the numbers of a figure, folded: for those who do not see it, and to be copied."""
    if not table.rows:
        return ""
    step = -(-len(table.rows) // _MOST_NUMBERS)
    rows = [[PageCell(item) for item in row] for row in table.rows[::step]]
    title = "the numbers" if step == 1 else f"the numbers, one row in {step}"
    return _fold(Fold(title, [Grid(table.heads, rows, _sides(table.rows))]))


def _sides(rows: Sequence[Sequence[str]]) -> list[bool]:
    return [all(_is_number(row[place]) for row in rows[:50]) for place in range(len(rows[0]))]


def _is_number(words: str) -> bool:
    return words.replace(",", "").replace(".", "", 1).lstrip("+-").isdigit()


def _breakable(head: str) -> str:
    return text(head).replace("_", "_<wbr>")
