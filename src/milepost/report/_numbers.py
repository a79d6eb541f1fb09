"""Numbers as text: as many digits as the number of examples justifies, and never a rounding that claims too much."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from milepost.store.records import number as as_number

Span = tuple[float | None, float | None]

_FEWEST, _MOST, _LONGEST = 3, 6, 12
_WHOLE = (-1.0, 0.0, 1.0)
_TOO_WIDE = 1e7
_SCALES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


@lru_cache
def decimals(n: int | None) -> int:
    """Return how many decimals separate one example among n from its neighbour, between 3 and 6.

    >>> [decimals(n) for n in (10, 360, 10_000, 50_000, 10**9)]
    [3, 3, 4, 5, 6]
    """
    if n is None or n < 1:
        return _FEWEST
    return min(_MOST, max(_FEWEST, math.ceil(math.log10(n))))


def number(value: float | None, places: int) -> str:
    """Write a number with so many decimals, or with more where fewer would turn it into a 0 or a 1 that it is not.

    None, which is what an undefined value is stored as, becomes "undefined".

    >>> number(0.98594, 4), number(0.99996, 4), number(1.0, 4), number(None, 4)
    ('0.9859', '0.99996', '1.0000', 'undefined')
    >>> number(3e-15, 4), number(float("inf"), 4)
    ('3.0e-15', 'inf')
    """
    if value is None or math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if abs(value) >= _TOO_WIDE:
        return f"{value:.6g}"
    for count in range(places, _LONGEST + 1):
        rounded = round(value, count)
        if rounded == value or rounded not in _WHOLE:
            return f"{value:.{count}f}"
    return repr(value) if abs(value) > 0.5 else f"{value:.1e}"  # noqa: PLR2004 - nearer to 1 or to 0


def interval(low: float | None, high: float | None, places: int) -> str:
    """Write an interval; "" where there is none.

    >>> interval(0.98341, 0.98802, 4), interval(None, None, 4)
    ('[0.9834, 0.9880]', '')
    """
    if low is None or high is None:
        return ""
    return f"[{number(low, places)}, {number(high, places)}]"


def count(value: int | None) -> str:
    """Write a count with thousands apart.

    >>> count(10000), count(None)
    ('10,000', '-')
    """
    return "-" if value is None else f"{value:,}"


def share(numerator: float | None, denominator: float | None) -> str:
    """Write whole numbers as the fraction that they are; "" where they are not whole."""
    if numerator is None or denominator is None or numerator % 1 or denominator % 1:
        return ""
    return f"{int(numerator)}/{int(denominator)}"


def value_of(record: Mapping[str, Any], places: int) -> str:
    """Write a record's value, with the fraction that it is where it is one.

    >>> value_of({"value": 0.5, "numerator": 180, "denominator": 360}, 4)
    '0.5000 = 180/360'
    """
    fraction = share(record.get("numerator"), record.get("denominator"))
    return number(as_number(record["value"]), places) + (f" = {fraction}" if fraction else "")


def span_of(record: Mapping[str, Any]) -> Span:
    """Return the bounds of a record's first interval, None where it has none."""
    first: Mapping[str, Any] = next(iter(record.get("intervals") or ()), {})
    return as_number(first.get("low")), as_number(first.get("high"))


def is_share(record: Mapping[str, Any]) -> bool:
    """Return whether a record's value is a share of rows, by the method of its interval.

    >>> is_share({"intervals": [{"method": "wilson"}]}), is_share({"intervals": [{"method": "t"}]}), is_share({})
    (True, False, False)
    """
    return any(span.get("method") == "wilson" for span in record.get("intervals") or ())


def method(interval: Mapping[str, Any]) -> str:
    """Say how an interval of a record was computed.

    >>> method({"level": 0.95, "method": "wilson", "kind": "population"})
    '95 % wilson, population'
    >>> method({"level": 0.95, "method": "t", "kind": "population", "effective_n": 212.4, "groups": 50})
    '95 % t, population, 50 groups that say as much as 212 independent rows'
    """
    texts = [f"{100 * interval['level']:g} % {interval['method']}", str(interval["kind"])]
    if interval.get("effective_n") is not None:
        units = f"{count(interval['groups'])} groups" if interval.get("groups") else "weights"
        texts.append(f"{units} that say as much as {interval['effective_n']:,.0f} independent rows")
    return ", ".join(texts)


def size(nbytes: int) -> str:
    for unit, scale in _SCALES:
        if nbytes >= scale:
            return f"{nbytes / scale:.1f} {unit}"
    return f"{nbytes} B"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
