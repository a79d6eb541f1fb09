"""The order of grouped rows: golden numbers, a plain reference, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.data._grouped_order import Runs, grouped
from milepost.data._order import Natural, Seeded
from milepost.errors import DataError, UsageError

GROUPS = st.one_of(
    st.lists(st.integers(-3, 12), min_size=1, max_size=60).map(np.array),
    st.lists(st.sampled_from(["", "a", "p1", "p10", "p\u00e9"]), min_size=1, max_size=60).map(np.array),
)


def test_the_order_is_golden() -> None:
    """The groups come as the golden vector of `Seeded(10, 0)` has them; a change of a digit loses every stored part."""
    groups = np.arange(23) % 10 * 100
    expected = [1, 11, 21, 0, 10, 20, 2, 12, 22, 8, 18, 9, 19, 5, 15, 4, 14, 6, 16, 7, 17, 3, 13]
    order = grouped("seeded", groups)
    assert order.rows(np.arange(23)).tolist() == expected
    assert order.spec() == {"kind": "seeded", "version": 1, "seed": 0, "groups": 10}
    assert order.assignment == "380ec451f7c9e51b5f5dcabd8f88225d"
    assert order.rows(np.array([3])).dtype == order.positions(np.array([3])).dtype == np.int64


@given(GROUPS, st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_groups_are_permuted_and_their_rows_are_not(groups: np.ndarray, seed: int) -> None:
    listed = groups.tolist()
    first = list(dict.fromkeys(listed))
    expected = [
        row
        for place in Seeded(len(first), seed).rows(np.arange(len(first))).tolist()
        for row, group in enumerate(listed)
        if group == first[place]
    ]
    order = grouped("seeded", groups, seed)
    every = np.arange(len(listed))
    assert order.rows(every).tolist() == expected
    assert order.positions(order.rows(every)).tolist() == every.tolist()
    assert order.rows(order.positions(every[::-1])).tolist() == every[::-1].tolist()
    assert order.spec()["groups"] == len(first)


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_rows_that_stand_together_stay_where_they_are(groups: np.ndarray) -> None:
    together = np.sort(groups)
    every = np.arange(len(groups))
    for name in ("natural", "declared-shuffled"):
        order = grouped(name, together)
        assert order.rows(every).tolist() == order.positions(every).tolist() == every.tolist()
        assert order.spec() == {"kind": name, "groups": len(set(groups.tolist()))}


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_which_rows_belong_together_counts_and_not_what_they_are_called(groups: np.ndarray) -> None:
    names = {value: number * 7 - 3 for number, value in enumerate(sorted(set(groups.tolist()), reverse=True))}
    renamed = np.array([names[value] for value in groups.tolist()])
    before, after = grouped("seeded", groups), grouped("seeded", renamed)
    assert before.assignment == after.assignment
    every = np.arange(len(groups))
    assert before.rows(every).tolist() == after.rows(every).tolist()
    moved = np.array([*groups.tolist()[:-1], "a group of its own" if groups.dtype.kind == "U" else 99])
    if groups.tolist().count(groups.tolist()[-1]) > 1:
        assert grouped("seeded", moved).assignment != before.assignment


def test_groups_of_one_row_each_are_permuted_as_rows_are() -> None:
    every = np.arange(1000)
    assert grouped("seeded", every[::-1] * 3, 5).rows(every).tolist() == Seeded(1000, 5).rows(every).tolist()
    assert grouped("natural", every).rows(every).tolist() == Natural(1000).rows(every).tolist()


def test_a_group_that_comes_back_is_named_with_both_places() -> None:
    groups = np.array(["p3"] * 10 + ["p17"] * 3 + ["p4"] * 27 + ["p17"])
    with pytest.raises(
        DataError, match=r"groups: 'p17' comes back at row 40 after it ended at row 12; .*sort the data"
    ):
        grouped("natural", groups)
    numbers = np.arange(41) * 2 + 1
    with pytest.raises(DataError, match=r"'p17' comes back at row 81 after it ended at row 25"):
        grouped("declared-shuffled", groups, 0, numbers)


def test_a_group_that_comes_back_is_noticed_however_the_pass_is_cut() -> None:
    groups = np.array([4, 4, 1, 1, 1, 2, 1])
    for size in range(1, 8):
        runs = Runs("advice")
        last = 6 // size * size
        for start in range(0, last, size):
            runs.see(groups[start : start + size], range(start, start + size))
        with pytest.raises(DataError, match="groups: 1 comes back at row 6 after it ended at row 4; advice"):
            runs.see(groups[last:], range(last, 7))


@pytest.mark.parametrize(("numbers", "words"), [([5], "row 5 is outside"), ([-1], "-1"), ([0.5], "integers")])
def test_numbers_outside_the_order_are_refused(numbers: Any, words: str) -> None:
    order = grouped("seeded", np.array([1, 1, 2, 2, 1]))
    with pytest.raises(DataError, match=words):
        order.positions(np.array(numbers))
    with pytest.raises(DataError):
        order.rows(np.array(numbers))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UsageError, match="declared-shuffled"):
        grouped("shuffled", np.array([1]))
