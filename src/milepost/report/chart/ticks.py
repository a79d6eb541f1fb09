"""Where an axis has its ticks, and what stands there."""

import math
from collections.abc import Sequence

from milepost._internal.text import elided
from milepost.report.chart.model import LONGEST, Axis

_STEPS = (1.0, 2.0, 5.0, 10.0)
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_SHORTENED = 10_000


def ticks(axis: Axis, most: int = 6) -> list[tuple[float, str]]:
    """Return positions between the ends of an axis, at most `most`, and their texts.

    >>> ticks(Axis("step", 0, 12_000, whole=True), 4)
    [(0.0, '0'), (5000.0, '5,000'), (10000.0, '10,000')]
    >>> [text for _, text in ticks(Axis("accuracy", 0.9, 1.0, percent=True), 6)]
    ['90 %', '92 %', '94 %', '96 %', '98 %', '100 %']
    """
    if axis.categories:
        return [(float(place), short(name)) for place, name in enumerate(axis.categories)]
    span = axis.high - axis.low
    if not (span > 0 and math.isfinite(span)):
        return [(axis.low, _text(axis, axis.low, 0))] if math.isfinite(axis.low) else []
    step = _step(span, most)
    if axis.whole:
        step = max(1.0, step)
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    places = max(0, -math.floor(math.log10(step * (100 if axis.percent else 1)) + 1e-9))
    return [(number * step, _text(axis, number * step, places)) for number in range(first, last + 1)]


def short(name: str) -> str:
    """Return a name as it is drawn: without its middle where it is long, since ends tell runs apart."""
    return elided(name, LONGEST)


def padded(values: Sequence[float], *, floor: float | None = None, ceiling: float | None = None) -> tuple[float, float]:
    """Return ends of an axis around finite values with some room, not beyond `floor` and `ceiling`.

    >>> padded([0.5, 1.0], ceiling=1.0)
    (0.47, 1.0)
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * 0.06 or abs(high) * 0.06 or 0.5
    least = low - room if floor is None else max(low - room, floor)
    most = high + room if ceiling is None else min(high + room, ceiling)
    return (least, most) if least < most else (low - room, high + room)


def _step(span: float, most: int) -> float:
    rough = span / max(1, most)
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(factor * unit for factor in _STEPS if factor * unit >= rough * (1 - 1e-9))


def _text(axis: Axis, value: float, places: int) -> str:
    value = abs(value) if axis.absolute else value
    if axis.percent:
        return f"{value * 100:.{places}f} %"
    value = value + 0.0  # no negative zero
    if abs(value) > _SHORTENED:
        scale, suffix = next(item for item in _SUFFIXES if abs(value) >= item[0])
        text = f"{value / scale:.6g}{suffix}"
        return text if len(text) < len(f"{value:,.0f}") else f"{value:,.0f}"
    return f"{value:,.{places}f}"
