"""Seeded trials: the clustered interval holds the truth as often as it says; benchmarks/coverage.py tries many more."""

import numpy as np
import pytest

from milepost.stats.clustered import Spread
from milepost.stats.means import t_interval
from milepost.stats.wilson import wilson, wilson_of

TRIALS = 400


@pytest.mark.parametrize(("groups", "rows", "correlation"), [(50, 20, 0.3), (40, 50, 0.5), (200, 5, 0.3)])
def test_clustered_shares_hold_the_truth(groups: int, rows: int, correlation: float) -> None:
    random, numbers = np.random.default_rng(0), np.repeat(np.arange(groups), rows)
    scale = (1 - correlation) / correlation
    clustered, plain = [], []
    for own in random.beta(0.8 * scale, 0.2 * scale, (TRIALS, groups)):
        right = random.random(groups * rows) < own[numbers]
        found = wilson_of(float(right.mean()), Spread.of(right.astype(float), groups=numbers))
        clustered.append(found.low <= 0.8 <= found.high)
        found = wilson(int(right.sum()), groups * rows)
        plain.append(found.low <= 0.8 <= found.high)
    assert 0.92 <= np.mean(clustered) <= 0.98
    assert np.mean(plain) < 0.88


@pytest.mark.parametrize("weighted", [False, True])
def test_means_hold_the_truth(weighted: bool) -> None:
    random = np.random.default_rng(0)
    held = []
    for losses in random.exponential(1.0, (TRIALS, 360)):
        weights = random.lognormal(0.0, 1.0, 360) if weighted else None
        found = t_interval(float(np.average(losses, weights=weights)), Spread.of(losses, weights))
        assert found is not None
        held.append(found.low <= 1.0 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98
