"""What to do next: pure functions of what is wanted and what the store has."""

from collections.abc import Iterable

from milepost._internal.ranges import Ranges
from milepost.core.types import Target, Unit


def units(lacking: Iterable[tuple[Target, Ranges]], data: str) -> list[Unit]:
    """Bring together the checkpoints that lack the same range: they share one pass over it.

    >>> units([], "test")
    []
    """
    groups: dict[tuple[int, int], list[Target]] = {}
    for target, ranges in lacking:
        for bounds in ranges:
            groups.setdefault(bounds, []).append(target)
    return [Unit(start, stop, tuple(targets), data) for (start, stop), targets in sorted(groups.items())]


def wanted_rows(size: int, limit: int | None) -> int:
    """Return how many rows of the order are asked for.

    >>> wanted_rows(10_000, None), wanted_rows(10_000, 1000), wanted_rows(100, 1000)
    (10000, 1000, 100)
    """
    return size if limit is None else min(size, limit)
