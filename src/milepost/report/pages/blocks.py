"""What a page is made of, as plain data: headings, text, facts, grids of cells, figures, and folded parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from milepost.report.chart.model import Chart

Tone = Literal["", "good", "bad", "warn", "faint", "strong"]


@dataclass(frozen=True, slots=True)
class PageCell:
    """A cell of a grid: text, a link to an address of the page or beyond, and a tone that colours it.

    `spark`, where there is any, is drawn as a small curve; the text then says what it shows.
    """

    text: str
    href: str = ""
    tone: Tone = ""
    spark: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 3; `anchor` is the name by which links reach it."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels and texts, one below the other; an empty label continues the one above."""

    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AlignedText:
    """Lines that are aligned by spaces, and shown in letters of one width."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of cells under heads; `right` says which columns are right-aligned, `caption` what the grid shows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[PageCell]]
    right: Sequence[bool]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, with its numbers as a table behind it."""

    chart: Chart


@dataclass(frozen=True, slots=True)
class Choice:
    """What a page can show instead: a label, and links; the one without an address is what it shows."""

    label: str
    cells: Sequence[PageCell]


@dataclass(frozen=True, slots=True)
class Form:
    """Fields that ask the page `action` for something else: each a name, a label, its value, and what it may be."""

    action: str
    fields: Sequence[tuple[str, str, str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that stand behind their title until they are asked for."""

    title: str
    blocks: Sequence["Block"]
    anchor: str = ""


Block = Heading | Paragraph | Facts | AlignedText | Grid | Drawing | Choice | Form | Fold


@dataclass(frozen=True, slots=True)
class Page:
    """A title and blocks."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
