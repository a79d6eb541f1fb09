"""Adding vectors merges states, for any floats and any order."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from milepost.compat.slim._packed import PackedLayout
from milepost.metrics._states import ExactSums, Tally

numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12)


def state(values: list[float], cells: int = 3) -> Tally:
    places = np.arange(len(values)) % cells
    sums = ExactSums.of(np.array(values, np.float64), places, (cells,))
    return Tally({"n": np.bincount(places, minlength=cells).astype(np.int64)}, {"sum": sums}, grows=True)


@given(numbers, numbers, st.integers(1, 2**30))
def test_the_sum_of_vectors_is_the_merged_state(left: list[float], right: list[float], times: int) -> None:
    layout = PackedLayout.of(state([]), 3)
    merged = layout.unpack(layout.pack(state(left)) + layout.pack(state(right)))
    assert merged.to_bytes() == state(left).merge(state(right)).to_bytes()
    # As after so many updates without a carry.
    found = layout.unpack(layout.pack(state(left)) * times)
    for cell in range(3):
        addends = left[cell::3]
        if all(map(math.isfinite, addends)):
            exact = sum(map(Fraction, addends), Fraction(0)) * times
            assert Fraction(int(found.sums["sum"].units[cell]), 2**1074) == exact


@given(numbers)
def test_smaller_states_are_padded(values: list[float]) -> None:
    layout = PackedLayout.of(state([]), 5)
    assert layout.size == len(layout.pack(state(values)))
    padded = layout.unpack(layout.pack(state(values)))
    assert padded.sums["sum"].units.shape == (5,)
    assert padded.sums["sum"].units[:3].tolist() == state(values).sums["sum"].units.tolist()
