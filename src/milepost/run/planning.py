"""What to do next: pure functions of what is wanted and what the store has."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from milepost._internal.serialization import digest
from milepost.core.types import SCHEMA, Json, Target, Unit

Ranges = Sequence[tuple[int, int]]

BESIDES = ("model", "settings", "entry")
"""What may decide an evaluation's outcomes besides weights, data, task and code; see `subject`."""


def evaluation_key(weights: str, data: str, task: Mapping[str, Json], code: str, repetition: int = 0) -> str:
    """Return the key of an evaluation: what its outcomes depend on, and nothing else.

    `weights` and `data` are digests, `task` is the `subject` of the evaluator's description, `code` a code version;
    `repetition` counts evaluations made anew on purpose.

    >>> evaluation_key("a", "b", {}, "c") == evaluation_key("a", "b", {}, "c", 1)
    False
    """
    described = [SCHEMA, weights, data, dict(task), code]
    return digest([*described, repetition] if repetition else described)


def subject(spec: Mapping[str, Json]) -> dict[str, Json]:
    """Return what an evaluator computes, as its keys hold it: its task and, where there are any, what else decides.

    That is the adapter's own spec ("model"), the settings that the file read, and the name of one of several.

    >>> subject({"task": {"name": "binary"}, "settings": {}, "batch_size": 8})
    {'name': 'binary'}
    >>> subject({"task": {"name": "binary"}, "entry": "clean"})
    {'task': {'name': 'binary'}, 'entry': 'clean'}
    """
    task = dict(spec["task"])
    besides = {name: spec[name] for name in BESIDES if spec.get(name)}
    return {"task": task, **besides} if besides else task


def missing(have: Ranges, stop: int) -> list[tuple[int, int]]:
    """Return the ranges of [0, stop) that are not covered.

    >>> missing([(0, 256), (512, 600)], 1000)
    [(256, 512), (600, 1000)]
    >>> missing([(0, 2000)], 1000)
    []
    """
    gaps = []
    at = 0
    for start, end in sorted(have):
        if start > at:
            gaps.append((at, min(start, stop)))
        at = max(at, end)
        if at >= stop:
            break
    if at < stop:
        gaps.append((at, stop))
    return [(start, end) for start, end in gaps if start < end]


def covered(have: Ranges, stop: int) -> int:
    """Return how many rows of [0, stop) are covered.

    >>> covered([(0, 256), (512, 600)], 550)
    294
    """
    return stop - sum(end - start for start, end in missing(have, stop))


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


def thinned(steps: Iterable[int], every: int, kept: Iterable[int] = ()) -> set[int]:
    """Return the steps that thinning leaves out: of each `every` steps the first is kept, and what is `kept` already.

    >>> sorted(thinned([0, 937, 1874, 5100, 5200, 9999], 5000)), sorted(thinned([100, 200], 5000, kept=[200]))
    ([937, 1874, 5200, 9999], [100])
    """
    have = set(kept)
    taken = {step // every for step in have}
    out = set()
    for step in sorted(set(steps) - have):
        if step // every in taken:
            out.add(step)
        taken.add(step // every)
    return out
