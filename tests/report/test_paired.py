"""Pairs of rows: counted once each, summed exactly, and the same however the rows are cut."""

from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.report._paired import Paired, paired

finite = st.floats(-1e6, 1e6, width=32)
numbers = st.one_of(finite, st.just(float("nan")))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_row_is_one_of_four(rows: list[tuple[bool, bool]], higher: bool) -> None:
    a, b = (np.array(side) for side in zip(*rows, strict=True))
    found = paired(a, b, None, higher=higher)
    right = [(x == higher, y == higher) for x, y in rows]
    expected = [right.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert [found.both, found.only_a, found.only_b, found.neither] == expected
    assert found.difference() == float(Fraction(int(a.sum()) - int(b.sum()), len(rows)))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40), st.integers(1, 39), st.booleans())
@settings(max_examples=60, deadline=None)
def test_means_are_exact_and_do_not_depend_on_the_cut(rows: list[Any], cut: int, weighted: bool) -> None:
    a, b = (np.array(side, np.float32) for side in zip(*rows, strict=True))
    weights = np.linspace(0.1, 3.3, len(rows)) if weighted else None
    whole = paired(a, b, weights, higher=False)
    cuts = [part for part in (slice(0, cut), slice(cut, None)) if len(a[part])]
    pieces = [paired(a[part], b[part], None if weights is None else weights[part], higher=False) for part in cuts]
    assert reduce(Paired.merge, pieces).difference() == whole.difference()
    fine = [i for i, (x, y) in enumerate(rows) if x == x and y == y]  # noqa: PLR0124 - NaN is unlike itself
    assert (whole.n, whole.nonfinite) == (len(rows), len(rows) - len(fine))
    assert whole.both + whole.only_a + whole.only_b == len(fine)
    assert whole.only_a == sum(rows[i][0] < rows[i][1] for i in fine)
    if not fine:
        assert whole.difference() is None
        return
    scale = [Fraction(1) if weights is None else Fraction(float(weights[i])) for i in fine]
    total = sum((Fraction(rows[i][0]) - Fraction(rows[i][1])) * w for i, w in zip(fine, scale, strict=True))
    found = whole.difference()
    assert found is not None
    assert found == float(total / sum(scale))


def test_infinite_rows() -> None:
    a, b = np.array([np.inf, 1.0], np.float32), np.array([0.0, 1.0], np.float32)
    assert paired(a, b, None, higher=False).difference() == np.inf
    assert paired(b, a, None, higher=False).only_a == 1
    assert paired(a, a, None, higher=False).difference() is None


def test_sums_that_floats_would_lose() -> None:
    a = np.array([2.0**60, 1.0, -(2.0**60)], np.float32)
    assert paired(a, np.zeros(3, np.float32), None, higher=True).difference() == pytest.approx(1 / 3, rel=1e-16)
