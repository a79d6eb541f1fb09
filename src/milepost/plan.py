"""What to do next: pure functions of what is wanted and what the store has."""

from collections.abc import Iterable, Mapping, Sequence

from milepost.core import SCHEMA, Json, Target, Unit
from milepost.plain import digest

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
