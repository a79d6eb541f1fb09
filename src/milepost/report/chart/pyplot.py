"""A chart drawn by matplotlib: PNG, PDF and the like, and figures in a notebook.  The extra `plot` brings it."""

from collections.abc import Iterable
from functools import singledispatch
from textwrap import wrap
from typing import Any

import numpy as np

from milepost._internal.targets import file_target
from milepost.errors import MissingExtra, UsageError
from milepost.report.chart.model import NEUTRAL, Axis, Band, Bars, Cells, Chart, Panel, Points, Polyline, Rule, Whiskers
from milepost.report.chart.palette import DASHES, LIGHT, SERIES, on_cell
from milepost.report.chart.sampling import fewer
from milepost.report.chart.ticks import short, ticks

try:
    from matplotlib.figure import Figure as MatplotlibFigure
except ModuleNotFoundError as error:
    raise MissingExtra("matplotlib", "plot") from error

KINDS = frozenset({"png", "pdf", "svg", "eps", "jpg", "webp"})
"""What is written: a vector format or a picture; the others of matplotlib take other programs or hold no text."""
_DPI = 100
_SHAPES = {"dot": ("o", 4.0, True), "ring": ("o", 9.0, False), "star": ("*", 13.0, True)}
_SHAPES |= {"cross": ("x", 7.0, True), "dash": ("|", 9.0, True)}
_MOST_POINTS = 4000
_SMALL = 9
_LETTER = 7.2
"""Pixels that a letter of a note takes at most, on average."""
_LEVEL = 3
_TITLE = 11
_INSIDE = 8
"""Most entries of a legend that stands among the lines."""
_LINE = 18
"""Pixels of a line of the legend."""
_BOLD = 0.8
"""Part of a line that a bold title of the same letters leaves."""
_KEY = 52
"""Pixels that an entry of the legend takes beside its words."""


def save(chart: Chart, target: str, kind: str) -> None:
    """Write a chart to a file of a kind that matplotlib knows, such as png (at twice the pixels) and pdf.

    Raises UsageError for another kind, and where the file cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"{target}: no figure of the kind {kind!r}; there are: txt, {', '.join(sorted(KINDS))}")
    figure = MatplotlibFigure(figsize=(chart.width / _DPI, chart.height / _DPI), layout="constrained")
    axes = figure.subplots(
        len(chart.panels), 1, squeeze=False, gridspec_kw={"height_ratios": [panel.share for panel in chart.panels]}
    )
    for panel, one in zip(chart.panels, axes[:, 0], strict=True):
        _panel(panel, one)
    _head(chart, figure, axes[:, 0])
    if chart.notes:
        figure.supxlabel(_lines(chart.notes, chart.width), fontsize=_SMALL, color=LIGHT.faint, x=0.01, ha="left")
    with file_target(target) as path:
        figure.savefig(path, format=kind, dpi=2 * _DPI, **_undated(kind))


def _head(chart: Chart, figure: MatplotlibFigure, panels: Iterable[Any]) -> None:
    """Put title and legend above the panels; the drawing grows by the lines that the legend takes beyond one."""
    title = _lines([chart.title], chart.width * _BOLD)
    handles, names = _labelled(panels)
    if not names:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=_TITLE)
        return
    columns = max(1, int(chart.width / (_KEY + _LETTER * max(map(len, names)))))
    lines = -(-len(names) // columns)
    figure.set_figheight((chart.height + _LINE * (lines - 1)) / _DPI)
    font = {"weight": "bold", "size": _TITLE}
    how = {"title": title, "title_fontproperties": font, "alignment": "left", "frameon": False, "fontsize": _SMALL}
    figure.legend(handles, names, loc="outside upper left", ncols=columns, borderaxespad=0.2, **how)


def _undated(kind: str) -> dict[str, Any]:
    """Return metadata without the time, so that the same data give the same bytes; pictures have none."""
    dated: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    return {"metadata": dated[kind]} if kind in dated else {}


def new_axes(chart: Chart) -> Any:
    """Return the axes of a new figure of pyplot's, which a notebook shows by itself."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - it sets up a window system where there is one

    return plt.subplots(figsize=(chart.width / _DPI, chart.height / _DPI), layout="constrained")[1]


def draw(panel: Panel, axes: Any, title: str = "") -> None:
    """Draw a panel into matplotlib's axes: the user's own, in a notebook."""
    _panel(panel, axes)
    axes.set_title(title, loc="left", fontweight="bold", fontsize=_TITLE)
    handles, names = _labelled([axes])
    if names:
        outside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(names) > _INSIDE else {}
        axes.legend(handles, names, frameon=False, fontsize=_SMALL, **outside)


def _panel(panel: Panel, axes: Any) -> None:
    for mark in panel.marks:
        _drawn(mark, axes)
    _ends(axes, panel)
    for which, axis in (("x", panel.x), ("y", panel.y)):
        getattr(axes, f"set_{which}label")(axis.label, fontsize=_SMALL + 1)
        if axis.categories or axis.percent or axis.absolute or axis.whole:
            found = ticks(axis)
            getattr(axes, f"set_{which}ticks")([at for at, _ in found], [name for _, name in found])
    axes.tick_params(labelsize=_SMALL)
    if any(len(name) > _LEVEL for name in panel.x.categories):
        for label in axes.get_xticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")
    axes.spines[["top", "right"]].set_visible(False)
    if not any(isinstance(mark, Cells) for mark in panel.marks):
        axes.grid(visible=True, axis="x" if panel.y.categories else "both", color=LIGHT.grid, linewidth=0.7)
        axes.set_axisbelow(True)


def _labelled(panels: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """Return the first handle of each label and its name, in the order in which they were drawn."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return [*found.values()], [short(label) for label in found]


def _lines(texts: Iterable[str], width: float) -> str:
    return "\n".join(line for text in texts for line in wrap(text, int(width / _LETTER)))


def _ends(axes: Any, panel: Panel) -> None:
    def ends(axis: Axis) -> tuple[float, float]:
        return (-0.5, len(axis.categories) - 0.5) if axis.categories else (axis.low, axis.high)

    axes.set_xlim(*ends(panel.x))
    axes.set_ylim(*(reversed(ends(panel.y)) if panel.y.categories else ends(panel.y)))


def _colour(number: int) -> str:
    return LIGHT.colour(number)


@singledispatch
def _drawn(mark: object, axes: Any) -> None:
    raise TypeError(f"no drawing for {type(mark).__name__} in {axes}")


@_drawn.register
def _line(mark: Polyline, axes: Any) -> None:
    keep = fewer(np.asarray(mark.y, np.float64), _MOST_POINTS)
    style: dict[str, Any] = {"linestyle": "--", "linewidth": 0.9, "alpha": 0.7}
    if not mark.faint:
        dashes = [float(item) for item in DASHES[max(mark.colour, 0) // SERIES % len(DASHES)].split()]
        style = {"linewidth": 1.6, "linestyle": (0, tuple(dashes)) if dashes else "-"}
    axes.plot(mark.x[keep], mark.y[keep], color=_colour(mark.colour), label=mark.label or None, **style)


@_drawn.register
def _band(mark: Band, axes: Any) -> None:
    label = mark.label or None
    axes.fill_between(mark.x, mark.low, mark.high, color=_colour(mark.colour), alpha=0.16, linewidth=0, label=label)


@_drawn.register
def _points(mark: Points, axes: Any) -> None:
    sign, size, filled = _SHAPES[mark.shape]
    colour = _colour(mark.colour)
    fill = colour if filled else "none"
    axes.plot(
        mark.x, mark.y, sign, color=colour, markersize=size, markerfacecolor=fill, label=mark.label or None, zorder=3
    )


@_drawn.register
def _bars(mark: Bars, axes: Any) -> None:
    colour = _colour(mark.colour)
    height = mark.y1 - mark.y0
    how = {"facecolor": colour, "edgecolor": LIGHT.paper, "linewidth": 0.8, "alpha": 0.75, "label": mark.label or None}
    axes.barh(mark.y0, mark.x1 - mark.x0, height, mark.x0, align="edge", **how)
    for place, words in enumerate(mark.texts):
        left = mark.x1[place] < mark.x0[place]
        at = (mark.x1[place], (mark.y0[place] + mark.y1[place]) / 2)
        shift = {"xytext": (-4 if left else 4, 0), "textcoords": "offset points"}
        axes.annotate(words, at, ha="right" if left else "left", va="center", fontsize=_SMALL, **shift)


@_drawn.register
def _whiskers(mark: Whiskers, axes: Any) -> None:
    x, y = np.stack([mark.x0, mark.x1]), np.stack([mark.y0, mark.y1])
    lines = axes.plot(x, y, color=_colour(mark.colour), linewidth=1.5, alpha=0.8)
    if lines and mark.label:
        lines[0].set_label(mark.label)


@_drawn.register
def _cells(mark: Cells, axes: Any) -> None:
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - only where a matrix is drawn

    colours = LinearSegmentedColormap.from_list("share", [LIGHT.paper, _colour(mark.colour)])
    axes.imshow(mark.shade, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(mark.texts):
        for column, words in enumerate(line):
            if words:
                colour = LIGHT.on_cells[on_cell(float(mark.shade[row, column]))]
                axes.text(column, row, words, ha="center", va="center", fontsize=_SMALL - 2, color=colour)


@_drawn.register
def _rule(mark: Rule, axes: Any) -> None:
    how = {"color": _colour(NEUTRAL), "linestyle": ":", "linewidth": 1.0, "label": mark.label or None}
    if mark.x is not None:
        axes.axvline(mark.x, **how)
    elif mark.y is not None:
        axes.axhline(mark.y, **how)
    else:
        axes.axline((0, 0), slope=1, **how)
