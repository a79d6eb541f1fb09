"""Which checkpoint comes next: those left out by the user's rule, the order of those that wait, and when to retry."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal

from milepost.watch.states import Tracked

Order = Literal["oldest", "latest", "bisect"]

FIRST_SECONDS = 30.0
"""Wait after the first failure that may pass; it doubles with each further one."""

ATTEMPTS = 4
"""After so many a watch gives up; the next run or watch tries once more.  The store counts them, whoever made them."""

LONGEST_SECONDS = 3600.0
"""No wait is longer."""


class Scheduler:
    """Chooses among the checkpoints that are complete."""

    def __init__(self, order: Order, every: int | None, per_pass: int) -> None:
        """`every`: evaluate one checkpoint of each so many steps.  `per_pass`: checkpoints that share a pass."""
        self.chosen: dict[str, set[int]] = {}
        self._order = order
        self._every = every
        self._per_pass = per_pass

    def left_out(self, complete: Sequence[Tracked]) -> list[Tracked]:
        """Return those of the newly complete that `every` leaves out of their root; the rest are chosen."""
        out: list[Tracked] = []
        stepped = sorted((item for item in complete if item.step is not None), key=lambda item: item.file.root)
        for root, group in groupby(stepped, key=lambda item: item.file.root):
            chosen, mine = self.chosen.setdefault(root, set()), list(group)
            steps = {item.step for item in mine if item.step is not None}
            left = left_out_steps(steps, self._every, chosen) if self._every else set()
            chosen |= steps - left
            out += [item for item in mine if item.step in left]
        return out

    def next(self, tracked: Iterable[Tracked], *, ending: bool) -> list[Tracked]:
        """Return those whose turn it is, as many as share a pass; a watch that is `ending` puts nothing off."""
        now = time.monotonic()
        waiting = [item for item in tracked if item.state == "complete" and (ending or item.due <= now)]
        steps = [item.step for item in waiting]
        done = set().union(*self.chosen.values()) - set(steps)
        return [waiting[place] for place in watch_order(steps, self._order, done, self._per_pass)]


def wait_seconds(attempts: int) -> float:
    """Return how long to wait after so many failures.

    >>> [wait_seconds(attempts) for attempts in (1, 2, 3, 50)]
    [30.0, 60.0, 120.0, 3600.0]
    """
    doublings = min(max(attempts - 1, 0), 20)
    return min(FIRST_SECONDS * 2.0**doublings, LONGEST_SECONDS)


def left_out_steps(steps: Iterable[int], every: int, chosen: Iterable[int] = ()) -> set[int]:
    """Return the steps that are left out: of each `every` steps the first is chosen, and what is `chosen` already.

    >>> sorted(left_out_steps([0, 937, 1874, 5100, 5200, 9999], 5000)), left_out_steps([100, 200], 5000, chosen=[200])
    ([937, 1874, 5200, 9999], {100})
    """
    have = set(chosen)
    taken = {step // every for step in have}
    out = set()
    for step in sorted(set(steps) - have):
        if step // every in taken:
            out.add(step)
        taken.add(step // every)
    return out


def watch_order(
    steps: Sequence[int | None], order: str, done: Iterable[int] = (), count: int | None = None
) -> list[int]:
    """Return the places of waiting checkpoints in the order in which a watch takes them, the first `count` of them.

    `oldest`: by step.  `latest`: the newest first, then backwards.  `bisect`: the newest and the oldest, then ever the
    one that lies farthest from all that is `done` or was taken: a coarse curve first, refined as time allows.  Those
    without a step come first in `latest` and last otherwise.

    >>> watch_order([100, 900, None, 500, 300], "oldest"), watch_order([100, 900, None, 500, 300], "latest")
    ([0, 4, 3, 1, 2], [2, 1, 3, 4, 0])
    >>> watch_order([100, 200, 300, 400, 500], "bisect"), watch_order([100, 200, 300], "bisect", done=[90])
    ([4, 0, 2, 3, 1], [2, 1, 0])
    """
    known = sorted((step, place) for place, step in enumerate(steps) if step is not None)
    loose = [place for place, step in enumerate(steps) if step is None]
    if order == "latest":
        return [*loose, *(place for _, place in reversed(known))][:count]
    if order == "bisect":
        return [*_bisected(known, done, count), *loose][:count]
    return [*(place for _, place in known), *loose][:count]


def _bisected(known: Sequence[tuple[int, int]], done: Iterable[int], count: int | None) -> list[int]:
    taken = sorted(set(done))
    waiting = {place: step for step, place in known}
    distance = {place: _nearest(step, taken) for place, step in waiting.items()}
    order: list[int] = []
    while waiting and (count is None or len(order) < count):
        # Of equal distances, and where nothing was taken yet, the newest: it is asked for most.
        place = max(waiting, key=lambda at: (distance[at], waiting[at]))
        order.append(place)
        step = waiting.pop(place)
        for other, its in waiting.items():
            distance[other] = min(distance[other], abs(its - step))
    return order


def _nearest(step: int, taken: Sequence[int]) -> float:
    """Return how far the nearest of the sorted steps is, infinity where there is none."""
    at = bisect_left(taken, step)
    return min((abs(step - other) for other in taken[max(0, at - 1) : at + 1]), default=float("inf"))
