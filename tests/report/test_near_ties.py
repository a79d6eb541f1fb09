"""How many rows rounding could move: counted from kept columns, and worded with what was measured."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import milepost.report.near_ties
from milepost.core.types import Array
from milepost.report._model_check import NearTies, model_check_text, rounding_text
from milepost.report.near_ties import near_ties
from milepost.tasks.classification import Classification

CHECK = {"kind": "full", "rows": 64, "repeat": 0.0, "company": 0.0, "spread": 8.0, "relative": 1e-6, "measured": 32}


class Kept:
    """Columns and environments as a store gives them."""

    def __init__(self, columns: dict[str, Array], *checks: Any) -> None:
        self.columns = {name: np.asarray(column, np.float32) for name, column in columns.items()}
        self.names = list(columns)
        self.coverage = [(0, len(next(iter(self.columns.values()))))]
        self.checks = checks

    def slice(self, name: str, start: int, stop: int) -> Array:
        return self.columns[name][start:stop]

    def environments(self) -> list[dict[str, Any]]:
        return [{"model_check": check} for check in self.checks]


def ties_of(columns: dict[str, Any], *checks: Any) -> NearTies | None:
    kept: Any = Kept(columns, *(checks or (CHECK,)))
    return near_ties(kept)


def test_a_row_is_near_where_its_margin_is_below_twice_its_own_scale() -> None:
    margins = [1e-6, 1.9e-6, 2.1e-6, 1.9e-3, 0, 0, np.inf, np.nan]
    scales = [1, 1, 1, 1000, 1, 0, 1, np.nan]
    assert ties_of({"margin": margins, "scale": scales}) == NearTies(near=4, rows=8, relative=1e-6, measured=32)


def test_the_largest_difference_of_several_checks_counts() -> None:
    found = ties_of({"margin": [1e-5], "scale": [1]}, CHECK, {**CHECK, "relative": 1e-5, "measured": 4})
    assert found == NearTies(near=1, rows=1, relative=1e-5, measured=32)


def test_rows_are_counted_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milepost.report.near_ties, "CHUNK", 3)
    assert ties_of({"margin": [0] * 10, "scale": [1] * 10}) == NearTies(near=10, rows=10, relative=1e-6, measured=32)


@pytest.mark.parametrize(
    ("columns", "check"),
    [
        ({"margin": [0.0]}, CHECK),
        ({"rank": [0]}, CHECK),
        ({"margin": [0.0], "scale": [1.0]}, None),
        ({"margin": [0.0], "scale": [1.0]}, {"rows": 64, "repeat": 0.0, "halves": 0.0, "spread": 8.0}),
    ],
)
def test_what_is_not_known_is_not_counted(columns: dict[str, Any], check: Any) -> None:
    assert ties_of(columns, check) is None


@given(
    arrays(np.float32, (20, 4), elements=st.floats(-8, 8, width=16)),
    st.sampled_from([1e-6, 1e-3, 1e-2]),
    st.integers(0, 2**32 - 1),
)
def test_no_other_row_can_move_while_rounding_stays_below(scores: Array, relative: float, seed: int) -> None:
    random, task = np.random.default_rng(seed), Classification(outputs="logits")
    wanted = frozenset({"prediction", "margin", "scale"})
    before = task.reduce(scores, np.zeros(20, np.int64), wanted)
    # In exact arithmetic, by 0.999 of what is allowed: the columns are rounded to float32.
    share = Fraction(relative) * Fraction(999, 1000)
    signs = random.choice([-1, 1], scores.shape)
    moved = [
        [
            Fraction(float(item)) + share * Fraction(float(scale)) * int(sign)
            for item, sign in zip(row, own, strict=True)
        ]
        for row, own, scale in zip(scores, signs, before["scale"], strict=True)
    ]
    after = np.array([row.index(max(row)) for row in moved])
    near = before["margin"] < 2 * relative * before["scale"].astype(float)
    tied = before["margin"] == 0  # a scale of 0 moves nothing
    assert not ((after != before["prediction"]) & ~near & ~tied).any()


def test_the_number_stands_with_what_it_rests_on() -> None:
    assert rounding_text(NearTies(near=3, rows=10_000, relative=1.234e-7, measured=64), "top1") == (
        "top1 could move by at most 3 of 10,000 rows if rounding stays below 1.2e-07 of a row's largest score "
        "(measured on 64 rows, never guaranteed)"
    )
    assert rounding_text(NearTies(near=0, rows=9, relative=0.0, measured=0), "predictions") == (
        "not measured: the model check had batches of one size only, or rows whose scores hardly vary"
    )


def test_a_check_in_words() -> None:
    halves = "64 rows predicted twice differ by 0, in halves by 0; the scores span 8"
    assert model_check_text(CHECK) == halves
    assert model_check_text({**CHECK, "constant": True, "proves": False}) == (
        f"{halves}; every row has the same scores, which proves nothing"
    )
    assert model_check_text({**CHECK, "constant": False, "proves": False}) == (
        f"{halves}; they hardly vary from row to row, which proves nothing"
    )
    assert model_check_text({**CHECK, "rows": 1, "company": None, "proves": False}) == (
        "1 row predicted twice differ by 0, halves were not tried; the scores span 8"
    )
