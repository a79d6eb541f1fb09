"""Agreement beyond chance: outside judges, exact enumeration, and no word about predictions that do not depend."""

from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as judge
from sklearn.metrics import cohen_kappa_score

from milepost.stats.agreement import Agreement, agreement, renaming

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@given(rows)
def test_the_expected_agreement_is_the_mean_over_all_pairings(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = (list(side) for side in zip(*pairs, strict=True))
    counts = [sum(map(int.__eq__, labels, order)) for order in permutations(predictions)]
    found = agreement(np.array(labels), np.array(predictions), 4)
    assert found.expected == pytest.approx(float(Fraction(sum(counts), len(counts))), abs=1e-12)
    assert (found.rows, found.units) == (len(labels), len(labels))
    assert found.right == sum(map(int.__eq__, labels, predictions))


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_kappa_is_cohens(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels, predictions = random.integers(0, classes, (2, 40))
    found = agreement(labels, predictions, classes)
    assert found.kappa == pytest.approx(cohen_kappa_score(labels, predictions), abs=1e-12)
    alike = agreement(np.zeros(9, int), np.zeros(9, int), classes)
    assert (alike.kappa, alike.surprising) == (0.0, False)


@given(st.integers(1, 5000), st.floats(0.001, 0.999), st.floats(0, 1))
def test_what_is_surprising_is_rarer_than_one_in_a_million(units: int, chance: float, share: float) -> None:
    right = round(share * units)
    found = Agreement(units, right, chance * units, units)
    below, above = judge.binom.cdf(right, units, chance), judge.binom.sf(right - 1, units, chance)
    if found.surprising:
        assert min(below, above) <= 1e-6 * (1 + 1e-9)
    if min(below, above) < 1e-6 / (10 * units + 10):  # the bound is at most so many times the tail
        assert found.surprising


def test_dependent_rows_are_less_surprising() -> None:
    assert Agreement(1000, 0, 100.0, 1000).surprising
    assert not Agreement(1000, 0, 100.0, 50).surprising


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_a_renaming_is_found_and_is_one_to_one(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    names = random.permutation(classes)
    labels = np.repeat(np.arange(classes), 3)
    predictions = names[labels]
    assert renaming(labels, predictions, classes).tolist() == names.tolist()
    predictions[::3] = random.integers(0, classes, classes)
    found = [name for name in renaming(labels, predictions, classes).tolist() if name >= 0]
    assert len(set(found)) == len(found)
    assert renaming(np.array([0, 0, 0, 1, 1]), np.zeros(5, int), 2).tolist() == [0, -1], "a class stands for one label"


def test_predictions_that_do_not_depend_on_the_labels_are_never_surprising() -> None:
    """Of 600 seeded draws, classes and shares at random; 20,000 were drawn for docs/design/tried.md."""
    random = np.random.default_rng(7)

    def drawn(classes: int, count: int, *evenness: float) -> Any:
        shares = random.dirichlet(np.full(classes, random.choice(evenness)))
        return random.choice(classes, count, p=shares)

    for _ in range(600):
        classes, count = int(random.choice([2, 3, 10, 100])), int(random.choice([20, 100, 1000]))
        labels, predictions = drawn(classes, count, 0.2, 1, 100), drawn(classes, count, 0.05, 1, 100)
        own = agreement(labels, predictions, classes)
        assert not (own.surprising and own.right < 0.75 * own.expected)
        names = renaming(labels[::2], predictions[::2], classes)
        other = agreement(names[labels[1::2]], predictions[1::2], classes)
        assert not (other.surprising and other.kappa >= 0.4)
