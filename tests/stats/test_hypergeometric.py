"""The bound on unseen rows: SciPy's hypergeometric distribution and fractions are the judges."""

from fractions import Fraction
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import UsageError
from milepost.stats.hypergeometric import CONFIDENCE, most_unseen

scipy_stats = pytest.importorskip("scipy.stats")


@given(st.integers(1, 20_000), st.floats(0, 1))
def test_it_is_the_largest_number_of_rows_that_a_sample_may_well_miss(size: int, share: float) -> None:
    drawn = max(1, round(share * size))
    bound = most_unseen(size, drawn)
    missing = [scipy_stats.hypergeom(size, marked, drawn).pmf(0) for marked in (bound, bound + 1) if marked <= size]
    assert missing[0] > (1 - CONFIDENCE) * (1 - 1e-9)
    assert len(missing) == 1 or missing[1] <= (1 - CONFIDENCE) * (1 + 1e-9)


@given(st.integers(1, 120), st.integers(1, 120))
def test_it_is_exact(size: int, drawn: int) -> None:
    drawn = min(size, drawn)

    def missed(marked: int) -> Fraction:
        return prod((Fraction(size - drawn - done, size - done) for done in range(marked)), start=Fraction(1))

    assert most_unseen(size, drawn) == max(marked for marked in range(size + 1) if missed(marked) > Fraction(1, 20))


def test_worked_numbers() -> None:
    # 0.25 % of 10,000 rows: 1,024 miss all 25 in 6.69 % of samples, so that the bound must cover them.
    assert scipy_stats.hypergeom(10_000, 25, 1_024).pmf(0) == pytest.approx(0.0669, abs=1e-4)
    assert most_unseen(10_000, 1_024) == 27
    assert most_unseen(1_000_000_000, 1_024) / 1e9 == pytest.approx(1 - 0.05 ** (1 / 1_024), rel=1e-4)
    assert most_unseen(7, 7) == 0
    for drawn in (0, 8):
        with pytest.raises(UsageError, match="expected from 1 to 7"):
            most_unseen(7, drawn)
