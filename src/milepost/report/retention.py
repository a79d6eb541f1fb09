"""Which checkpoints of a folder to keep, and why: a pure function of what is there and what was measured."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint in the folder: its step, the digests of its weights (one a variant), and what forbids touching it.

    `epoch` orders those of which no step is known.  `weights` is empty where it was not evaluated, `barred` where
    nothing forbids it.
    """

    path: str
    name: str
    step: int | None
    weights: tuple[str, ...]
    barred: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The exact value of a digest over the whole data set, and its interval where the metric has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a checkpoint is kept, and why (or why not)."""

    held: Held
    value: float | None
    keep: bool
    reason: str


def keep(
    every: Sequence[Held], measured: Mapping[str, Measured], *, higher: bool, best: int, last: int
) -> list[Verdict]:
    """Decide about each checkpoint of a folder.

    Kept are: what is barred; what lacks a whole value, or both step and epoch; the `best` best values with their ties;
    every one whose interval meets the best's; the `last` highest steps, and of those without a step the `last` highest
    epochs; and every name of a digest that is kept under another.

    >>> every = [Held(f"/r/{step}", f"step-{step}", step, (str(step),)) for step in (1, 2, 3)]
    >>> measured = {"1": Measured(0.9), "2": Measured(0.5), "3": Measured(0.4)}
    >>> [(one.keep, one.reason) for one in keep(every, measured, higher=True, best=1, last=1)]
    [(True, 'best 1'), (False, 'below the best 1, not among the last 1'), (True, 'last 1')]
    """
    there = {digest: measured[digest] for one in every for digest in one.weights if digest in measured}
    steps = _highest(every, lambda one: one.step)
    epochs = {digest: at for digest, at in _highest(every, lambda one: one.epoch).items() if digest not in steps}
    newest = {**_last(steps, there, last), **_last(epochs, there, last)}
    kept = {**_meeting(there, higher=higher), **newest, **_best(there, best, higher=higher)}
    standing = {one.path: why for one in every if (why := _untouchable(one, there, steps.keys() | epochs.keys()))}
    for one in every:
        if one.path in standing:
            for digest in one.weights:
                kept.setdefault(digest, f"same weights as {one.name}, which stays")
    return [_verdict(one, standing, kept, there, f"below the best {best}, not among the last {last}") for one in every]


def _verdict(
    one: Held,
    standing: Mapping[str, str],
    kept: Mapping[str, str],
    there: Mapping[str, Measured],
    below: str,
) -> Verdict:
    values = [there[digest].value for digest in one.weights if digest in there]
    why = standing.get(one.path) or next((kept[digest] for digest in one.weights if digest in kept), "")
    return Verdict(one, values[0] if values else None, bool(why), why or below)


def _untouchable(one: Held, there: Mapping[str, Measured], ordered: Collection[str]) -> str:
    if one.barred:
        return one.barred
    if not one.weights:
        return "not evaluated yet"
    if not all(digest in there for digest in one.weights):
        return "no whole value yet"
    return "" if all(digest in ordered for digest in one.weights) else "neither its step nor its epoch is known"


def _best(there: Mapping[str, Measured], count: int, *, higher: bool) -> dict[str, str]:
    values = sorted((one.value for one in there.values()), reverse=higher)[:count]
    return {digest: f"best {count}" for digest, one in there.items() if one.value in values}


def _meeting(there: Mapping[str, Measured], *, higher: bool) -> dict[str, str]:
    """Return those that cannot be told from the best by their intervals."""
    top = _extreme((one.value for one in there.values()), higher=higher)
    tops = [one for one in there.values() if one.value == top]
    return {
        digest: "its interval meets the best's"
        for digest, one in there.items()
        if any(one is first or one.value == first.value or _meet(one, first) for first in tops)
    }


def _extreme(values: Iterable[float], *, higher: bool) -> float | None:
    return max(values, default=None) if higher else min(values, default=None)


def _meet(left: Measured, right: Measured) -> bool:
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return False
    return left.low <= right.high and right.low <= left.high


def _highest(every: Sequence[Held], of: Callable[[Held], int | None]) -> dict[str, int]:
    """Return the step, or epoch, of each digest, which any of its names may tell."""
    found: dict[str, int] = {}
    for one in every:
        at = of(one)
        if at is not None:
            found.update({digest: max(found.get(digest, at), at) for digest in one.weights})
    return found


def _last(steps: Mapping[str, int], there: Mapping[str, Measured], count: int) -> dict[str, str]:
    """Return the last by step or epoch, counted among those with a value: what waits for one is kept besides."""
    chosen = sorted({step for digest, step in steps.items() if digest in there})[-count:] if count else []
    return {digest: f"last {count}" for digest, step in steps.items() if digest in there and step in chosen}
