"""Sums are exact, merges are associative and commutative to the bit, and bytes come back as they went."""

import json
import math
import random as python_random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.core.types import Array
from milepost.errors import DataError
from milepost.metrics._states import ExactSums, Tally, from_bytes

UNIT = 1 << 1074
NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40)


def units(item: ExactSums) -> list[int]:
    return [int(unit) for unit in item.units.ravel()]


@pytest.mark.parametrize(
    ("addends", "value"),
    [
        ([1e16, 1.0, -1e16], 1.0),
        ([0.1] * 10, 1.0),
        ([1.7e308, 1.7e308, -1.7e308, 3.0], 1.7e308),
        ([], 0.0),
        ([-0.0], 0.0),
        ([5e-324, -5e-324], 0.0),
        ([1.7e308, 1.7e308], math.inf),  # more than a float holds, and so it says
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1e308], -math.inf),
    ],
)
def test_known_sums(addends: list[float], value: float) -> None:
    assert ExactSums.of(np.array(addends)).value() == value


def test_the_smallest_floats_are_counted() -> None:
    assert units(ExactSums.of(np.array([5e-324] * 3))) == [3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((np.arange(1000) / 7).astype(np.float32), 71357.14285285771),
        ((1 / np.arange(1, 100_001)).astype(np.float32), 12.09014619539721),
    ],
)
def test_golden_sums_of_float32(values: Array, expected: float) -> None:
    assert ExactSums.of(values).value() == expected
    assert ExactSums.of(values[::-1]).value() == expected


@pytest.mark.parametrize("odd", [[math.nan], [math.inf, -math.inf], [1.0, math.nan, math.inf]])
def test_a_sum_without_a_number_is_nan(odd: list[float]) -> None:
    total = ExactSums.of(np.array(odd))
    assert math.isnan(total.value())
    assert math.isnan(total.ratio(2))


@given(NUMBERS)
def test_a_sum_is_the_true_one_rounded_once(values: list[float]) -> None:
    total = ExactSums.of(np.array(values))
    exact = sum(map(Fraction, values), Fraction(0))
    assert Fraction(units(total)[0], UNIT) == exact
    if values and abs(exact) < Fraction(2) ** 1023:
        assert total.value() == float(exact)
        assert total.ratio(len(values)) == float(exact / len(values))


@given(NUMBERS, st.integers(0, 2**32))
def test_any_order_and_any_tree_give_the_same_integer(values: list[float], seed: int) -> None:
    whole = ExactSums.of(np.array(values))
    dice = python_random.Random(seed)
    shuffled = dice.sample(values, len(values))
    cuts = sorted(dice.choices(range(len(values) + 1), k=4))
    parts = [ExactSums.of(np.array(shuffled[a:b])) for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    while len(parts) > 1:
        parts.append(parts.pop(dice.randrange(len(parts))).merge(parts.pop(dice.randrange(len(parts)))))
    assert units(parts[0]) == units(whole)


def test_a_long_array_is_exact_across_its_chunks() -> None:
    values = np.random.default_rng(0).normal(size=(1 << 18) + 5) * np.logspace(-300, 300, (1 << 18) + 5)
    expected = sum(int(Fraction(item) * UNIT) for item in values.tolist())
    assert units(ExactSums.of(values)) == [expected]


def test_an_infinity_is_counted_and_does_not_spoil_other_cells() -> None:
    total = ExactSums.of(np.array([math.inf, 1.5, math.nan, 2.0]), np.array([0, 1, 2, 1]), (3,))
    assert total.value((0,)) == math.inf
    assert total.value((1,)) == 3.5
    assert math.isnan(total.value((2,)))


WEIGHTS = st.floats(1e-60, 1e60)
VALUES = st.floats(allow_nan=False, allow_infinity=False).filter(lambda item: item == 0 or abs(item) >= 1e-200)


@given(st.lists(st.tuples(VALUES, WEIGHTS, st.integers(0, 2)), max_size=20))
def test_products_of_all_float64_are_exact(rows: list[tuple[float, float, int]]) -> None:
    values, weights, cells = (np.array(item) for item in zip(*rows, strict=True)) if rows else [np.zeros(0)] * 3
    found = ExactSums.products(values, weights, cells.astype(np.int64), (3,))
    for cell in range(3):
        expected = sum((Fraction(a) * Fraction(b) for a, b, where in rows if where == cell), Fraction(0))
        assert Fraction(units(found)[cell], UNIT) == expected
    assert Fraction(units(ExactSums.products(values, weights))[0], UNIT) == sum(
        (Fraction(a) * Fraction(b) for a, b, _ in rows), Fraction(0)
    )


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(5e-324, allow_infinity=False))
def test_any_other_product_is_exact_or_refused(value: float, weight: float) -> None:
    expected = Fraction(value) * Fraction(weight)
    if (expected * UNIT).denominator == 1:
        assert Fraction(units(ExactSums.products(np.array([value]), np.array([weight])))[0], UNIT) == expected
    else:
        with pytest.raises(DataError, match=r"digits below 2\*\*-1074.*multiply all weights by one number"):
            ExactSums.products(np.array([value]), np.array([weight]))


def test_products_are_exact_across_their_blocks() -> None:
    random = np.random.default_rng(0)
    values, weights = random.normal(size=20_000), random.lognormal(0, 20, 20_000)
    expected = sum(Fraction(a) * Fraction(b) for a, b in zip(values.tolist(), weights.tolist(), strict=True))
    assert Fraction(units(ExactSums.products(values, weights))[0], UNIT) == expected


@pytest.mark.parametrize("weight", [1.0, 0.3, 1e306, 5e-324])
def test_an_infinite_value_has_an_infinite_product(weight: float) -> None:
    assert ExactSums.products(np.array([math.inf], np.float32), np.array([weight])).value() == math.inf
    assert ExactSums.products(np.array([1.0], np.float32), np.array([weight])).value() == weight


# ------------------------------------------------------------------------------------------------------------ tallies


def tally(values: list[float], **changes: Any) -> Tally:
    numbers = np.array(values)
    cells = np.arange(len(values)) % 3
    sums = {"one": ExactSums.of(numbers), "three": ExactSums.of(numbers, cells, (3,))}
    return Tally({"n": np.int64(len(values)), "cells": np.bincount(cells, minlength=3), **changes}, sums)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_tally_merges_to_the_same_bytes(a: list[float], b: list[float], c: list[float]) -> None:
    one, two, three = tally(a), tally(b), tally(c)
    left, right = one.merge(two).merge(three), three.merge(one.merge(two))
    assert left.to_bytes() == right.to_bytes() == two.merge(three).merge(one).to_bytes()
    assert from_bytes(left.to_bytes()).to_bytes() == left.to_bytes()
    assert from_bytes(one.to_bytes()).merge(two).to_bytes() == one.merge(two).to_bytes()
    assert one.merge(tally([])).to_bytes() == one.to_bytes()


def test_the_bytes_of_a_tally_are_golden() -> None:
    state = Tally(
        {"n": np.int64(2), "m": np.array([[1, 258]])}, {"s": ExactSums.of(np.array([5e-324, -1e-323, math.inf]))}
    )
    head = (
        b'{"counts":[["m",[1,2]],["n",[]]],"grows":false,"state":"tally",'
        b'"sums":[["s",[],["-1"],[0],[1],[0]]],"version":1}\n'
    )
    assert state.to_bytes() == head + bytes([1, *[0] * 7, 2, 1, *[0] * 6, 2, *[0] * 7])


def test_a_growing_tally_is_padded_with_zeros() -> None:
    small = Tally({"m": np.array([[1]])}, {"w": ExactSums.of(np.array([0.5]), np.array([0]), (1, 1))}, grows=True)
    large = Tally({"m": np.ones((2, 3), np.int64)}, {"w": ExactSums.of(np.ones(6), np.arange(6), (2, 3))}, grows=True)
    both = small.merge(large)
    assert both.to_bytes() == large.merge(small).to_bytes()
    assert both.counts["m"].tolist() == [[2, 1, 1], [1, 1, 1]]
    assert [both.sums["w"].value((0, i)) for i in range(3)] == [1.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "other",
    [
        Tally({"k": np.int64(1)}),
        Tally({"n": np.int64(1)}, {"s": ExactSums.of(np.ones(1))}),
        Tally({"n": np.zeros(1, np.int64)}),
        Tally({"n": np.int64(1)}, grows=True),
        object(),
    ],
    ids=["name", "sum", "shape", "growing", "kind"],
)
def test_tallies_of_different_metrics_do_not_merge(other: Any) -> None:
    with pytest.raises(ValueError, match="different metrics"):
        Tally({"n": np.int64(1)}).merge(other)


# ------------------------------------------------------------------------------------------------------ foreign bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"1\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"state":"secret","version":1}\n',
        b'{"state":"tally","version":2,"counts":[],"sums":[],"grows":false}\n',
        b'{"state":"tally","version":1}\n',
        b'{"state":"tally","version":1,"counts":[["n"]],"sums":[],"grows":false}\n',
        b'{"state":"tally","version":1,"counts":[["n",[-1]]],"sums":[],"grows":false}\n12345678',
        b'{"state":"tally","version":1,"counts":[["n",[1099511627776]]],"sums":[],"grows":false}\n12345678',
        b'{"state":"tally","version":1,"counts":[["n",["1"]]],"sums":[],"grows":false}\n12345678',
        b'{"state":"tally","version":1,"counts":[],"sums":[["s",[],["zz"],[0],[0],[0]]],"grows":false}\n',
    ],
)
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        from_bytes(data)


def test_bytes_that_were_cut_off_or_lengthened_are_refused() -> None:
    data = tally([0.1, 0.2, 1e300]).to_bytes()
    for end in range(len(data)):
        with pytest.raises(ValueError):
            from_bytes(data[:end])
    with pytest.raises(ValueError):
        from_bytes(data + b"\0")


def test_a_description_is_plain_json() -> None:
    head = json.loads(tally([1.0]).to_bytes().partition(b"\n")[0])
    assert head["state"] == "tally"
    assert head["version"] == 1
