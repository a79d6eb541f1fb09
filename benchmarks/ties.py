"""Does the tied set hold the true best, and is what `compare` and `best` say of pairs and winners true?

2,000 seeded trials of each kind.  A trial makes K checkpoints whose rows share their difficulty, as those of one run
do: equally good ones, or ones that level off.  Rows are right or wrong, or have a loss of a heavy tail; alone, in 50
groups of 20, or weighted.  By the overlap rule, a checkpoint is worse whose Wilson interval does not meet the best's.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from _figures import Figure, main

from milepost.stats.clustered import Spread
from milepost.stats.cross_fit import cross_fit, fit_interval
from milepost.stats.folds import fold_sums
from milepost.stats.mcnemar import mcnemar_exact, mcnemar_mid_p
from milepost.stats.moments import moments
from milepost.stats.paired import paired_mean
from milepost.stats.sample import sample_of
from milepost.stats.tied_set import tied_set
from milepost.stats.wilson import wilson

TRIALS = 2000
EVERY = 4
"""Every fourth trial asks for the interval of the cross-fitted value, which takes a thousand draws of the procedure."""
ROWS, GROUPS = 1000, 50
SHARED = 0.8
"""How much of a row's difficulty all checkpoints share: two that are equal then disagree on a tenth of the rows."""
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """One kind of trial: `levels` off, or equal; `losses` or shares; rows grouped, weighted, or neither."""

    models: int
    levels: bool = False
    losses: bool = False
    grouped: bool = False
    weighted: bool = False

    def __str__(self) -> str:
        kind = "that level off" if self.levels else "equal"
        rows = ", grouped" * self.grouped + ", weighted" * self.weighted
        return f"{self.models} {kind}, {'losses' if self.losses else 'shares'}{rows}"

    def truth(self) -> Numbers:
        """Return the true value of each: a share, or a mean loss."""
        away = 0.1 * np.exp(-8.0 * np.arange(self.models) / self.models) if self.levels else np.zeros(self.models)
        return math.exp(0.5) * (1.0 + away) if self.losses else 0.8 - away

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.generic], Numbers | None, npt.NDArray[np.int64]]:
        """Return values [rows, models], the rows' weights, and their groups."""
        groups = np.arange(ROWS) * GROUPS // ROWS
        hardness = rng.standard_normal((ROWS, 1), np.float32) * math.sqrt(SHARED)
        own = rng.standard_normal((ROWS, self.models), np.float32)
        if self.grouped:
            own = math.sqrt(0.5) * own + math.sqrt(0.5) * rng.standard_normal((GROUPS, self.models), np.float32)[groups]
        scores = hardness + math.sqrt(1.0 - SHARED) * own
        weights = rng.lognormal(sigma=0.5, size=ROWS) if self.weighted else None
        if self.losses:
            return np.exp(scores) * (self.truth() / math.exp(0.5)), weights, groups
        bounds = np.array([NormalDist().inv_cdf(share) for share in self.truth()])
        return scores < bounds, weights, groups


@dataclass
class Counts:
    """What the trials of one world counted."""

    held: int = 0
    some_worse: int = 0
    overlap_worse: int = 0
    tied: int = 0
    overlapping: int = 0


def ties(world: World, seed: int) -> tuple[Counts, list[float], float]:
    """Return the counts, the errors of the cross-fitted values, and the share of their intervals that hold."""
    counts, errors, covered, truth = Counts(), list[float](), 0, world.truth()
    best = int(truth.argmin() if world.losses else truth.argmax())
    for number in range(TRIALS):
        values, weights, groups = world.draw(np.random.default_rng([seed, number]))
        sample = sample_of(values, weights, groups if world.grouped else None)
        sums = fold_sums(sample, number)
        means = sums.means()
        chosen = int(means.argmin() if world.losses else means.argmax())
        found, higher = moments(sample, sums, chosen), not world.losses
        worse = np.array([pair.worse for pair in tied_set(sample, found, chosen, number, higher=higher).pairs])
        counts.held += not worse[best]
        counts.some_worse += bool(worse.any())
        counts.tied += world.models - int(worse.sum())
        if not world.losses:
            spans = [wilson(int(hits), ROWS) for hits in values.sum(axis=0)]
            meet = sum(span.high >= spans[chosen].low for span in spans)
            counts.overlapping += meet
            counts.overlap_worse += meet < world.models
        fitted = cross_fit(sums, higher=higher)
        assert fitted is not None
        shares = np.bincount(sums.folds, minlength=len(fitted.winners)) / len(sums.folds)
        expected = float(shares @ truth[list(fitted.winners)])
        errors.append(fitted.value - expected)
        if number % EVERY == 0:
            span = fit_interval(fitted, found, worse, number, higher=higher, shares=not world.losses)
            assert span is not None
            covered += span.low <= expected <= span.high
    return counts, errors, covered / (TRIALS // EVERY)


def figures(world: World, seed: int) -> list[Figure]:
    counts, errors, covered = ties(world, seed)
    held = counts.held / TRIALS
    found = [Figure(f"{world}: true best in the tied set", f"{100 * held:.1f} %", "at least 95 %", held >= 0.95)]
    if not world.levels:
        some = counts.some_worse / TRIALS
        held = some <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / TRIALS)
        found.append(Figure(f"{world}: some called worse", f"{100 * some:.1f} %", "at most 5 % within 2 SE", held))
        if not world.losses:
            found.append(Figure(f"{world}: by overlap, some worse", f"{100 * counts.overlap_worse / TRIALS:.1f} %"))
    found.append(Figure(f"{world}: size of the tied set", f"{counts.tied / TRIALS:.1f}"))
    if not world.losses:
        found.append(Figure(f"{world}: that meet the best's interval", f"{counts.overlapping / TRIALS:.1f}"))
    bias, error = float(np.mean(errors)), float(np.std(errors, ddof=1)) / math.sqrt(TRIALS)
    found.append(
        Figure(
            f"{world}: bias of the cross-fitted value",
            f"{bias:+.5f} ({bias / error:+.1f} SE)",
            "within 2 SE of 0",
            abs(bias) <= 2 * error,
        )
    )
    found.append(Figure(f"{world}: its 95 % interval holds", f"{100 * covered:.1f} %"))
    return found


def p_values(world: World, seed: int) -> dict[str, Numbers]:
    """Return the p-values of two equally good checkpoints, by the test's name."""
    found: dict[str, list[float]] = {}
    for number in range(TRIALS):
        values, weights, groups = world.draw(np.random.default_rng([seed, number]))
        one, two = values[:, 0], values[:, 1]
        if world.losses or world.grouped or world.weighted:
            difference = one.astype(np.float64) - two.astype(np.float64)
            spread = Spread.of(difference, weights, groups if world.grouped else None)
            mean = float(np.average(difference, weights=weights))
            found.setdefault("paired t", []).append(paired_mean(mean, spread).p_value)
            continue
        apart = int(np.count_nonzero(one & ~two)), int(np.count_nonzero(~one & two))
        found.setdefault("McNemar mid-p", []).append(mcnemar_mid_p(*apart))
        found.setdefault("McNemar exact", []).append(mcnemar_exact(*apart))
    return {name: np.array(item) for name, item in found.items()}


def uniformity(world: World, seed: int) -> list[Figure]:
    """Return how often a p-value is below some levels, and whether that is the level within 3 standard errors."""
    levels = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9])
    found = []
    for name, values in p_values(world, seed).items():
        shares = (values[:, None] <= levels).mean(axis=0)
        away = (shares - levels) / np.sqrt(levels * (1 - levels) / TRIALS)
        shown = f"{100 * shares[0]:.1f}, {100 * shares[1]:.1f} %; {np.abs(away).max():.1f} SE"
        exact = name == "McNemar exact"
        held = bool(away.max() <= 3.0 if exact else np.abs(away).max() <= 3.0)
        promise = "not above its level" if exact else "uniform within 3 SE"
        found.append(Figure(f"{world}: {name} below 1 %, 5 %; farthest", shown, promise, held))
    return found


def measure(only: Sequence[str] = ()) -> list[Figure]:
    worlds = [World(models, levels=levels) for models in (10, 100, 300) for levels in (False, True)]
    worlds += [World(models, levels=levels, losses=True) for models in (10, 100, 300) for levels in (False, True)]
    worlds += [World(100, grouped=True), World(100, weighted=True), World(100, losses=True, grouped=True)]
    found = [
        item for seed, world in enumerate(worlds) if not only or str(world) in only for item in figures(world, seed)
    ]
    pairs = [World(2), World(2, losses=True), World(2, grouped=True), World(2, weighted=True)]
    pairs += [World(2, losses=True, grouped=True), World(2, losses=True, weighted=True)]
    return found + [item for seed, world in enumerate(pairs, 100) for item in ([] if only else uniformity(world, seed))]


if __name__ == "__main__":
    main("Does the tied set hold the true best?", lambda: measure([word for word in sys.argv[1:] if word != "--json"]))
