"""Who is worse than the best: judged by plain formulas, and by small seeded trials (benchmarks/ties.py has 2,000)."""

import numpy as np
import pytest
import scipy.stats

from milepost.core.types import Array
from milepost.stats.cross_fit import cross_fit, fit_interval
from milepost.stats.folds import fold_sums
from milepost.stats.moments import moments
from milepost.stats.sample import Block, PairedSample, sample_of
from milepost.stats.studentised_range import pair_level
from milepost.stats.tied_set import TiedSet, tied_set


def against(
    values: Array, best: int, weights: Array | None = None, groups: Array | None = None, *, higher: bool = True
) -> TiedSet:
    sample = sample_of(values, weights, groups)
    return tied_set(sample, moments(sample, fold_sums(sample, 0), best), best, 0, higher=higher)


def test_shares_take_the_exact_test_of_each_pair_over_all_pairs() -> None:
    rows = np.random.default_rng(0).random((300, 1)) + 0.2 * np.random.default_rng(1).random((300, 4))
    values = rows < np.array([0.9, 0.895, 0.7, 0.89])
    found = against(values, 0)
    assert found.level == 0.05 / 6
    for other, pair in enumerate(found.pairs):
        only = [int((values[:, a] & ~values[:, b]).sum()) for a, b in ((0, other), (other, 0))]
        judge = scipy.stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
        assert pair.p_value == pytest.approx(judge, rel=1e-9)
        assert pair.worse == (judge < 0.05 / 6 and only[0] > only[1])
        away = values[:, 0].astype(float) - values[:, other]
        assert (pair.difference, pair.standard_error) == pytest.approx((away.mean(), scipy.stats.sem(away)))
    assert [pair.worse for pair in found.pairs] == [False, False, True, False]


def test_means_take_the_paired_t_test_and_lower_may_be_better() -> None:
    rng = np.random.default_rng(2)
    values = rng.exponential(size=(400, 1)) + rng.normal(size=(400, 3)) * 0.1 + np.array([0.0, 0.001, 0.1])
    for higher, worse in ((False, [False, False, True]), (True, [False, False, False])):
        found = against(values, 0, higher=higher)
        for other in (1, 2):
            judge = scipy.stats.ttest_rel(values[:, 0], values[:, other]).pvalue
            assert found.pairs[other].p_value == pytest.approx(judge, rel=1e-6)
        assert [pair.worse for pair in found.pairs] == worse


def test_rows_of_a_group_are_one_and_weights_are_linearised() -> None:
    rng = np.random.default_rng(3)
    by_group = rng.normal(size=(30, 2))
    values, groups = np.repeat(by_group, 20, axis=0), np.repeat(np.arange(30), 20)
    shuffled = rng.permutation(600)
    found = against(values[shuffled], 0, groups=groups[shuffled]).pairs[1]
    assert found.p_value == pytest.approx(scipy.stats.ttest_rel(*by_group.T).pvalue, rel=1e-9)
    ones = against(values, 0, weights=np.full(600, 2.5)).pairs[1]
    assert ones.p_value == pytest.approx(scipy.stats.ttest_rel(*values.T).pvalue, rel=1e-9)


def test_no_more_units_than_models_leave_bonferroni() -> None:
    values = np.random.default_rng(8).random((400, 12))
    found = against(values, 0, groups=np.arange(400) // 34)
    assert (found.level, found.test) == (0.05 / 66, "paired t, Bonferroni over all pairs")
    assert against(values, 0).level > 0.05 / 66


def test_the_same_rows_are_tied_and_a_shift_on_every_row_cannot_be_tested() -> None:
    column = np.random.default_rng(4).random(100)
    other = np.random.default_rng(5).random(100)
    pairs = against(np.stack([column, column, column - 0.125, other - 9.0], axis=1), 0).pairs
    assert [(pair.p_value, pair.worse) for pair in pairs[:2]] == [(1.0, False), (1.0, False)]
    assert pairs[2].p_value is None
    assert [pair.worse for pair in pairs] == [False, False, False, True]


def test_rows_without_a_number_leave_each_mean_to_its_own_rows() -> None:
    rng = np.random.default_rng(6)
    values = rng.random((500, 2))
    values[:100, 1] = np.nan
    sample = sample_of(values)
    found = moments(sample, fold_sums(sample, 0), 0)
    assert found.means == pytest.approx([values[:, 0].mean(), values[100:, 1].mean()])
    assert found.covariance[1, 1] == pytest.approx(scipy.stats.sem(values[100:, 1]) ** 2, rel=0.01)


def test_a_sample_in_blocks_is_the_same() -> None:
    rng = np.random.default_rng(7)
    values, groups = rng.random((101, 3)), np.arange(101) // 4
    blocks = [Block(values[low : low + 7], None, groups[low : low + 7]) for low in range(0, 101, 7)]
    whole = sample_of(values, groups=groups)
    cut = PairedSample(3, whole.units, lambda: blocks, grouped=True)
    found, same = (moments(one, fold_sums(one, 0), 0) for one in (cut, whole))
    assert found.covariance == pytest.approx(same.covariance)
    assert found.to_best == pytest.approx(same.to_best)


def test_a_pair_level_of_independent_means_is_that_of_the_studentised_range() -> None:
    level = pair_level(np.eye(10), 0)
    reached = scipy.stats.norm.ppf(1 - level / 2)
    judge = scipy.stats.studentized_range.ppf(0.95, 10, np.inf) / np.sqrt(2)
    assert reached == pytest.approx(judge, rel=0.03)
    assert pair_level(np.eye(10), 0) == level
    assert pair_level(np.ones((4, 4)), 0) == 0.05  # one and the same four times
    assert pair_level(np.eye(2), 0) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("losses", [False, True])
def test_of_equal_models_few_trials_call_any_worse(losses: bool) -> None:
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(300, 1)) + 0.5 * rng.normal(size=(300, 12))
        values = np.exp(scores) if losses else scores < 0.8
        best = int(values.mean(axis=0).argmin() if losses else values.mean(axis=0).argmax())
        wrong += any(pair.worse for pair in against(values, best, higher=not losses).pairs)
    assert wrong <= 7  # 60 trials at 5 %: more than 7 happen in 1 of 60 if the error rate is 5 %


def test_cross_fitting_takes_the_luck_out_and_its_interval_is_wider_than_one_models() -> None:
    errors, optimism, held = [], [], 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(200, 1)) + 0.5 * rng.normal(size=(200, 8)) < 0.5
        truth = scipy.stats.norm.cdf(0.5 / np.sqrt(1.25))
        sample = sample_of(values)
        sums = fold_sums(sample, seed)
        fitted, found = cross_fit(sums, higher=True), moments(sample, sums, 0)
        assert fitted is not None
        span = fit_interval(fitted, found, np.zeros(8, np.bool_), seed, higher=True, shares=True)
        assert span is not None
        errors.append(fitted.value - truth)
        optimism.append(sums.means().max() - truth)
        held += span.low <= truth <= span.high
        assert span.high - span.low > 3.92 * np.sqrt(truth * (1 - truth) / 200) * 0.95
    error = scipy.stats.sem(errors)
    assert abs(np.mean(errors)) < 3 * error
    assert np.mean(optimism) > 3 * error
    assert held >= 42


def test_the_winner_of_every_fold_is_chosen_on_the_others() -> None:
    values = np.zeros((20, 2), np.bool_)
    sums = fold_sums(sample_of(values), 0)
    mine = sums.folds == 0
    values[mine, 0] = True  # right on the first fold alone
    values[~mine, 1] = np.arange(18) < 9
    sample = sample_of(values)
    sums = fold_sums(sample, 0)
    fitted = cross_fit(sums, higher=True)
    assert fitted is not None
    assert fitted.winners[0] == 1
    assert fitted.value == np.mean(
        [values[sums.folds == fold, winner].mean() for fold, winner in enumerate(fitted.winners)]
    )


def test_rows_that_never_vary_leave_no_interval_of_a_mean() -> None:
    sample = sample_of(np.full((40, 2), 0.5))
    sums = fold_sums(sample, 0)
    fitted, found = cross_fit(sums, higher=True), moments(sample, sums, 0)
    assert fitted is not None
    tied = np.zeros(2, np.bool_)
    assert fit_interval(fitted, found, tied, 0, higher=True, shares=False) is None
    share = fit_interval(cross_fit(sums, higher=True) or fitted, found, tied, 0, higher=True, shares=True)
    assert share is not None
    assert share.high - share.low > 0.2


def test_one_unit_leaves_nothing_to_choose_on() -> None:
    sample = sample_of(np.array([[0.5, 0.25]]))
    sums = fold_sums(sample, 0)
    assert len(sums.values) == 1
    assert cross_fit(sums, higher=True) is None
