"""Sums of the rows' contributions by fold, from which means and every choice on part of the rows follow."""

from dataclasses import dataclass

import numpy as np

from milepost.stats.sample import Index, Numbers, PairedSample

FOLDS = 10


@dataclass(frozen=True, slots=True)
class FoldSums:
    """By fold and model: the sum of weight times value, and of weight, over rows with a number.

    `folds` is the fold of each unit.
    """

    values: Numbers
    weights: Numbers
    folds: Index

    @property
    def total(self) -> Numbers:
        """The weight of all rows with a number, by model."""
        return np.asarray(self.weights.sum(axis=0))

    def means(self) -> Numbers:
        """Return each model's mean over all rows; NaN where no row has a number."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.values.sum(axis=0) / self.total)


def fold_sums(sample: PairedSample, seed: int) -> FoldSums:
    """Sum up by fold: units are dealt to 10 folds of equal size at random; fewer units, fewer folds.

    >>> from milepost.stats.sample import sample_of
    >>> sums = fold_sums(sample_of(np.eye(20) > 0), seed=0)
    >>> sums.weights[:, 0].tolist() == [2.0] * 10, sums.means().tolist() == [0.05] * 20
    (True, True)
    """
    count = max(1, min(FOLDS, sample.units))
    folds = np.random.default_rng(seed).permutation(np.arange(sample.units) % count)
    values, weights = np.zeros((count, sample.models)), np.zeros((count, sample.models))
    for block in sample.blocks():
        member = (folds[block.units] == np.arange(count)[:, None]).astype(np.float64)
        if block.weights is not None:
            member *= block.weights
        absent = np.isnan(block.values)
        if absent.any():
            values += member @ np.where(absent, 0.0, block.values)
            weights += member @ ~absent
        else:
            values += member @ block.values
            weights += member.sum(axis=1, keepdims=True)
    return FoldSums(values, weights, folds)
