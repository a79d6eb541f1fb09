"""A curve as small as a word: as SVG, and as signs of text."""

import math
from collections.abc import Sequence

import numpy as np

from milepost.report.chart._xml import element, places, text
from milepost.report.chart.sampling import fewer

_WIDTH, _HEIGHT = 140.0, 26.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST = 24


def spark_svg(values: Sequence[float], about: str) -> str:
    """Return values in their order as a line with its last point marked; NaN is passed over."""
    y = np.array([value for value in values if math.isfinite(value)], np.float64)
    if not len(y):
        return ""
    kept = fewer(y, int(_WIDTH))
    x = 4 + kept / max(1, len(y) - 1) * (_WIDTH - 8)
    low, high = float(y.min()), float(y.max())
    down = _HEIGHT - 4 - (y[kept] - low) / ((high - low) or 1.0) * (_HEIGHT - 8)
    line = element("path", d=f"M{places(x, down)}", fill="none", stroke="currentColor", stroke_width="1.5")
    dot = element("circle", cx=float(x[-1]), cy=float(down[-1]), r="2.4", fill="currentColor")
    inside = element("title", text(about)) + element("g", line, dot, class_="mp-s0")
    size = {"width": _WIDTH, "height": _HEIGHT}
    return element("svg", inside, viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}", role="img", class_="spark", **size)


def spark_text(values: Sequence[float]) -> str:
    """Return values in their order as blocks of eight heights, at most 24: the last of each stretch.

    >>> spark_text([0.0, 0.5, 1.0])
    '▁▅█'
    """
    known = [value for value in values if math.isfinite(value)]
    step = -(-len(known) // _MOST) or 1
    shown = known[::-1][::step][::-1]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    return "".join(_BLOCKS[round((value - low) / ((high - low) or 1.0) * (len(_BLOCKS) - 1))] for value in shown)
