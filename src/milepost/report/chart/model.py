"""A chart as plain data: panels with two axes and marks on them.  `svg`, `pyplot` and `text` draw it.

Positions are in the units of the axes.  An axis of categories counts them from 0, the first at the left or at the top.
A `colour` is a number in the palette, from 0.
"""

from dataclasses import dataclass, field
from typing import Literal

from milepost.core.types import Array

NEUTRAL = -1
"""The colour of what belongs to no series: grey."""

LONGEST = 26
"""Signs of a name that are drawn at an axis or in a legend; a longer one loses its middle."""

Shape = Literal["dot", "ring", "star", "cross", "dash"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What a side of a panel measures: its label with the unit, its ends, and the names of its categories, if any.

    `whole` says that only whole numbers have a meaning; `percent` that 0.5 reads 50 %; `absolute` that -5 reads 5, as
    on an axis that counts from 0 to both sides.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    categories: tuple[str, ...] = ()
    whole: bool = False
    percent: bool = False
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Polyline:
    """A line through points in order; NaN interrupts it.  `faint` stands back and is dashed."""

    x: Array
    y: Array
    colour: int
    label: str = ""
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines over the same x, such as an interval."""

    x: Array
    low: Array
    high: Array
    colour: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """Single points; `titles` are what each says where it is pointed at."""

    x: Array
    y: Array
    colour: int
    shape: Shape = "dot"
    label: str = ""
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """Rectangles from (x0, y0) to (x1, y1); `texts` stand beside their ends, `titles` where they are pointed at."""

    x0: Array
    x1: Array
    y0: Array
    y1: Array
    colour: int
    label: str = ""
    texts: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Whiskers:
    """Straight segments from (x0, y0) to (x1, y1), such as the intervals of single values."""

    x0: Array
    x1: Array
    y0: Array
    y1: Array
    colour: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """A matrix [rows, columns] over two axes of categories; `shade` in 0 to 1 says how strong a cell's colour is."""

    shade: Array
    texts: tuple[tuple[str, ...], ...]
    titles: tuple[tuple[str, ...], ...] = ()
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """A thin line across the panel: at one `x`, at one `y`, or where x equals y (neither)."""

    x: float | None = None
    y: float | None = None
    label: str = ""


Mark = Polyline | Band | Points | Bars | Whiskers | Cells | Rule


@dataclass(frozen=True, slots=True)
class Panel:
    """Two axes and the marks between them, the first drawn first; `share` is its part of the chart's height."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class NumbersTable:
    """The numbers of a chart for those who cannot see it: heads, and rows of text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Panels below each other under a title, with what must stand beside every figure: n, unit and interval.

    `notes` are lines below it.  `width` and `height` are in pixels, of the whole.
    """

    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    table: NumbersTable = field(default=NumbersTable((), ()))
    width: int = 760
    height: int = 380
