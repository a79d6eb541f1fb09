"""The one decision: what is missing, what is settled, what is tried again, and why.

Pure functions of what is wanted and what the store holds.  `run`, `plan` and `watch` call them, so that a plan says
exactly what a run then does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from milepost._internal.ranges import Ranges, covered, missing
from milepost.core.types import Failure, Target, Unit
from milepost.errors import checkpoint_error

Action = Literal["evaluate", "score", "skip", "failed"]


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What is asked for of every checkpoint on one data set.

    `size`: rows of the data.  `limit`: how many of them, None for all.  `grouped`: groups of rows are never split, so
    that a limit reaches to the end of its group.  `metrics`: digests of the metrics whose records are wanted.
    """

    size: int
    limit: int | None = None
    grouped: bool = False
    metrics: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the order that are asked for.

        >>> DataRequest(100, 30).rows, DataRequest(100, 1000).rows, DataRequest(100).rows
        (30, 100, 100)
        """
        return self.size if self.limit is None else min(self.size, self.limit)

    def stop(self, coverage: Ranges) -> int:
        """Return the end of the rows [0, stop) whose outcomes and records are wanted, where these are covered.

        >>> DataRequest(100, 30).stop([(0, 40)]), DataRequest(100, 30).stop([(0, 100)])
        (30, 100)
        >>> DataRequest(100, 30, grouped=True).stop([(0, 40)])
        40
        """
        if not missing(coverage, self.size):
            return self.size
        whole = not missing(coverage, self.rows)
        return coverage[0][1] if whole and self.grouped else self.rows


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds under one evaluation key.

    `coverage`: rows whose outcomes are kept.  `scored`: (digest of a metric, stop) where all its records of rows
    [0, stop) are there.  `failures`: of every attempt, the latest last.  `retry_requested`: of the latest of them.
    """

    coverage: tuple[tuple[int, int], ...] = ()
    scored: frozenset[tuple[str, int]] = frozenset()
    failures: tuple[Failure, ...] = ()
    retry_requested: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with one checkpoint on one data set, and why.

    - "evaluate": the model predicts the rows of `gaps`, then `metrics` are scored
    - "score": all rows [0, stop) are there; `metrics` (digests) are scored without the model
    - "skip": nothing is done
    - "failed": the failure on record, `failure`, is reported once more; nothing is tried

    `attempts` counts the failures on record.
    """

    action: Action
    reason: str
    stop: int
    gaps: tuple[tuple[int, int], ...] = ()
    metrics: tuple[str, ...] = ()
    failure: Failure | None = None
    attempts: int = 0

    @property
    def rows(self) -> int:
        """Rows that the model is to predict."""
        return sum(stop - start for start, stop in self.gaps)


def decide(
    wanted: DataRequest, repetitions: Iterable[Stored], *, again: bool = False, first: str | None = None
) -> Decision:
    """Decide about one checkpoint on one data set.

    `repetitions` yields what the store has under the evaluation's keys, the plain key first; as many are taken as are
    needed: the first one, or with `again` the first that lacks rows.  `first` names the checkpoint of the same run
    whose weights are the same and which comes before this one.

    >>> decide(DataRequest(100), [Stored()]).action
    'evaluate'
    >>> decide(DataRequest(100), [Stored(((0, 60),))]).reason
    '60 of 100 rows are there'
    >>> decide(DataRequest(100, metrics=("a", "b")), [Stored(((0, 100),), frozenset({("a", 100)}))]).metrics
    ('b',)
    >>> decide(DataRequest(100), [Stored(failures=(Failure("mismatch", "no head"),))]).reason
    'mismatch: no head'
    """
    if first is not None:
        return Decision("skip", f"same weights as {first}", wanted.rows)
    stored = Stored()
    for stored in repetitions:
        if not (again and stored.coverage and not missing(stored.coverage, wanted.rows)):
            break
    stop = wanted.stop(stored.coverage)
    gaps = tuple(missing(stored.coverage, stop))
    metrics = tuple(metric for metric in wanted.metrics if (metric, stop) not in stored.scored)
    if not gaps and metrics:
        return Decision("score", "scored from kept columns", stop, (), metrics)
    if not gaps:
        return Decision("skip", "nothing is missing", stop)
    latest, attempts = (stored.failures[-1] if stored.failures else None), len(stored.failures)
    if latest and not tried_again(latest.kind, again=again, requested=stored.retry_requested):
        reason = f"{latest.kind}: {latest.message}"
        return Decision("failed", reason, stop, failure=latest, attempts=attempts)
    reason = _why(stored, stop, latest)
    return Decision("evaluate", reason, stop, gaps, metrics, latest, attempts)


def tried_again(kind: str, *, again: bool = False, requested: bool = False) -> bool:
    """Return whether a failure on record is tried once more: it may pass by itself, or somebody asks for it.

    >>> tried_again("torn"), tried_again("mismatch"), tried_again("mismatch", requested=True)
    (True, False, True)
    """
    return again or requested or checkpoint_error(kind).retry


def _why(stored: Stored, stop: int, latest: Failure | None) -> str:
    have = covered(stored.coverage, stop)
    there = f"{have:,} of {stop:,} rows are there" if have else ""
    if latest is None:
        return there or "no result on this data yet"
    return f"tried again after {latest.kind}" + (f"; {there}" if there else "")


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
