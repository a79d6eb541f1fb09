"""How often do the 95 % intervals on record hold the truth?

Seeded trials of rows of which the true mean is known.  A figure is the share of trials whose interval holds it, and
beside it the share of intervals with a note that says why they may hold it less often.  0.93 or more is promised where
5 rows or more are expected to be wrong (of groups: at 0.8 right in 40 groups or more); elsewhere that, or a note on
half of the intervals.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from _figures import Figure, main

from milepost.core.types import Array
from milepost.stats.clustered import Spread
from milepost.stats.interval import Interval
from milepost.stats.means import t_interval
from milepost.stats.wilson import wilson, wilson_of

TRIALS = 2000
LEAST = 0.93
_COUNTS = 5
_RARE = 0.05
Draw = Callable[[np.random.Generator], Array]
Judged = Callable[[Array], Interval | None]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to draw: their values, the true mean of these, and the rows' weights and groups."""

    draw: Draw
    truth: float
    weights: Draw | None = None
    groups: Array | None = None


def judge(rows: Rows, random: np.random.Generator, *, share: bool) -> tuple[bool, bool]:
    """Draw once; return whether the interval holds the truth, and whether it has a note."""
    values = rows.draw(random)
    weights = None if rows.weights is None else rows.weights(random)
    if share and weights is None and rows.groups is None:
        found: Interval | None = _wilson(int(values.sum()), len(values))
    else:
        mean, spread = float(np.average(values, weights=weights)), Spread.of(values, weights, rows.groups)
        found = wilson_of(mean, spread) if share else t_interval(mean, spread)
    if found is None:  # all values are the same: no interval is shown
        return False, True
    return found.low <= rows.truth <= found.high, found.note is not None


_wilson = functools.lru_cache(maxsize=None)(wilson)


def figure(what: str, rows: Rows, *, share: bool, promised: bool = False) -> Figure:
    random = np.random.default_rng(0)
    held, noted = np.array([judge(rows, random, share=share) for _ in range(TRIALS)]).T
    coverage, notes = float(held.mean()), float(noted.mean())
    promise = f"at least {LEAST}" if promised else f"at least {LEAST}, or noted"
    good = coverage >= LEAST or (not promised and notes >= 0.5)
    return Figure(what, f"{coverage:.3f}, {notes:.0%} noted", promise, good)


# -------------------------------------------------------------------------------------------------------------- shares


def alone(n: int, p: float) -> Rows:
    return Rows(lambda random: (random.random(n) < p).astype(float), p)


def together(sizes: Array, p: float, correlation: float) -> Rows:
    """Groups whose own share varies (beta-binomial): two rows of one have this correlation."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    scale = (1.0 - correlation) / correlation if correlation else 1e9

    def draw(random: np.random.Generator) -> Array:
        own = random.beta(p * scale, (1.0 - p) * scale, len(sizes))
        return (random.random(len(groups)) < own[groups]).astype(float)

    return Rows(draw, p, groups=groups)


def shares() -> list[Figure]:
    found = [
        figure(f"{n:,} rows, {p:g} right", alone(n, p), share=True, promised=n * (1 - p) >= _COUNTS)
        for n in (20, 100, 360, 10_000)
        for p in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
    ]
    for groups, rows in ((200, 5), (100, 10), (50, 20), (40, 50)):
        for correlation in (0.0, 0.1, 0.3, 0.5):
            what = f"{groups} groups of {rows}, correlation {correlation:g}, 0.8 right"
            held = together(np.full(groups, rows), 0.8, correlation)
            found.append(figure(what, held, share=True, promised=True))
            if (groups, correlation) == (50, 0.3):
                ignored = replace(held, groups=None)
                found.append(replace(figure(f"{what}, groups ignored", ignored, share=True), promise="", held=None))
    return found + odd_groups() + weighted_shares()


def odd_groups() -> list[Figure]:
    """Fewer groups, rarer errors, groups of unequal size."""
    found = []
    for groups, rows, p in ((20, 20, 0.8), (10, 50, 0.8), (5, 50, 0.8), (200, 5, 0.95), (50, 20, 0.95), (40, 50, 0.95)):
        what = f"{groups} groups of {rows}, correlation 0.3, {p:g} right"
        found.append(figure(what, together(np.full(groups, rows), p, 0.3), share=True))
    for groups, sigma in ((100, 1.0), (50, 0.8), (50, 1.5), (30, 1.2)):
        sizes = np.maximum(1, np.random.default_rng(1).lognormal(1.5, sigma, groups)).astype(int)
        what = f"{groups} groups of {sizes.min()} to {sizes.max()}, correlation 0.3, 0.8 right"
        found.append(figure(what, together(sizes, 0.8, 0.3), share=True))
    return found


def weighted_shares() -> list[Figure]:
    found = []
    for n, p, sigma in ((100, 0.8, 0.5), (100, 0.8, 1.0), (360, 0.9, 1.0), (1000, 0.5, 1.5), (1000, 0.95, 1.0)):
        rows = replace(alone(n, p), weights=lognormal(n, sigma))
        found.append(figure(f"{n:,} rows, {p:g} right, weights lognormal({sigma:g})", rows, share=True, promised=True))
    rows = replace(together(np.full(50, 20), 0.8, 0.3), weights=lognormal(1000, 1.0))
    return [*found, figure("50 groups of 20, correlation 0.3, weights lognormal(1), 0.8 right", rows, share=True)]


# --------------------------------------------------------------------------------------------------------- other means


def lognormal(n: int, sigma: float) -> Draw:
    return lambda random: random.lognormal(0.0, sigma, n)


def losses(n: int) -> dict[str, Rows]:
    """Rows of which the mean is hard to tell, by how they are distributed."""

    def rare(random: np.random.Generator) -> Array:
        return random.exponential(1.0, n) * (random.random(n) < _RARE)

    return {
        "normal": Rows(lambda random: random.standard_normal(n), 0.0),
        "exponential": Rows(lambda random: random.exponential(1.0, n), 1.0),
        "lognormal(1)": Rows(lognormal(n, 1.0), math.exp(0.5)),
        "0 but for 5 % exponential ones": Rows(rare, _RARE),
    }


def means() -> list[Figure]:
    found = []
    for n in (50, 360, 5000):
        found += [figure(f"mean of {n:,} rows, {name}", rows, share=False) for name, rows in losses(n).items()]
        rows = replace(losses(n)["exponential"], weights=lognormal(n, 1.0))
        found.append(figure(f"mean of {n:,} rows, exponential, weights lognormal(1)", rows, share=False))
    for groups, size in ((200, 5), (50, 20), (40, 50), (8, 50)):
        numbers = np.repeat(np.arange(groups), size)

        def draw(random: np.random.Generator, numbers: Array = numbers, groups: int = groups) -> Array:
            own = random.lognormal(-0.245, 0.7, groups)  # of mean 1
            return random.exponential(1.0, len(numbers)) * own[numbers]

        rows = Rows(draw, 1.0, groups=numbers)
        found.append(figure(f"mean of {groups} groups of {size}, exponential, scale lognormal(0.7)", rows, share=False))
    return found


def measure() -> list[Figure]:
    return shares() + means()


if __name__ == "__main__":
    main("How often do the 95 % intervals hold the truth?", measure)
