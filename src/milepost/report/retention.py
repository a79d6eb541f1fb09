"""Which checkpoints of a folder to keep, and why: a pure function of what is there and what was measured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    """The exact value of weights over the whole data set, whether it lets them go, and why (or why not)."""

    value: float
    may_go: bool
    why: str


@dataclass(frozen=True, slots=True)
class Retention:
    """Whether a checkpoint is kept, and why (or why not)."""

    held: Held
    value: float | None
    keep: bool
    reason: str


def keep(
    every: Sequence[Held], measured: Mapping[str, Measured], *, higher: bool, best: int, last: int
) -> list[Retention]:
    """Decide about each checkpoint of a folder.

    Kept are: what is barred; what lacks a whole value, or both step and epoch; the `best` best values with their ties;
    what is measured and may not go; the `last` highest steps, and of those without a step the `last` highest epochs;
    and every name of weights that are kept under another.  `best` and `last` are at least 1.

    >>> every = [Held(f"/r/{step}", f"step-{step}", step, (str(step),)) for step in (1, 2, 3)]
    >>> measured = {str(step): Measured(1 / step, step > 1, "worse") for step in (1, 2, 3)}
    >>> [(one.keep, one.reason) for one in keep(every, measured, higher=True, best=1, last=1)]
    [(True, 'best 1'), (False, 'worse, not among the best 1 nor the last 1'), (True, 'last 1')]
    """
    there = {weights: measured[weights] for one in every for weights in one.weights if weights in measured}
    steps = _highest((one.step, one.weights) for one in every)
    epochs = _highest((one.epoch, one.weights) for one in every)
    orders = (steps, {weights: at for weights, at in epochs.items() if weights not in steps})
    ranked = sorted((one.value for one in there.values()), reverse=higher)
    kept = {weights: one.why for weights, one in there.items() if not one.may_go}
    for order in orders:  # counted among those with a value: what waits for one is kept besides
        newest = sorted({at for weights, at in order.items() if weights in there})[-last:]
        kept |= {weights: f"last {last}" for weights, at in order.items() if weights in there and at in newest}
    kept |= {weights: f"best {best}" for weights, one in there.items() if one.value in ranked[:best]}
    standing = {one.path: why for one in every if (why := _untouchable(one, there, steps.keys() | epochs.keys()))}
    for held in every:
        if held.path in standing:
            for weights in held.weights:
                kept.setdefault(weights, f"same weights as {held.name}, which stays")
    others = f"not among the best {best} nor the last {last}"
    verdicts = []
    for held in every:
        measures = [there[weights] for weights in held.weights if weights in there]
        value = (max if higher else min)((one.value for one in measures), default=None)
        reasons = [kept[weights] for weights in held.weights if weights in kept]
        if held.path in standing:
            reasons.insert(0, standing[held.path])
        reason = reasons[0] if reasons else f"{measures[0].why}, {others}"
        verdicts.append(Retention(held, value, bool(reasons), reason))
    return verdicts


def _untouchable(one: Held, there: Mapping[str, Measured], ordered: Collection[str]) -> str:
    if one.barred:
        return one.barred
    if not one.weights:
        return "not evaluated yet"
    if not there.keys() >= set(one.weights):
        return "no whole value yet"
    return "" if set(one.weights) <= set(ordered) else "neither its step nor its epoch is known"


def _highest(known: Iterable[tuple[int | None, Iterable[str]]]) -> dict[str, int]:
    """Return the highest step, or epoch, that any of the names of some weights says."""
    found: dict[str, int] = {}
    for at, names in known:
        if at is not None:
            found |= {weights: max(found.get(weights, at), at) for weights in names}
    return found
