"""How often warnings of predictions are false, and how often true: `python benchmarks/false_warnings.py [TRIALS]`.

Labels and predictions are drawn for 2 to 100 classes and 20 to 3,000 rows, of skewed or even shares:
- independent: predictions do not depend on the labels;
- honest: a model of up to 50 % accuracy, whose mistakes fall anywhere or (less often than the label) on its neighbour;
- off by one, renamed, avoiding: a model of 50 to 100 % accuracy whose labels are shifted, whose classes are in another
  order, or that is never right.
"""

import sys
from collections import Counter
from collections.abc import Callable

import numpy as np

from milepost.core.types import Array
from milepost.scoring.disagreement import Pairs, disagreement

Random = np.random.Generator
KINDS = ("off_by_one", "renamed", "below_chance")


def _labels(random: Random, classes: int, rows: int) -> Array:
    return random.choice(classes, rows, p=random.dirichlet(np.full(classes, random.choice([0.2, 1, 100]))))


def _model(random: Random, truth: Array, classes: int) -> Array:
    return np.where(random.random(len(truth)) < random.uniform(0.5, 1), truth, random.integers(0, classes, len(truth)))


def independent(random: Random, classes: int, rows: int) -> tuple[Array, Array]:
    """Return labels, and predictions that do not depend on them."""
    shares = random.dirichlet(np.full(classes, random.choice([0.05, 0.2, 1, 100])))
    return _labels(random, classes, rows), random.choice(classes, rows, p=shares)


def honest(random: Random, classes: int, rows: int) -> tuple[Array, Array]:
    """Return labels, and predictions that are the label more often than its neighbour."""
    labels = _labels(random, classes, rows)
    accuracy, neighbour = np.sort(random.random(2) / 2)[::-1]
    draws, anything = random.random(rows), random.integers(0, classes, rows)
    beside = (labels + random.choice([-1, 1])) % classes
    return labels, np.where(draws < accuracy, labels, np.where(draws < accuracy + neighbour, beside, anything))


def off_by_one(random: Random, classes: int, rows: int) -> tuple[Array, Array]:
    """Return labels that count from another number on than the model does."""
    labels = _labels(random, classes, rows)
    return labels, _model(random, (labels + random.choice([-1, 1])) % classes, classes)


def renamed(random: Random, classes: int, rows: int) -> tuple[Array, Array]:
    """Return labels whose classes the model has in another order."""
    labels = _labels(random, classes, rows)
    return labels, _model(random, random.permutation(classes)[labels], classes)


def avoiding(random: Random, classes: int, rows: int) -> tuple[Array, Array]:
    """Return labels, and predictions of any other class."""
    labels = _labels(random, classes, rows)
    return labels, (labels + random.integers(1, classes, rows)) % classes


def main(trials: int) -> None:
    """Print a table of how many trials were warned of."""
    draws: tuple[Callable[[Random, int, int], tuple[Array, Array]], ...]
    draws = (independent, honest, off_by_one, renamed, avoiding)
    print(f"| {trials:,} trials of each | {' | '.join(KINDS)} | none |\n| --- | ---: | ---: | ---: | ---: |")
    for draw in draws:
        random, found = np.random.default_rng(1), Counter[str]()
        for _ in range(trials):
            classes, rows = int(random.choice([2, 3, 5, 10, 100])), int(random.choice([20, 100, 300, 1000, 3000]))
            labels, predictions = draw(random, classes, rows)
            found.update(list(disagreement(Pairs(labels, predictions, classes, np.arange(rows)))) or ["none"])
        print(f"| {draw.__name__} | {' | '.join(f'{found[kind]:,}' for kind in (*KINDS, 'none'))} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
