"""How the means of several models vary together, from how far each unit pulls them (`clustered.Spread`)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from milepost.stats.folds import FoldSums
from milepost.stats.sample import Block, Numbers, PairedSample


@dataclass(frozen=True, slots=True)
class Moments:
    """Means of K models and their covariance: `apart` [K, K] but for what all share, which is `common` [K].

    No difference of two means has a part in what all share; without it the small ones are not lost to rounding.
    `to_best` holds the variances of the best minus each.  `effective_units` is so many units of equal weight.
    """

    means: Numbers
    apart: Numbers
    common: Numbers
    to_best: Numbers
    effective_units: float

    @property
    def covariance(self) -> Numbers:
        """The covariance of the means themselves."""
        return np.asarray(self.apart + self.common[:, None] + self.common[None, :])


def moments(sample: PairedSample, sums: FoldSums, best: int) -> Moments:
    """Return the moments of means that are linear or, with weights or rows without a number, linearised.

    >>> from milepost.stats.folds import fold_sums
    >>> from milepost.stats.sample import sample_of
    >>> rows = np.random.default_rng(0).random((50, 3))
    >>> sample = sample_of(rows)
    >>> found = moments(sample, fold_sums(sample, seed=0), 0)
    >>> np.allclose(found.covariance, np.cov(rows.T) / 50)
    True
    >>> np.allclose(found.to_best, (rows[:, :1] - rows).var(axis=0) / 49)
    True
    """
    means, total = sums.means(), sums.total
    apart, common, to_best = np.zeros((sample.models, sample.models)), np.zeros(sample.models), np.zeros(sample.models)
    shared, squares = 0.0, 0.0
    for errors, weights in _errors(sample, means):
        pulls = errors / (total - weights)
        to_best += ((pulls[:, best, None] - pulls) ** 2).sum(axis=0)
        middle = pulls.mean(axis=1)
        pulls -= middle[:, None]
        apart += pulls.T @ pulls
        common += middle @ pulls
        shared += float(middle @ middle)
        squares += float((weights[:, best] ** 2).sum())
    factor = (sample.units - 1) / sample.units
    effective = float(total[best]) ** 2 / squares
    return Moments(means, factor * apart, factor * (common + shared / 2.0), factor * to_best, effective)


def _errors(sample: PairedSample, means: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield weight times (value - mean) and weight of every unit and model, some units at a time."""
    if not sample.grouped:
        yield from (_of_rows(block, means) for block in sample.blocks())
        return
    errors, weights = np.zeros((sample.units, sample.models)), np.zeros((sample.units, sample.models))
    for block in sample.blocks():
        order = np.argsort(block.units, kind="stable")
        units, starts = np.unique(block.units[order], return_index=True)
        for into, rows in zip((errors, weights), _of_rows(block, means), strict=True):
            into[units] += np.add.reduceat(rows[order], starts)
    yield errors, weights


def _of_rows(block: Block, means: Numbers) -> tuple[Numbers, Numbers]:
    absent, errors = np.isnan(block.values), block.values - means
    weights = np.broadcast_to(1.0 if block.weights is None else block.weights[:, None], errors.shape)
    if absent.any():
        errors, weights = np.where(absent, 0.0, errors), np.where(absent, 0.0, weights)
    return errors if block.weights is None else errors * weights, weights
