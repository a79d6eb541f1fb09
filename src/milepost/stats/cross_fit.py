"""The winner's value without its luck: chosen on nine tenths of the rows, scored on the rest, ten times over.

The best of many is chosen for its value on these very rows, so that its value is too good: by as much as the largest of
many errors.  Cross-fitting makes the same choice on rows that do not count.  Its value is that of what such a choice
finds on new data, but for the tenth of rows that each choice does without.  Its error is larger than that of one model
on as many rows, since the folds' winners depend on each other's rows: the interval comes from draws of the whole
procedure.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from milepost.stats.folds import FoldSums
from milepost.stats.interval import LEVEL, Interval
from milepost.stats.moments import Moments
from milepost.stats.sample import Index, Numbers
from milepost.stats.student import t_quantile
from milepost.stats.studentised_range import DRAWS, square_root
from milepost.stats.wilson import wilson_bounds

_BLOCK = 1 << 21
"""Numbers that are drawn together."""


@dataclass(frozen=True, slots=True)
class CrossFit:
    """What the winners of the folds score on the rows that did not choose them."""

    value: float
    winners: tuple[int, ...]


def cross_fit(sums: FoldSums, *, higher: bool) -> CrossFit | None:
    """Return the cross-fitted value of the best of several models; None where there is nothing to choose on.

    >>> from milepost.stats.folds import fold_sums
    >>> from milepost.stats.sample import sample_of
    >>> sums = fold_sums(sample_of(np.random.default_rng(0).random((400, 30)) < 0.5), seed=0)
    >>> round(float(sums.means().max()), 4), round(cross_fit(sums, higher=True).value, 4)
    (0.56, 0.5175)
    """
    others = sums.total - sums.weights
    if len(sums.values) < 2 or not (others > 0.0).all():  # noqa: PLR2004 - one fold leaves none to choose on
        return None
    winners = _winners((sums.values.sum(axis=0) - sums.values) / others, higher=higher)
    places = np.arange(len(winners))
    top, bottom = float(sums.values[places, winners].sum()), float(sums.weights[places, winners].sum())
    return CrossFit(top / bottom, tuple(winners.tolist())) if bottom > 0.0 else None


def fit_interval(
    fitted: CrossFit,
    found: Moments,
    worse: npt.NDArray[np.bool_],
    seed: int,
    *,
    higher: bool,
    shares: bool,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval | None:
    """Return the 95 % interval for the mean true value of the folds' winners, `within` the possible values.

    None where all rows have the same values, which say nothing of others.

    It holds both where the models that are not `worse` are equally good, and where all are as they were seen: the wider
    of the two.  Shares take Wilson's, at the number of rows whose error this is, others Student's.

    >>> from milepost.stats.folds import fold_sums
    >>> from milepost.stats.moments import moments
    >>> from milepost.stats.sample import sample_of
    >>> luck = sample_of(np.random.default_rng(0).random((400, 30)) < 0.5)
    >>> sums = fold_sums(luck, seed=0)
    >>> tied = np.zeros(30, np.bool_)
    >>> fitted = cross_fit(sums, higher=True)
    >>> interval = fit_interval(fitted, moments(luck, sums, 0), tied, 0, higher=True, shares=True)
    >>> interval.low < 0.5 < interval.high
    True
    """
    best = found.means[~worse].max() if higher else found.means[~worse].min()
    truths = np.where(worse, found.means, best), found.means
    error = _reach(found, truths, len(fitted.winners), seed, higher=higher) / t_quantile(LEVEL, math.inf)
    t, value = t_quantile(LEVEL, max(1.0, found.effective_units - 1.0)), fitted.value
    if shares:
        rows = value * (1.0 - value) / error**2 if error and 0.0 < value < 1.0 else found.effective_units
        return Interval(*wilson_bounds(value, rows, t), LEVEL, "wilson")
    if not error:
        return None
    return Interval(max(within[0], value - t * error), min(within[1], value + t * error), LEVEL, "t")


def _winners(means: Numbers, *, higher: bool) -> Index:
    return np.asarray(means.argmax(axis=-1) if higher else means.argmin(axis=-1), np.int64)


def _reach(found: Moments, truths: Sequence[Numbers], folds: int, seed: int, *, higher: bool) -> float:
    """Return what 95 % of the errors of cross-fitted values stay within, of normal means around any of these truths."""
    errors = [[_errors(draws, truth, higher=higher) for truth in truths] for draws in _draws(found, folds, seed)]
    reaches = np.sort(np.abs(np.concatenate(errors, axis=1)), axis=1)[:, math.ceil(LEVEL * (DRAWS + 1)) - 1]
    return float(reaches.max())


def _draws(found: Moments, folds: int, seed: int) -> Iterator[Numbers]:
    """Yield errors of the means of folds, [draws, folds, models]."""
    models = len(found.means)
    rng, root = np.random.default_rng(seed), square_root(found.covariance * folds)
    step = max(1, _BLOCK // (folds * models))
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        yield (rng.standard_normal((count * folds, models)) @ root).reshape(count, folds, models)


def _errors(draws: Numbers, truth: Numbers, *, higher: bool) -> Numbers:
    seen = draws + truth
    winners = _winners(seen.sum(axis=1, keepdims=True) - seen, higher=higher)
    return np.asarray(np.take_along_axis(draws, winners[:, :, None], axis=2)[:, :, 0].mean(axis=1))
