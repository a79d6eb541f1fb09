"""A chart as SVG, by a small writer of our own: text that a test can read, without script and with nothing to load.

Colours are classes, so that a page's own sheet may give light and dark ones under a strict policy; a file of its own
brings its sheet along.
"""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from milepost.report.chart._svg_marks import SMALL, Frame, class_of, drawn
from milepost.report.chart._xml import element, text
from milepost.report.chart.model import Axis, Bars, Cells, Chart, Mark, Panel, Points, Polyline, Rule, Whiskers
from milepost.report.chart.palette import DARK, LIGHT, Palette
from milepost.report.chart.ticks import short, ticks

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_LETTER = 0.58
"""Width of a letter in parts of its height: on the safe side for the fonts above."""
_TITLE, _LINE = 15.0, 16.0
_RIGHT, _GAP = 24.0, 26.0
_LEVEL = 3
_X_TICK, _Y_TICK = 66.0, 28.0


def svg(chart: Chart, *, alone: bool = True) -> str:
    """Return a chart as an SVG element; `alone` adds what a file of its own needs: name space, sheet and background.

    The drawing is higher than the chart says where title or legend take more than a line.
    """
    head, top, more = _head(chart)
    height = chart.height + more
    foot = _LINE * sum(len(_wrapped(note, chart.width)) for note in chart.notes) + 8
    body = [head, *_panels(chart, top, height - foot - 8), *_notes(chart, height - foot)]
    notes = [element("title", text(chart.title)), element("desc", text("; ".join(chart.notes)))]
    extra = {"xmlns": "http://www.w3.org/2000/svg"} if alone else {}
    sheet = [f"<style>{css()}</style>", element("rect", width="100%", height="100%", class_="mp-paper")]
    return element(
        "svg",
        *notes,
        *(sheet if alone else []),
        *body,
        **extra,
        viewBox=f"0 0 {chart.width} {height:.0f}",
        width=float(chart.width),
        height=height,
        role="img",
        class_="mp-chart",
        font_family=_FONT,
    )


def css() -> str:
    """Return the sheet of the classes, for light and dark backgrounds."""
    dark = "".join(_rules(DARK))
    return f"{''.join(_rules(LIGHT))}@media (prefers-color-scheme: dark){{{dark}}}"


def _rules(palette: Palette) -> Iterator[str]:
    yield f".mp-paper{{fill:{palette.paper}}}.mp-ink{{color:{palette.ink}}}.mp-faint{{color:{palette.faint}}}"
    yield f".mp-grid{{color:{palette.grid}}}.mp-edge{{stroke:{palette.paper}}}"
    for number, colour in enumerate(palette.on_cells):
        yield f".mp-c{number}{{color:{colour}}}"
    for number, colour in enumerate(palette.series):
        yield f".mp-s{number}{{color:{colour}}}"


def _words(words: str, x: float, y: float, size: float = SMALL, **attributes: str | float) -> str:
    attributes = {"class_": "mp-ink", **attributes}
    return element("text", text(words), x=x, y=y, font_size=size, fill="currentColor", **attributes)


def _head(chart: Chart) -> tuple[str, float, float]:
    """Return title and legend, where the panels may begin, and the height of what takes more than a line."""
    parts, y = [], 8.0
    for line in _wrapped(chart.title, chart.width, _TITLE):
        y += _TITLE + 2
        parts.append(_words(line, 14, y, _TITLE, font_weight="600"))
    more = y - 8.0 - (_TITLE + 2)
    x, y = 14.0, y + 22
    entries = _legend(chart)
    for label, colour, mark in entries:
        wide = 26 + len(short(label)) * SMALL * _LETTER + 14
        if x + wide > chart.width - 10 and x > 14:  # noqa: PLR2004 - the margin
            x, y, more = 14.0, y + _LINE, more + _LINE
        parts.append(_key(mark, x, y - 4, class_of(colour)) + _words(short(label), x + 24, y))
        x += wide
    return "".join(parts), y + 10 if entries else y - 10, more


def _legend(chart: Chart) -> list[tuple[str, int, Mark]]:
    """Return labels with their colours and the first marks that have them; that of a rule stands beside it."""
    found: dict[tuple[str, int], Mark] = {}
    for mark in (mark for panel in chart.panels for mark in panel.marks):
        if not isinstance(mark, Rule | Cells) and mark.label:
            found.setdefault((mark.label, mark.colour), mark)
    return [(label, colour, mark) for (label, colour), mark in found.items()]


def _key(mark: Mark, x: float, y: float, name: str) -> str:
    """Return what stands before a label in the legend: the mark in small."""
    one = Frame(x, y - 6, 18, 12, Axis(""), Axis(""))
    middle, both, half = np.array([0.5]), np.array([0.0, 1.0]), np.array([0.5, 0.5])
    if isinstance(mark, Polyline):
        return drawn(Polyline(both, half, mark.colour, faint=mark.faint), one)
    if isinstance(mark, Points):
        return drawn(Points(middle, middle, mark.colour, mark.shape), one)
    if isinstance(mark, Whiskers):
        return drawn(Whiskers(middle, middle, both[:1] - 0.2, both[1:] + 0.2, mark.colour), one)
    opacity = "0.75" if isinstance(mark, Bars) else "0.16"
    box = element("rect", x=x, y=y - 5, width=18.0, height=10.0, fill="currentColor", fill_opacity=opacity)
    return element("g", box, class_=name)


def _panels(chart: Chart, top: float, bottom: float) -> Iterator[str]:
    margins = [_bottom_margin(panel) for panel in chart.panels]
    room = bottom - top - sum(margins) - _GAP * (len(chart.panels) - 1)
    whole = sum(panel.share for panel in chart.panels)
    left = max(_left_margin(panel) for panel in chart.panels)
    for panel, margin in zip(chart.panels, margins, strict=True):
        height = max(20.0, room * panel.share / whole)
        frame = Frame(left, top, chart.width - left - _RIGHT - _right_margin(panel), height, panel.x, panel.y)
        yield _axes(panel, frame)
        yield from (drawn(mark, frame) for mark in panel.marks)
        top += height + margin + _GAP


def _left_margin(panel: Panel) -> float:
    longest = max((len(name) for _, name in ticks(panel.y)), default=0)
    return 24 + longest * SMALL * _LETTER + (18 if panel.y.label else 0)


def _right_margin(panel: Panel) -> float:
    texts = [words for mark in panel.marks if isinstance(mark, Bars) for words in mark.texts]
    rules = [mark.label for mark in panel.marks if isinstance(mark, Rule)]
    return max((len(words) * SMALL * _LETTER for words in [*texts, *rules]), default=0.0)


def _bottom_margin(panel: Panel) -> float:
    label = 20 if panel.x.label else 4
    if not _is_turned(panel.x):
        return label + _LINE
    return label + 10 + max(len(short(name)) for name in panel.x.categories) * SMALL * _LETTER * 0.8


def _is_turned(axis: Axis) -> bool:
    """Return whether the names of an axis of categories are too long to stand level."""
    return any(len(name) > _LEVEL for name in axis.categories)


def _axes(panel: Panel, frame: Frame) -> str:
    found = []
    bottom, right = frame.top + frame.height, frame.left + frame.width
    y_ticks = ticks(frame.y, max(2, int(frame.height / _Y_TICK)))
    every = max(1, -(-len(y_ticks) // max(1, int(frame.height / (SMALL + 2))))) if frame.y.categories else 1
    for (_, name), y in list(zip(y_ticks, frame.down(_positions(y_ticks)).tolist(), strict=True))[::every]:
        if not frame.y.categories:
            found.append(_grid(frame.left, y, right, y))
        x = frame.left - 7
        found.append(_words(name, x, y, text_anchor="end", dominant_baseline="central", class_="mp-faint"))
    x_ticks = ticks(frame.x, max(2, int(frame.width / _X_TICK)))
    found += _x_ticks(frame, x_ticks, bottom)
    found.append(_grid(frame.left, bottom, right, bottom, "mp-faint"))
    if frame.x.label:
        y = bottom + _bottom_margin(panel)
        found.append(_words(frame.x.label, frame.left + frame.width / 2, y, text_anchor="middle"))
    if frame.y.label:
        x, y = 15.0, frame.top + frame.height / 2
        turned = f"rotate(-90 {x:.1f} {y:.1f})"
        found.append(_words(frame.y.label, x, y, text_anchor="middle", transform=turned))
    return "".join(found)


def _x_ticks(frame: Frame, found: Sequence[tuple[float, str]], bottom: float) -> Iterator[str]:
    across = frame.across(_positions(found)).tolist()
    if not frame.x.categories:
        for (_, name), x in zip(found, across, strict=True):
            yield _grid(x, frame.top, x, bottom)
            yield _words(name, x, bottom + 15, text_anchor="middle", class_="mp-faint")
        return
    every = max(1, -(-len(found) // max(1, int(frame.width / (SMALL + 2)))))
    for (_, name), x in list(zip(found, across, strict=True))[::every]:
        if not _is_turned(frame.x):
            yield _words(name, x, bottom + 15, text_anchor="middle", class_="mp-faint")
            continue
        turned = f"rotate(-50 {x:.1f} {bottom + 10:.1f})"
        yield _words(name, x, bottom + 10, text_anchor="end", class_="mp-faint", transform=turned)


def _positions(found: Sequence[tuple[float, str]]) -> np.ndarray:
    return np.array([place for place, _ in found], np.float64)


def _grid(x0: float, y0: float, x1: float, y1: float, name: str = "mp-grid") -> str:
    return element("path", d=f"M{x0:.1f},{y0:.1f}L{x1:.1f},{y1:.1f}", stroke="currentColor", class_=name)


def _notes(chart: Chart, top: float) -> Iterator[str]:
    lines = [line for note in chart.notes for line in _wrapped(note, chart.width)]
    for number, line in enumerate(lines):
        yield _words(line, 14, top + 8 + number * _LINE, class_="mp-faint")


def _wrapped(words: str, width: float, size: float = SMALL) -> list[str]:
    most = max(20, int((width - 28) / (size * _LETTER)))
    return textwrap.wrap(words, most) or [""]
