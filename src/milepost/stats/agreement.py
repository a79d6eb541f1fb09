"""Agreement of predictions with labels, beyond what predictions would have that do not depend on the labels.

Expected is the mean number of right rows over all ways to pair these predictions with these labels; so a model that
always predicts one class, or guesses, agrees as expected whatever the classes' shares are.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_RARE = 1e-6
"""A count is called surprising where its probability is below this."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of so many rows, how many are right, and how many were expected; `units` are independent of each other.

    >>> found = agreement(np.array([0, 1, 2, 0]), np.array([0, 1, 2, 1]), classes=3)
    >>> found.rows, found.right, found.expected, round(found.kappa, 4)
    (4, 3, 1.25, 0.6364)
    """

    rows: int
    right: int
    expected: float
    units: int

    @property
    def kappa(self) -> float:
        """Agreement beyond expectation, as a share of what was left to reach (Cohen 1960); 0 where nothing was."""
        return (self.right - self.expected) / (self.rows - self.expected) if self.expected < self.rows else 0.0

    @property
    def surprising(self) -> bool:
        """Whether so many, or so few, right rows are rarer than one in a million with `units` independent rows.

        By the bound exp(-units KL(share, chance)) of the binomial distribution's tails (Hoeffding 1963, theorem 1).
        """
        if not self.rows:
            return False
        share, chance = self.right / self.rows, self.expected / self.rows
        if not 0.0 < chance < 1.0:
            return False
        pairs = ((share, chance), (1.0 - share, 1.0 - chance))
        divergence = sum(part * math.log(part / whole) for part, whole in pairs if part)
        return self.units * divergence > -math.log(_RARE)


def agreement(labels: Any, predictions: Any, classes: int, units: int | None = None) -> Agreement:
    """Compare labels with predictions, integer arrays [rows] of 0 to `classes` - 1; other labels agree with none.

    `units` is the number of independent rows, or groups of rows; by default the number of rows.
    """
    rows = len(labels)
    known = labels[(labels >= 0) & (labels < classes)]
    expected = np.bincount(known, minlength=classes) @ np.bincount(predictions, minlength=classes) / max(rows, 1)
    return Agreement(rows, int(np.count_nonzero(labels == predictions)), float(expected), units or rows)


def renaming(labels: Any, predictions: Any, classes: int) -> Any:
    """Return the class [classes] that stands for each label: one to one, the most frequent pairs first.

    -1 for a label that no class is left for.

    >>> renaming(np.array([0, 0, 1, 1, 2]), np.array([1, 1, 0, 1, 1]), classes=3).tolist()
    [1, 0, -1]
    """
    pairs, counts = np.unique(labels.astype(np.int64) * classes + predictions, return_counts=True)
    table, taken = np.full(classes, -1), set[int]()
    for pair in pairs[np.argsort(-counts, kind="stable")].tolist():
        label, prediction = divmod(pair, classes)
        if table[label] < 0 and prediction not in taken:
            table[label] = prediction
            taken.add(prediction)
    return table
