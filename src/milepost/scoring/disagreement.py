"""Predictions that fit the labels worse than chance does, or than other numbers of the classes: which, and what to do.

Nothing is said of predictions that do not depend on the labels, however rare their classes are: see `stats.agreement`.
How often honest predictions are warned of is measured by `benchmarks/false_warnings.py`.
"""

from dataclasses import dataclass

import numpy as np

from milepost._internal.text import listed
from milepost.core.types import Array
from milepost.stats.agreement import Agreement, agreement, renaming

_FAR = 0.75
"""Agreement is far below chance where it is rarer than one in a million, and less than this share of chance's."""

_EXPLAINS = 0.4
"""Other numbers of the classes explain predictions from this kappa on, if it is more than twice the labels' own."""

_WELL = 0.5
"""From this kappa on none is twice as large."""

_PAIR = 2
"""Two classes that are swapped are not off by one."""

_ALIKE = 0.1
"""A shift by one is reported before a renaming whose kappa is larger by no more than this."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labels and predictions of finite rows, numbers of `classes`, and the number of each row's group.

    Groups are independent of each other; where rows are, each has a number of its own.
    """

    labels: Array
    predictions: Array
    classes: int
    groups: Array

    def shifted(self, step: int) -> Array:
        """Return the class that stands for each when all are counted from another number on."""
        return (np.arange(self.classes) + step) % self.classes

    def agreement(self, names: Array | None = None) -> Agreement:
        """Return the agreement of predictions with the labels, or with what `names` calls them."""
        labels = self.labels if names is None else names[self.labels]
        units = int(np.count_nonzero(np.bincount(self.groups)))
        return agreement(labels, self.predictions, self.classes, units)

    def half(self, parity: int) -> "Pairs":
        """Return the rows of the even or of the odd groups."""
        rows = self.groups % 2 == parity
        return Pairs(self.labels[rows], self.predictions[rows], self.classes, self.groups[rows])


def disagreement(pairs: Pairs) -> dict[str, str]:
    """Return at most one warning by its kind."""
    own = pairs.agreement()
    if own.kappa > _WELL:
        return {}
    shifts = {step: pairs.agreement(pairs.shifted(step)) for step in (1, -1)}
    step = max(shifts, key=lambda step: shifts[step].kappa)
    # Learned on one half, judged on the other: no renaming fits rows by chance that it has not seen.
    learned, judged = pairs.half(0), pairs.half(1)
    names = renaming(learned.labels, learned.predictions, pairs.classes)
    renamed, rest = judged.agreement(names), judged.agreement()
    if pairs.classes > _PAIR and _explains(shifts[step], own) and shifts[step].kappa > renamed.kappa - _ALIKE:
        return {"off_by_one": _off_by_one(pairs, step, shifts[step], own)}
    if _explains(renamed, rest):
        return {"renamed": _renamed(names, renamed, rest)}
    if own.surprising and own.right < _FAR * own.expected:
        return {
            "below_chance": f"{_share(own)} are right, where predictions that do not depend on the labels have about "
            f"{own.expected:,.0f} right: are the labels shuffled, or those of other rows?"
        }
    return {}


def _explains(other: Agreement, own: Agreement) -> bool:
    """Return whether other numbers of the classes fit: well, twice as well as the labels do, and neither by chance."""
    either = other.right + own.right
    decided = Agreement(either, other.right, either / 2.0, min(other.units, either))
    fits = other.kappa >= _EXPLAINS and other.kappa > 2.0 * own.kappa
    return fits and other.surprising and decided.surprising


def _off_by_one(pairs: Pairs, step: int, shifted: Agreement, own: Agreement) -> str:
    names = pairs.shifted(step)
    around = len(np.unique(names[pairs.labels] - pairs.labels)) > 1  # no offset leads from the last class to the first
    advice = f"label_map={{0: {names[0]}, 1: {names[1]}, ...}}" if around else f"label_offset={step}"
    return (
        f"the prediction is the label {'plus' if step > 0 else 'minus'} 1 in {_share(shifted)}, the label itself in "
        f"{_share(own)}: if the model counts its classes from another number on, pass {advice} with the data"
    )


def _renamed(names: Array, renamed: Agreement, rest: Agreement) -> str:
    moved = [f"{label} as class {name}" for label, name in enumerate(names.tolist()) if name not in (label, -1)]
    return (
        f"predictions fit the labels in {_share(rest)}, but in {_share(renamed)} with label {listed(moved, _SHOWN)} "
        "(learned from the other half of the rows): if the model has its classes in another order than the data, pass "
        "classes= or label_map= with the data"
    )


def _share(found: Agreement) -> str:
    return f"{found.right:,} of {found.rows:,} rows"
