"""Which checkpoints of a folder to keep, and why: a pure function of what is there and what was measured."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint in the folder: its step, the digests of its weights (one a variant), and what forbids touching it.

    `epoch` orders those of which no step is known.  `weights` is empty where it was not evaluated, `barred` where
    nothing forbids it.  `variants` names the weights by digest.
    """

    path: str
    name: str
    step: int | None
    weights: tuple[str, ...]
    barred: str = ""
    epoch: int | None = None
    variants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """The exact value of weights over the whole data set, whether it lets them go, and why (or why not)."""

    value: float
    may_go: bool
    why: str


@dataclass(frozen=True, slots=True)
class Retention:
    """Whether a checkpoint is kept, and why (or why not); `value` is that of its best variant, which is named."""

    held: Held
    value: float | None
    keep: bool
    reason: str
    variant: str | None = None


def keep(
    every: Sequence[Held], measured: Mapping[str, Measured], *, higher: bool, best: int, last: int
) -> list[Retention]:
    """Decide about each checkpoint of a folder, with all its variants.

    Kept are: what is barred; what lacks a whole value, or both step and epoch; the `best` best checkpoints, each by its
    best variant, with those as good as the last of them; the `last` highest steps, and of those without a step the
    `last` highest epochs; what has a variant that may not go; and every name of weights that are kept under another.
    Names of the same weights count as one.  `best` and `last` are at least 1.

    >>> every = [Held(f"/r/{step}", f"step-{step}", step, (str(step),)) for step in (1, 2, 3)]
    >>> measured = {str(step): Measured(1 / step, step > 1, "worse") for step in (1, 2, 3)}
    >>> [(one.keep, one.reason) for one in keep(every, measured, higher=True, best=1, last=1)]
    [(True, 'best 1'), (False, 'worse, not among the best 1 nor the last 1'), (True, 'last 1')]
    """
    there = {weights: measured[weights] for one in every for weights in one.weights if weights in measured}
    leads = {one.path: lead for one in every if (lead := _lead(one, there, higher=higher))}
    steps = _highest((one.step, one.weights) for one in every)
    epochs = _highest((one.epoch, one.weights) for one in every)
    ordered = steps.keys() | epochs.keys()
    good = _best({lead: there[lead].value for lead in leads.values()}, best, higher=higher)
    orders = (steps, {weights: at for weights, at in epochs.items() if weights not in steps})
    newest = [_last({weights: at for weights, at in order.items() if weights in there}, last) for order in orders]
    kept = dict[str, str]()
    for one in every:
        lead = leads.get(one.path)
        barred = [why] if (why := _untouchable(one, there, ordered)) else []
        counted = [held[weights] for held in (good, *newest) for weights in one.weights if weights in held]
        if reasons := [*barred, *counted, *_staying(one, there, lead)]:
            kept[one.path] = reasons[0]
    names = {weights: one.name for one in reversed(every) if one.path in kept for weights in one.weights}
    others = f"not among the best {best} nor the last {last}"
    verdicts = []
    for one in every:
        lead = leads.get(one.path)
        value, why = (None, "") if lead is None else (there[lead].value, there[lead].why)
        alias = next((names[weights] for weights in one.weights if weights in names), None)
        reason = kept.get(one.path, f"{why}, {others}" if alias is None else f"same weights as {alias}, which stays")
        stays = one.path in kept or alias is not None
        verdicts.append(Retention(one, value, stays, reason, one.variants.get(lead or "")))
    return verdicts


def _lead(one: Held, there: Mapping[str, Measured], *, higher: bool) -> str | None:
    """Return the weights that stand for a checkpoint: its best, and of equal ones those that may not go."""
    sign = 1 if higher else -1
    known = [weights for weights in one.weights if weights in there]
    return max(known, key=lambda weights: (sign * there[weights].value, not there[weights].may_go), default=None)


def _best(values: Mapping[str, float], count: int, *, higher: bool) -> dict[str, str]:
    """Return the best by weights, each with its reason; values equal to the last of them are among them."""
    ranked = sorted(values.values(), reverse=higher)
    border = ranked[:count][-1:]
    crowded = ranked[count : count + 1] == border
    words = dict.fromkeys(ranked[:count], f"best {count}")
    if crowded:
        words |= dict.fromkeys(border, f"as good as the best {count}")
    return {weights: words[value] for weights, value in values.items() if value in words}


def _last(order: Mapping[str, int], count: int) -> dict[str, str]:
    """Return the newest of those with a value: what waits for one is kept besides."""
    newest = sorted(set(order.values()))[-count:]
    return {weights: f"last {count}" for weights, at in order.items() if at in newest}


def _staying(one: Held, there: Mapping[str, Measured], lead: str | None) -> Iterator[str]:
    """Yield why variants of a checkpoint may not go, the one that stands for it first and the others by name."""
    shown = one.variants.get(lead or "")
    for weights in sorted(one.weights, key=lambda weights: weights != lead):
        if weights in there and not there[weights].may_go:
            variant = one.variants.get(weights)
            name = "other weights in it" if variant in (None, shown) else variant
            yield there[weights].why if weights == lead else f"{name}: {there[weights].why}"


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
