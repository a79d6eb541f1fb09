"""A page as Markdown, for a pull request or the summary of a CI run: tables, and curves of text."""

from collections.abc import Iterable, Iterator
from functools import singledispatch

from milepost.core.escaping import one_line
from milepost.report.chart.sparkline import spark_text
from milepost.report.chart.text import text_lines
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

_STEERING = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>|#~$@"} | {"&": "&amp;"})
_WIDTH = 100


def page_markdown(page: Page) -> str:
    """Return a page as Markdown of GitHub's kind; a name in it cannot become a link, an image, HTML or a mention."""
    return "\n".join(line for block in page.blocks for line in _lines(block)).strip() + "\n"


def _text(words: str) -> str:
    r"""Return words that Markdown leaves as they are.

    >>> _text("a_b | <b>")
    'a\\_b \\| \\<b\\>'
    """
    # A zero-width space behind an at sign keeps a name from calling a person.
    return one_line(" ".join(words.split("\n"))).translate(_STEERING).replace("\\@", "@\u200b")


@singledispatch
def _lines(block: object) -> Iterator[str]:
    raise TypeError(f"no Markdown for {type(block).__name__}")


@_lines.register
def _heading(block: Heading) -> Iterator[str]:
    yield from ("", f"{'#' * block.level} {_text(block.text)}", "")


@_lines.register
def _paragraph(block: Paragraph) -> Iterator[str]:
    yield from (_text(block.text), "")


@_lines.register
def _facts(block: Facts) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (f"| {_text(label)} | {_text(words)} |" for label, words in block.lines)
    yield ""


@_lines.register
def _aligned(block: AlignedText) -> Iterator[str]:
    yield from ("~~~~text", *(" ".join(line.splitlines()) for line in block.lines), "~~~~", "")


@_lines.register
def _grid(block: Grid) -> Iterator[str]:
    if block.caption:
        yield from (_text(block.caption), "")
    yield f"| {' | '.join(map(_text, block.heads))} |"
    yield f"|{'|'.join('--:' if right else '---' for right in block.right)}|"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in block.rows)
    yield ""


@_lines.register
def _drawing(block: Drawing) -> Iterator[str]:
    fence = "~~~~"  # no text of a chart holds a line of these: names are within lines
    yield from (f"{fence}text", *(line.rstrip() for line in text_lines(block.chart, _WIDTH)), fence, "")


@_lines.register
def _choice(block: Choice) -> Iterator[str]:
    yield from (f"{_text(block.label)}: {', '.join(_text(cell.text) for cell in block.cells)}", "")


@_lines.register
def _form(_: Form) -> Iterator[str]:
    yield from ()  # a text asks nothing


@_lines.register
def _fold(block: Fold) -> Iterator[str]:
    yield from ("<details>", f"<summary>{_html(block.title)}</summary>", "")
    yield from _all(block.blocks)
    yield from ("</details>", "")


def _all(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield from _lines(block)


def _cell(cell: PageCell) -> str:
    shown = spark_text(cell.spark) or _text(cell.text)
    return f"**{shown}**" if cell.tone == "strong" and shown else shown


def _html(words: str) -> str:
    return " ".join(words.splitlines()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
