"""The order: a permutation both ways, fixed for good by golden numbers, fair in every prefix."""

from itertools import permutations
from math import factorial, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.data._order import Natural, Seeded, make_order
from milepost.errors import DataError, UsageError

LARGE = (65_536, 65_537, 65_792, 66_049, 100_003, 1_000_000)


def excess(chi_square: float, freedom: int) -> float:
    """How many standard deviations a chi-square lies above its mean."""
    return float((chi_square - freedom) / sqrt(2 * freedom))


def test_it_is_a_permutation_for_every_small_size_and_around_the_change_of_method() -> None:
    for size in [*range(1, 2001), *LARGE]:
        order = Seeded(size)
        rows = order.rows(np.arange(size))
        assert rows.dtype == np.int64
        assert (np.bincount(rows, minlength=size) == 1).all(), size
        assert (order.positions(rows) == np.arange(size)).all(), size


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_inverts_at_any_size(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 2**62))
    order = Seeded(size, data.draw(st.integers(0, 2**64 - 1)))
    wanted = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=50)), np.int64)
    rows = order.rows(wanted)
    assert ((rows >= 0) & (rows < size)).all()
    assert order.positions(rows).tolist() == wanted.tolist()
    assert order.rows(order.positions(wanted)).tolist() == wanted.tolist()


def test_one_position_does_not_depend_on_which_others_are_asked_for() -> None:
    for size in (1000, 70_000):
        order = Seeded(size, 3)
        whole = order.rows(np.arange(size))
        assert [int(order.rows(np.array([i]))[0]) for i in range(0, size, size // 50)] == whole[:: size // 50].tolist()
        assert order.rows(np.arange(6, dtype=np.uint8).reshape(2, 3)).tolist() == whole[:6].reshape(2, 3).tolist()


GOLDEN = {
    # Version 1.  A change of any of these is a new version, and every stored evaluation a new one.
    (10, 0): [1, 0, 2, 8, 9, 5, 4, 6, 7, 3],
    (10, 1): [4, 3, 5, 7, 2, 9, 6, 1, 8, 0],
}
GOLDEN_AT = {
    (65_536, 0): [41080, 50277, 40697, 20847, 44281],
    (65_537, 0): [45472, 62826, 26323, 62354, 48917],
    (10**6, 0): [310020, 442290, 414716, 710285, 349635],
    (10**6, 2**64 - 1): [88275, 964035, 85287, 358423, 667513],
    (2**40, 7): [1047676140866, 117657344587, 454744703487, 272350350393, 138112231121],
}


@pytest.mark.parametrize(("size", "seed"), GOLDEN)
def test_golden_orders(size: int, seed: int) -> None:
    assert Seeded(size, seed).rows(np.arange(size)).tolist() == GOLDEN[size, seed]


@pytest.mark.parametrize(("size", "seed"), GOLDEN_AT)
def test_golden_rows_of_large_orders(size: int, seed: int) -> None:
    asked = np.array([0, 1, 2, size // 2, size - 1])
    assert Seeded(size, seed).rows(asked).tolist() == GOLDEN_AT[size, seed]


@pytest.mark.parametrize("size", [3, 4, 5])
def test_every_permutation_of_few_rows_is_equally_likely(size: int) -> None:
    trials = 40 * factorial(size)
    counts = dict.fromkeys(permutations(range(size)), 0)
    for seed in range(trials):
        counts[tuple(Seeded(size, seed).rows(np.arange(size)).tolist())] += 1
    chi_square = sum((found - 40) ** 2 / 40 for found in counts.values())
    assert excess(chi_square, factorial(size) - 1) < 4


@pytest.mark.parametrize("size", [100, 65_537, 66_000, 1 << 20, 1 << 40])
def test_any_prefix_holds_every_part_of_the_data_alike(size: int) -> None:
    """Over many seeds, rows of the first 32 positions fall evenly into 10 parts of the data."""
    counts = np.zeros(10)
    for seed in range(300):
        rows = Seeded(size, seed).rows(np.arange(32))
        counts += np.bincount(rows * 10 // size, minlength=10)
    expected = 300 * 32 * np.diff([-(-part * size // 10) for part in range(11)]) / size
    assert excess(float(((counts - expected) ** 2 / expected).sum()), 9) < 4


def test_a_prefix_of_a_large_order_is_spread_like_a_sample() -> None:
    """In one order, the first n rows fall evenly into 256 parts, and neighbours do not follow one another."""
    size = 1_000_000
    rows = Seeded(size).rows(np.arange(100_000))
    for count in (2_560, 10_000, 100_000):
        found = np.bincount(rows[:count] * 256 // size, minlength=256)
        expected = count / 256
        assert abs(excess(float(((found - expected) ** 2 / expected).sum()), 255)) < 4, count
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 4 / sqrt(len(rows))


def test_sizes_and_seeds_give_unrelated_orders() -> None:
    for size in (1000, 100_000):
        first = Seeded(size).rows(np.arange(500))
        for other in (Seeded(size, 1), Seeded(size + 1), Seeded(size, 2**63)):
            assert (first == other.rows(np.arange(500))).sum() < 8


def test_natural_and_declared_orders_differ_in_what_they_claim() -> None:
    asked = np.array([4, 0, 2])
    for order in (Natural(5), Natural(5, "declared-shuffled")):
        assert order.rows(asked).tolist() == order.positions(asked).tolist() == [4, 0, 2]
    specs = [make_order(name, 5, 2).spec() for name in ("seeded", "natural", "declared-shuffled")]
    assert specs == [{"kind": "seeded", "version": 1, "seed": 2}, {"kind": "natural"}, {"kind": "declared-shuffled"}]


@pytest.mark.parametrize("order", [Natural(5), Seeded(5), Seeded(100_000)])
def test_positions_outside_are_refused(order: Seeded | Natural) -> None:
    for wrong in ([-1], [0, order.size]):
        with pytest.raises(DataError, match=f"outside this order of {order.size}"):
            order.rows(np.array(wrong))
        with pytest.raises(DataError, match="row"):
            order.positions(np.array(wrong))
    with pytest.raises(DataError, match="integers"):
        order.rows(np.array([0.5]))


def test_impossible_orders_are_refused() -> None:
    for size, seed in ((-1, 0), (2**62 + 1, 0), (5, -1), (5, 2**64)):
        with pytest.raises(UsageError):
            Seeded(size, seed)
    with pytest.raises(UsageError, match="shuffled"):
        make_order("random", 5)
