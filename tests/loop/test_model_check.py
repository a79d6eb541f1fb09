"""The model check: what is refused, what is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

from milepost.core.types import Array
from milepost.errors import StochasticModel
from milepost.loop.model_check import TOLERANCE, check_model, rounding_step, slice_rows

INPUTS = np.arange(20.0).reshape(10, 2)


def linear(inputs: Array) -> Array:
    return np.asarray(inputs @ np.array([[1.0, -1.0, 0.5], [0.25, 2.0, 0.0]]))


SPREAD = float(np.ptp(linear(INPUTS)))


def shifted(by: float, when: Callable[[Array], bool] = lambda inputs: True) -> Callable[[Array], Array]:
    """Return a model whose later predictions differ by a constant in one score."""

    def predict(inputs: Array) -> Array:
        scores = linear(inputs)
        if when(inputs):
            scores[-1, 0] += by
        return scores

    return predict


def test_a_function_has_no_difference() -> None:
    found = check_model(linear(INPUTS), linear, INPUTS)
    assert (found.rows, found.spread, found.repeat, found.halves, found.max_difference) == (10, SPREAD, 0.0, 0.0, 0.0)
    assert not found.constant


def test_rounding_is_measured() -> None:
    found = check_model(linear(INPUTS), shifted(1e-6, lambda inputs: len(inputs) < 10), INPUTS)
    assert found.plain() == {
        "max_difference": pytest.approx(1e-6),
        "spread": SPREAD,
        "repeat": 0.0,
        "halves": found.max_difference,
        "rows": 10,
        "constant": False,
    }


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_thousandth_of_the_spread_is_the_limit(share: float) -> None:
    by = share * TOLERANCE * SPREAD
    models = (shifted(by), "two predictions of the same 10 rows"), (shifted(by, lambda x: len(x) < 10), "halves")
    for predict, words in models:
        if share < 1.0:
            assert check_model(linear(INPUTS), predict, INPUTS).max_difference == pytest.approx(by)
        else:
            with pytest.raises(StochasticModel, match=words):
                check_model(linear(INPUTS), predict, INPUTS)


def test_dropout_is_named() -> None:
    random = np.random.default_rng(0)

    def dropout(inputs: Array) -> Array:
        return linear(inputs * (random.random(inputs.shape) < 0.8))

    with pytest.raises(StochasticModel, match="dropout"):
        check_model(dropout(INPUTS), dropout, INPUTS)


def test_batch_normalisation_in_training_mode_is_named() -> None:
    def normalised(inputs: Array) -> Array:
        return linear((inputs - inputs.mean(axis=0)) / inputs.std(axis=0))

    with pytest.raises(StochasticModel, match="batch normalisation"):
        check_model(normalised(INPUTS), normalised, INPUTS)
    assert check_model(normalised(INPUTS), normalised, INPUTS, halves=False).halves is None


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_the_same_nonfinite_scores_twice_are_equal(odd: float) -> None:
    first = linear(INPUTS)
    first[3, 1] = odd

    def again(inputs: Array) -> Array:
        scores = linear(inputs)
        scores[(inputs == INPUTS[3]).all(axis=1), 1] = odd
        return scores

    assert check_model(first, again, INPUTS).max_difference == 0.0
    with pytest.raises(StochasticModel, match="differ by inf"):
        check_model(first, linear, INPUTS)


def test_a_changing_sign_of_infinity_is_a_difference() -> None:
    with pytest.raises(StochasticModel, match="differ by inf"):
        check_model(np.full((2, 2), np.inf), lambda inputs: np.full((len(inputs), 2), -np.inf), INPUTS[:2])


def test_another_shape_is_a_difference() -> None:
    with pytest.raises(StochasticModel, match="halves"):
        check_model(linear(INPUTS), lambda inputs: linear(inputs) if len(inputs) == 10 else linear(INPUTS), INPUTS)


def test_a_constant_predictor_is_noted_and_must_be_constant() -> None:
    def constant(inputs: Array) -> Array:
        return np.tile([1.0, 2.0], (len(inputs), 1))

    assert check_model(constant(INPUTS), constant, INPUTS).constant
    assert not check_model(constant(INPUTS)[:1], constant, INPUTS[:1]).constant
    with pytest.raises(StochasticModel, match="two predictions"):
        check_model(np.ones((4, 2)), lambda inputs: np.ones((len(inputs), 2)) + 1e-9, INPUTS[:4])


def test_one_row_has_no_halves() -> None:
    sizes: list[int] = []

    def counted(inputs: Array) -> Array:
        sizes.append(len(inputs))
        return linear(inputs)

    assert check_model(linear(INPUTS[:1]), counted, INPUTS[:1]).halves is None
    check_model(linear(INPUTS[:7]), counted, INPUTS[:7])
    assert sizes == [1, 7, 3, 4]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (INPUTS, INPUTS[2:5]),
        ({"x": INPUTS, "y": np.arange(10)}, {"x": INPUTS[2:5], "y": np.arange(2, 5)}),
        ([*range(9)], [2, 3, 4]),
    ],
)
def test_rows_of_inputs(inputs: Any, expected: Any) -> None:
    np.testing.assert_equal(slice_rows(inputs, 2, 5), expected)


def test_a_model_of_few_bits_may_differ_by_its_rounding_steps_in_halves_but_not_on_repetition() -> None:
    scores = np.linspace(-100, 100, 400).reshape(40, 10)

    def shaken(inputs: Any, by: float = 1.0) -> Array:
        return np.asarray(scores[inputs] + (by if len(inputs) < 40 else 0.0))

    rows = np.arange(40)
    with pytest.raises(StochasticModel, match=r"expected at most 0\.2\)"):
        check_model(scores, shaken, rows)
    assert check_model(scores, shaken, rows, step=rounding_step(scores.astype(bfloat16), {})).halves == 1.0
    with pytest.raises(StochasticModel, match=r"expected at most 1\.56\)"):
        check_model(scores, lambda inputs: shaken(inputs, 2.0), rows, step=2.0**-8)
    with pytest.raises(StochasticModel, match="two predictions of the same 40 rows"):
        check_model(scores, lambda inputs: scores[inputs] + 1.0, rows, step=2.0**-8)
