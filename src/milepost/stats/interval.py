"""What an interval is: its bounds, and how they were found."""

from dataclasses import dataclass, fields
from typing import Any

from milepost.errors import UsageError
from milepost.stats.clustered import Spread

LEVEL = 0.95
"""The level of the intervals on record."""
_FEW_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval with its level, its method, and what it is about.

    `kind` is "population" (the value on fresh data) or "set" (the value that the whole data set will give).  Where rows
    have weights or belong to groups, `effective_n` is the number of independent rows of equal weight that would give
    as much certainty, and `groups` the number of groups.  `note` says why the interval may cover less than its level.
    """

    low: float
    high: float
    level: float
    method: str
    kind: str = "population"
    effective_n: float | None = None
    groups: int | None = None
    note: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return plain data, as records hold it; what does not apply is left out.

        >>> Interval(0.25, 0.5, 0.95, "wilson").plain()
        {'low': 0.25, 'high': 0.5, 'level': 0.95, 'method': 'wilson', 'kind': 'population'}
        """
        found = ((name, getattr(self, name)) for name in _FIELDS)
        return {name: item for name, item in found if item is not None}


_FIELDS = tuple(item.name for item in fields(Interval))


def check_level(level: float) -> None:
    """Raise a UsageError unless 0 < level < 1."""
    if not 0.0 < level < 1.0:
        raise UsageError(f"an interval of level {level}: expected a number between 0 and 1, such as 0.95")


def less(level: float) -> str:
    """Say that an interval may not keep its level.

    >>> less(0.95)
    'it may cover less than 95 %'
    """
    return f"it may cover less than {100 * level:g} %"


def few_groups(spread: Spread, level: float) -> str | None:
    """Return the note of an interval that rests on too few groups, None where there are enough."""
    if not spread.grouped or spread.effective_units >= _FEW_GROUPS:
        return None
    count = f"{spread.effective_units:.3g} effective of {spread.units}"
    return f"too few groups ({count}; {_FEW_GROUPS} are needed): {less(level)}"
