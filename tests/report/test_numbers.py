"""Numbers as text: digits by n, and no rounding that claims more than the number says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.report import _numbers


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.9859, 4, "0.9859"),
        (299 / 360, 6, "0.830556"),
        (0.99996, 4, "0.99996"),
        (0.999999999, 3, "0.999999999"),
        (1.0, 4, "1.0000"),
        (0.0, 3, "0.000"),
        (0.00004, 3, "0.00004"),
        (-0.00004, 3, "-0.00004"),
        (1.00004, 4, "1.00004"),
        (1e-20, 4, "1.0e-20"),
        (1 - 2**-53, 4, "0.9999999999999999"),
        (2.302585, 3, "2.303"),
        (123456789.0, 3, "1.23457e+08"),
        (math.inf, 3, "inf"),
        (-math.inf, 3, "-inf"),
        (math.nan, 3, "undefined"),
        (None, 3, "undefined"),
        (1, 3, "1.000"),
    ],
)
def test_golden(value: float | None, places: int, text: str) -> None:
    assert _numbers.number(value, places) == text


@given(st.floats(-1e6, 1e6), st.integers(3, 6))
def test_only_a_whole_number_prints_as_zero_or_one(value: float, places: int) -> None:
    shown = float(_numbers.number(value, places))
    assert shown == value or shown not in (-1.0, 0.0, 1.0)
    assert shown == pytest.approx(value, abs=10.0**-places, rel=0.06)


@given(st.integers(1, 10**6))
def test_the_digits_keep_neighbouring_counts_apart(n: int) -> None:
    places = _numbers.decimals(n)
    assert 10.0**-places <= max(1 / n, 1e-3)
    assert 3 <= places <= 6


def test_fractions_only_of_whole_numbers() -> None:
    assert _numbers.share(299, 360) == "299/360"
    assert _numbers.share(299.0, 360.0) == "299/360"
    assert _numbers.share(298.5, 360) == ""
    assert _numbers.share(None, None) == ""


def test_sizes_and_durations() -> None:
    assert [_numbers.size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
    ]
    assert [_numbers.duration(s) for s in (0.5, 59.4, 60, 3599, 7200, None)] == [
        "500 ms",
        "59.4 s",
        "1 min 0 s",
        "59 min 59 s",
        "2 h 0 min",
        "unknown",
    ]
