"""Which models are significantly worse than the best, and which are tied with it.

The best is chosen by the data, so a difference to it counts as significant only where it would be so among all pairs:
at most 5 % of samples then call any model worse that is not.  Rows that are right or wrong, independent, and of equal
weight are counted: McNemar's exact test, with Bonferroni's correction for all pairs.  Other means take Student's t of
the paired difference (linearised for weights, of groups' totals for groups), at the level that the studentised range of
all pairs leaves to one.  Where there are no more units than models, their covariance says too little of that range:
then at Bonferroni's.
"""

import math
from dataclasses import dataclass

import numpy as np

from milepost.stats.mcnemar import mcnemar_exact
from milepost.stats.moments import Moments
from milepost.stats.sample import PairedSample
from milepost.stats.student import t_p_value
from milepost.stats.studentised_range import pair_level

LEVEL = 0.05
_ROUNDING = 1e-9
"""Below this share of their own errors the error of a difference is rounding."""


@dataclass(frozen=True, slots=True)
class PairResult:
    """The best and another model on the same rows.

    `difference` is the best minus the other, `p_value` that of this pair alone, two-sided: None where the difference is
    the same on every row, so that nothing can be tested.  `worse`: significant among all pairs.
    """

    difference: float
    standard_error: float
    p_value: float | None
    worse: bool


@dataclass(frozen=True, slots=True)
class TiedSet:
    """The best against every model, itself included; `level` is what a pair's p-value is held against."""

    pairs: tuple[PairResult, ...]
    level: float
    test: str


def tied_set(sample: PairedSample, found: Moments, best: int, seed: int, *, higher: bool) -> TiedSet:
    """Test the model at index `best` against all others; `seed` draws the range.

    `best` need not be the best of all: what is better than it is never worse.

    >>> from milepost.stats.folds import fold_sums
    >>> from milepost.stats.moments import moments
    >>> from milepost.stats.sample import sample_of
    >>> sample = sample_of(np.arange(100)[:, None] < np.array([90, 85, 40]))
    >>> found = tied_set(sample, moments(sample, fold_sums(sample, seed=0), 0), 0, 0, higher=True)
    >>> [pair.worse for pair in found.pairs], found.pairs[1].p_value
    ([False, False, True], 0.0625)
    """
    bonferroni = LEVEL / max(1, sample.models * (sample.models - 1) // 2)
    if sample.counts:
        return _counted(sample, best, bonferroni, higher=higher)
    few = found.effective_units <= sample.models
    level = bonferroni if few else pair_level(found.apart, seed, LEVEL)
    own = np.sqrt(np.diag(found.covariance))
    pairs = []
    for difference, variance, other in zip(found.means[best] - found.means, found.to_best, own, strict=True):
        error, rounding = math.sqrt(variance), _ROUNDING * (own[best] + other)
        if error > rounding:
            p_value: float | None = t_p_value(difference / error, max(1.0, found.effective_units - 1.0))
        else:
            p_value = 1.0 if abs(difference) <= rounding else None
        worse = p_value is not None and p_value < level and (difference > 0.0) == higher
        pairs.append(PairResult(float(difference), error, p_value, worse))
    name = "Bonferroni over all pairs" if few else "studentised range of all pairs"
    return TiedSet(tuple(pairs), level, f"paired t, {name}")


def _counted(sample: PairedSample, best: int, level: float, *, higher: bool) -> TiedSet:
    rows, hits, both = 0, np.zeros(sample.models), np.zeros(sample.models)
    for block in sample.blocks():
        rows += len(block.values)
        hits += block.values.sum(axis=0)
        both += block.values[:, best] @ block.values
    found = []
    for only_best, only_other in zip((hits[best] - both).tolist(), (hits - both).tolist(), strict=True):
        difference, apart = only_best - only_other, only_best + only_other
        error = math.sqrt((apart - difference**2 / rows) / rows / (rows - 1)) if rows > 1 else 0.0
        p_value = mcnemar_exact(int(only_best), int(only_other))
        found.append(PairResult(difference / rows, error, p_value, p_value < level and (difference > 0) == higher))
    return TiedSet(tuple(found), level, "McNemar exact, Bonferroni over all pairs")
