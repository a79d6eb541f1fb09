"""A chart as lines of text, for a terminal or a log: curves in braille dots, bars as blocks, a matrix as it is."""

from collections.abc import Iterator

import numpy as np

from milepost.core.escaping import one_line
from milepost.core.types import Array
from milepost.report._align import align
from milepost.report.chart.model import Axis, Bars, Cells, Chart, NumbersTable, Panel, Points, Polyline, Whiskers
from milepost.report.chart.ticks import ticks

_EMPTY = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot of a braille sign, [down, across]."""
_ACROSS, _DOWN = 2, 4
_HEIGHT = 12
_MOST_SIDE = 24


def text_lines(chart: Chart, width: int = 80) -> list[str]:
    """Return a chart as lines of at most about `width` signs: its title, its panels, its notes."""
    lines = [chart.title]
    for panel in chart.panels:
        lines += ["", *_panel(panel, chart.table, width)]
    return [one_line(" ".join(line.split("\n"))) for line in (*lines, "", *chart.notes)]


def _panel(panel: Panel, numbers: NumbersTable, width: int) -> Iterator[str]:
    cells = next((mark for mark in panel.marks if isinstance(mark, Cells)), None)
    if cells is not None:
        yield from _matrix(panel, cells, numbers, width)
    elif panel.y.categories:
        yield from _by_category(panel, width)
    elif bars := [mark for mark in panel.marks if isinstance(mark, Bars)]:
        yield from _columns(panel, bars[0], width)
    else:
        yield from _curve(panel, width)


def _matrix(panel: Panel, cells: Cells, numbers: NumbersTable, width: int) -> Iterator[str]:
    """Yield the counts of a matrix; of one that is too wide the figure's numbers, the first first."""
    names = panel.y.categories[:_MOST_SIDE]
    short = [name[:6] for name in panel.x.categories[:_MOST_SIDE]]
    rows = [
        [name, *(item or "." for item in line[:_MOST_SIDE])] for name, line in zip(names, cells.texts, strict=False)
    ]
    lines = list(align([f"{panel.y.label} \\ {panel.x.label}", *short], rows, [False, *(True for _ in short)]))
    if numbers.rows and max(map(len, lines)) > width:
        shown = [list(row) for row in numbers.rows[:_MOST_SIDE]]
        lines = list(align(list(numbers.heads), shown, [False] * (len(numbers.heads) - 1) + [True]))
    yield from lines


def _by_category(panel: Panel, width: int) -> Iterator[str]:
    """Yield a line a category: its bars, or its point within its interval."""
    label = max(map(len, panel.y.categories))
    room = max(20, width - label - 14)

    def at(x: float) -> int:
        low, high = panel.x.low, panel.x.high
        return int(np.clip(round((x - low) / ((high - low) or 1) * (room - 1)), 0, room - 1))

    for place, name in enumerate(panel.y.categories):
        signs, texts = [" "] * room, []
        for mark in panel.marks:
            if isinstance(mark, Bars):
                for x0, x1, y0, y1, words in zip(mark.x0, mark.x1, mark.y0, mark.y1, mark.texts, strict=False):
                    if y0 < place < y1 and x0 != x1:
                        first, last = sorted((at(x0), at(x1)))
                        signs[first : last + 1] = "█" * (last + 1 - first)
                        texts.append(words)
            elif isinstance(mark, Whiskers) and np.isfinite(mark.x0[place]):
                first, last = at(mark.x0[place]), at(mark.x1[place])
                signs[first : last + 1] = "─" * (last + 1 - first)
            elif isinstance(mark, Points) and np.isfinite(mark.x[place]):
                signs[at(mark.x[place])] = "●"
                texts.append(f"{mark.x[place]:.4f}")
        yield f"{name.rjust(label)} {''.join(signs).rstrip()} {' / '.join(filter(None, texts))}".rstrip()
    yield from _below(panel.x, label, room)


def _below(axis: Axis, indent: int, room: int) -> Iterator[str]:
    """Yield the texts of an axis's ticks where they belong, as far as there is room, and its label."""
    signs = ""
    for at, name in ticks(axis, max(2, room // 14)):
        place = round((at - axis.low) / ((axis.high - axis.low) or 1.0) * (room - 1))
        start = max(0, min(room - len(name), place - len(name) // 2))
        if start >= len(signs) + bool(signs):
            signs = signs.ljust(start) + name
    yield f"{' ' * indent} {signs}"
    if axis.label:
        yield f"{' ' * indent} {axis.label.center(room).rstrip()}"


def _columns(panel: Panel, bars: Bars, width: int) -> Iterator[str]:
    """Yield the heights of bars that stand side by side, a line each."""
    most = max(float(bars.y1.max(initial=0)), 1.0)
    room = max(10, width - 36)
    for x0, x1, high in zip(bars.x0.tolist(), bars.x1.tolist(), bars.y1.tolist(), strict=True):
        yield f"{x0:7.3f} to {x1:5.3f}  {'█' * round(high / most * room)} {high:,.0f}"
    yield f"{panel.y.label} by {panel.x.label or 'bin'}"


def _curve(panel: Panel, width: int) -> Iterator[str]:
    """Yield lines of braille dots, with the ends of the axes; single points that matter stand in signs of their own."""
    names = ticks(panel.y, 4)
    label = max((len(name) for _, name in names), default=0)
    columns = max(20, width - label - 2)
    field = np.zeros((_HEIGHT * _DOWN, columns * _ACROSS), np.bool_)
    signs: dict[tuple[int, int], str] = {}
    for mark in panel.marks:
        if isinstance(mark, Polyline) and not mark.faint:
            _trace(field, *_places(panel, field, mark.x, mark.y))
        elif isinstance(mark, Points) and mark.shape in {"star", "cross"}:
            for x, y in zip(*_places(panel, field, mark.x, mark.y), strict=True):
                if np.isfinite(y):
                    signs[int(y) // _DOWN, int(x) // _ACROSS] = "★" if mark.shape == "star" else "x"
    at = {int(y) // _DOWN: name for (_, y), (_, name) in zip(_ticked(panel, field, names), names, strict=True)}
    blocks = field.reshape(_HEIGHT, _DOWN, columns, _ACROSS)
    codes = (blocks * _DOTS[None, :, None, :]).sum(axis=(1, 3))
    for row, line in enumerate(codes):
        drawn = "".join(signs.get((row, place), chr(_EMPTY + int(code))) for place, code in enumerate(line))
        yield f"{at.get(row, '').rjust(label)} {drawn.rstrip(chr(_EMPTY))}"
    yield from _below(panel.x, label, columns)


def _ticked(panel: Panel, field: Array, names: list[tuple[float, str]]) -> list[tuple[float, float]]:
    y = np.array([place for place, _ in names], np.float64)
    return list(zip(*_places(panel, field, np.full(len(y), panel.x.low), y), strict=True))


def _places(panel: Panel, field: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Return where points fall in the field of dots: across and down, NaN where there is none."""
    down, across = field.shape
    wide, high = (panel.x.high - panel.x.low) or 1.0, (panel.y.high - panel.y.low) or 1.0
    right = np.clip(np.round((np.asarray(x, np.float64) - panel.x.low) / wide * (across - 1)), 0, across - 1)
    below = np.clip(np.round((panel.y.high - np.asarray(y, np.float64)) / high * (down - 1)), 0, down - 1)
    return right, below


def _trace(field: Array, x: Array, y: Array) -> None:
    """Set the dots of a line through places; NaN interrupts it."""
    for place in range(len(x)):
        if not np.isfinite(y[place]):
            continue
        field[int(y[place]), int(x[place])] = True
        if place and np.isfinite(y[place - 1]):
            steps = int(max(abs(x[place] - x[place - 1]), abs(y[place] - y[place - 1]))) + 1
            across = np.linspace(x[place - 1], x[place], steps).round().astype(np.int64)
            down = np.linspace(y[place - 1], y[place], steps).round().astype(np.int64)
            field[down, across] = True
