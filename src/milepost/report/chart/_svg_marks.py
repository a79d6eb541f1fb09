"""Each mark of a chart as SVG, in a panel whose axes say where a position lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from milepost.core.types import Array
from milepost.report.chart._xml import element, places, text
from milepost.report.chart.model import NEUTRAL, Axis, Band, Bars, Cells, Points, Polyline, Rule, Whiskers
from milepost.report.chart.palette import DASHES, SERIES, on_cell
from milepost.report.chart.sampling import fewer

_MOST_POINTS = 1600
_MANY_POINTS = 400
_CELL_TEXT = 22.0
_APART = 1.0
"""Pixels between bars that stand side by side and touch each other."""
SMALL = 11.0
"""Size of the letters beside marks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a panel lies in the drawing, and its axes."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis

    def across(self, x: Array) -> Array:
        """Return positions from the left of the drawing."""
        low, high = ends(self.x)
        return self.left + (np.asarray(x, np.float64) - low) / (high - low) * self.width

    def down(self, y: Array) -> Array:
        """Return positions from the top; categories count downwards, values upwards."""
        low, high = ends(self.y)
        part = (np.asarray(y, np.float64) - low) / (high - low)
        return self.top + (part if self.y.categories else 1 - part) * self.height


def ends(axis: Axis) -> tuple[float, float]:
    """Return what an axis reaches from and to: half a category more on each side."""
    if axis.categories:
        return -0.5, len(axis.categories) - 0.5
    return (axis.low, axis.high) if axis.high > axis.low else (axis.low - 0.5, axis.low + 0.5)


def class_of(colour: int) -> str:
    """Return the class that gives an element the colour of a series."""
    return "mp-faint" if colour == NEUTRAL else f"mp-s{colour % SERIES}"


@singledispatch
def drawn(mark: object, frame: Frame) -> str:
    """Return a mark as SVG."""
    raise TypeError(f"no drawing for {type(mark).__name__} in {frame}")


@drawn.register
def _line(mark: Polyline, frame: Frame) -> str:
    keep = fewer(np.asarray(mark.y, np.float64), _MOST_POINTS)
    x, y = frame.across(mark.x[keep]), frame.down(np.asarray(mark.y, np.float64)[keep])
    whole = np.flatnonzero(np.isnan(y))
    pieces = [piece for piece in np.split(np.arange(len(y)), whole) if len(piece)]
    pieces = [piece[np.isfinite(y[piece])] for piece in pieces]
    path = "".join(f"M{places(x[piece], y[piece])}" for piece in pieces if len(piece))
    how: dict[str, str | float] = {"stroke_width": 1.0, "stroke_dasharray": "4 3", "stroke_opacity": "0.75"}
    if not mark.faint:
        how = {"stroke_width": "1.8" if len(keep) < _MANY_POINTS else "1.1", **_dashes(mark.colour)}
    shape = element("path", d=path, fill="none", stroke="currentColor", stroke_linejoin="round", **how)
    return element("g", shape, class_=class_of(mark.colour)) if path else ""


def _dashes(colour: int) -> dict[str, str]:
    """Return what tells a line from that of the same colour, where there are more lines than colours."""
    pattern = DASHES[colour // SERIES % len(DASHES)] if colour >= 0 else ""
    return {"stroke_dasharray": pattern} if pattern else {}


@drawn.register
def _band(mark: Band, frame: Frame) -> str:
    low, high = np.asarray(mark.low, np.float64), np.asarray(mark.high, np.float64)
    fine = np.isfinite(low) & np.isfinite(high)
    found = []
    for piece in np.split(np.arange(len(low)), np.flatnonzero(~fine)):
        kept = piece[fine[piece]]
        if len(kept) < 2:  # noqa: PLR2004 - an area needs two
            continue
        edges = fewer(low[kept], _MOST_POINTS // 2), fewer(high[kept], _MOST_POINTS // 2)
        kept = kept[np.union1d(*edges)]
        x = frame.across(mark.x[kept])
        there, back = places(x, frame.down(high[kept])), places(x[::-1], frame.down(low[kept])[::-1])
        found.append(element("path", d=f"M{there}L{back}Z", fill="currentColor", fill_opacity="0.16"))
    return element("g", *found, class_=class_of(mark.colour)) if found else ""


@drawn.register
def _points(mark: Points, frame: Frame) -> str:
    keep = fewer(np.asarray(mark.y, np.float64), _MOST_POINTS)
    x, y = frame.across(mark.x), frame.down(mark.y)
    shapes = []
    for place in keep.tolist():
        if not (np.isfinite(x[place]) and np.isfinite(y[place])):
            continue
        title = [element("title", text(mark.titles[place]))] if mark.titles else []
        shapes.append(_SHAPES[mark.shape](float(x[place]), float(y[place]), title))
    return element("g", *shapes, class_=class_of(mark.colour)) if shapes else ""


def _dot(x: float, y: float, title: Sequence[str]) -> str:
    return element("circle", *title, cx=x, cy=y, r="2.6", fill="currentColor")


def _ring(x: float, y: float, title: Sequence[str]) -> str:
    return element("circle", *title, cx=x, cy=y, r="5", fill="none", stroke="currentColor", stroke_width="1.5")


def _star(x: float, y: float, title: Sequence[str]) -> str:
    angles = np.pi * np.arange(10) / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2, 3.2, 7.5)
    path = places(x + radius * np.cos(angles), y + radius * np.sin(angles))
    return element("path", *title, d=f"M{path}Z", fill="currentColor", class_="mp-edge", stroke_width="1")


def _cross(x: float, y: float, title: Sequence[str]) -> str:
    path = f"M{x - 4:.1f},{y - 4:.1f}L{x + 4:.1f},{y + 4:.1f}M{x - 4:.1f},{y + 4:.1f}L{x + 4:.1f},{y - 4:.1f}"
    return element("path", *title, d=path, stroke="currentColor", fill="none", stroke_width="1.8")


def _dash(x: float, y: float, title: Sequence[str]) -> str:
    return element("path", *title, d=f"M{x:.1f},{y - 5:.1f}L{x:.1f},{y + 5:.1f}", stroke="currentColor")


_SHAPES: dict[str, Callable[[float, float, Sequence[str]], str]] = {
    "dot": _dot,
    "ring": _ring,
    "star": _star,
    "cross": _cross,
    "dash": _dash,
}


@drawn.register
def _bars(mark: Bars, frame: Frame) -> str:
    found, beside = [], []
    x0, x1 = frame.across(mark.x0), frame.across(mark.x1)
    y0, y1 = frame.down(mark.y0), frame.down(mark.y1)
    apart = 0.0 if frame.y.categories else _APART
    for place in range(len(mark.x0)):
        left, right = sorted((float(x0[place]), float(x1[place])))
        top, bottom = sorted((float(y0[place]), float(y1[place])))
        title = [element("title", text(mark.titles[place]))] if mark.titles else []
        how = {"fill": "currentColor", "fill_opacity": "0.75"}
        size = {"width": max(right - left - apart, 0.0), "height": max(bottom - top, 0.5)}
        found.append(element("rect", *title, x=left + apart / 2, y=top, **size, **how))
        if mark.texts:
            backwards = mark.x1[place] < mark.x0[place]
            at = {"x": left - 5, "text_anchor": "end"} if backwards else {"x": right + 5}
            words = text(mark.texts[place])
            how = {"class_": "mp-ink", "fill": "currentColor", "font_size": SMALL, "dominant_baseline": "central"}  # type: ignore[dict-item]
            beside.append(element("text", words, y=(top + bottom) / 2, **at, **how))
    return element("g", *found, class_=class_of(mark.colour)) + "".join(beside)


@drawn.register
def _whiskers(mark: Whiskers, frame: Frame) -> str:
    ends_x = frame.across(mark.x0), frame.across(mark.x1)
    ends_y = frame.down(mark.y0), frame.down(mark.y1)
    path = "".join(
        f"M{a:.1f},{c:.1f}L{b:.1f},{d:.1f}"
        for a, b, c, d in zip(*(item.tolist() for item in (*ends_x, *ends_y)), strict=True)
        if np.isfinite([a, b, c, d]).all()
    )
    shape = element("path", d=path, stroke="currentColor", fill="none", stroke_width="1.6", stroke_opacity="0.8")
    return element("g", shape, class_=class_of(mark.colour)) if path else ""


@drawn.register
def _cells(mark: Cells, frame: Frame) -> str:
    rows, columns = mark.shade.shape
    wide, high = frame.width / columns, frame.height / rows
    found = []
    for row in range(rows):
        for column in range(columns):
            shade = float(mark.shade[row, column])
            x, y = frame.left + column * wide, frame.top + row * high
            title = [element("title", text(mark.titles[row][column]))] if mark.titles else []
            if shade > 0 or title:
                size = {"x": x + 0.5, "y": y + 0.5, "width": max(wide - 1, 0.6), "height": max(high - 1, 0.6)}
                how = {"fill": "currentColor", "fill_opacity": f"{shade:.3f}", "class_": class_of(mark.colour)}
                found.append(element("rect", *title, **size, **how))
            words = mark.texts[row][column] if mark.texts else ""
            if words and wide >= _CELL_TEXT * max(1.0, len(words) / 3.5):
                found.append(_cell_text(words, x + wide / 2, y + high / 2, shade))
    return "".join(found)


def _cell_text(words: str, x: float, y: float, shade: float) -> str:
    how = {"fill": "currentColor", "text_anchor": "middle", "dominant_baseline": "central", "pointer_events": "none"}
    return element("text", text(words), x=x, y=y, font_size=SMALL, class_=f"mp-c{on_cell(shade)}", **how)


@drawn.register
def _rule(mark: Rule, frame: Frame) -> str:
    left, right, top, bottom = frame.left, frame.left + frame.width, frame.top, frame.top + frame.height
    if mark.x is not None:
        left = right = float(frame.across(np.array(mark.x)))
    elif mark.y is not None:
        top = bottom = float(frame.down(np.array(mark.y)))
    else:
        low, high = max(ends(frame.x)[0], ends(frame.y)[0]), min(ends(frame.x)[1], ends(frame.y)[1])
        (left, right), (bottom, top) = frame.across(np.array([low, high])), frame.down(np.array([low, high]))
    path = f"M{left:.1f},{bottom:.1f}L{right:.1f},{top:.1f}"
    line = element("path", d=path, stroke="currentColor", fill="none", stroke_dasharray="2 3", class_="mp-faint")
    if not mark.label:
        return line
    return line + element(
        "text", text(mark.label), x=right + 4, y=top + 10, font_size=SMALL, class_="mp-faint", fill="currentColor"
    )
