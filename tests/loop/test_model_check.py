"""The model check: what is refused, what is measured, and what proves nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

from milepost.core.types import Array
from milepost.errors import StochasticModel
from milepost.loop.model_check import (
    REPEAT_STEPS,
    TOLERANCE,
    ModelCheck,
    Predicted,
    full_check,
    light_check,
    rounding_step,
    slice_rows,
)
from milepost.loop.rounding import FLOAT32_STEP

INPUTS = np.arange(20.0).reshape(10, 2)
MANY = np.random.default_rng(0).normal(size=(256, 2))
BOTH = pytest.mark.parametrize("check", [full_check, light_check])
Check = Callable[[Predicted], ModelCheck]


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


def given(predict: Callable[[Any], Array], inputs: Any = INPUTS, **more: Any) -> Predicted:
    """Return what there is to check of a model whose first prediction was that of the linear one."""
    return Predicted(linear(inputs), predict, inputs, **more)


def test_a_function_has_no_difference() -> None:
    found = full_check(given(linear))
    assert (found.rows, found.spread, found.repeat, found.company, found.relative) == (10, SPREAD, 0.0, 0.0, 0.0)
    assert not found.constant
    assert found.proves


def test_rounding_is_measured_in_scores_and_in_each_rows_scale() -> None:
    found = full_check(given(shifted(1e-6, lambda inputs: len(inputs) == 5)))
    # The last rows of both halves differ: of INPUTS[4] and INPUTS[9], whose largest scores are 10 and 20.
    assert found.plain() == {
        "kind": "full",
        "rows": 10,
        "spread": SPREAD,
        "variation": float(np.ptp(linear(INPUTS)[:, 0])),
        "repeat": 0.0,
        "company": pytest.approx(1e-6),
        "relative": pytest.approx(1e-6 / np.abs(linear(INPUTS)[4]).max()),
        "max_difference": found.company,
        "resized": 10,
        "constant": False,
        "proves": True,
    }


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_in_halves_a_thousandth_of_the_spread_is_the_limit(share: float) -> None:
    by = share * TOLERANCE * SPREAD
    predict = shifted(by, lambda inputs: len(inputs) < 10)
    if share < 1.0:
        assert full_check(given(predict)).max_difference == pytest.approx(by)
    else:
        with pytest.raises(StochasticModel, match="halves"):
            full_check(given(predict))


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_of_the_same_batch_64_rounding_steps_of_the_rows_own_scale_are_the_limit(share: float) -> None:
    last = np.abs(linear(INPUTS)[-1]).max()
    by = share * REPEAT_STEPS * FLOAT32_STEP * last
    if share < 1.0:
        assert full_check(given(shifted(by))).repeat == pytest.approx(by)
    else:
        with pytest.raises(StochasticModel, match="two predictions of the same 10 rows"):
            full_check(given(shifted(by)))


def test_37_steps_of_a_scatter_add_pass_and_noise_of_1e_4_does_not() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(256, 10)).astype(np.float32).astype(float)
    scales = np.abs(scores).max(axis=1, keepdims=True)

    def honest(rows: Array) -> Array:
        return np.asarray(scores[rows] + random.uniform(-18.5, 18.5, (len(rows), 10)) * FLOAT32_STEP * scales[rows])

    def noisy(rows: Array) -> Array:
        return scores[rows] + 1e-4 * random.normal(size=(len(rows), 10))

    rows = np.arange(256)
    assert full_check(Predicted(honest(rows), honest, rows)).relative <= 37 * FLOAT32_STEP
    with pytest.raises(StochasticModel, match="two predictions of the same 256 rows differ by"):
        full_check(Predicted(noisy(rows), noisy, rows))


@BOTH
def test_dropout_is_named(check: Check) -> None:
    random = np.random.default_rng(0)

    def dropout(inputs: Array) -> Array:
        return linear(inputs * (random.random(inputs.shape) < 0.8))

    with pytest.raises(StochasticModel, match="dropout"):
        check(Predicted(dropout(MANY), dropout, MANY))


def normalised(inputs: Array) -> Array:
    return linear((inputs - inputs.mean(axis=0)) / inputs.std(axis=0))


@BOTH
@pytest.mark.parametrize("one_size", [False, True])
def test_batch_normalisation_in_training_mode_is_named(check: Check, one_size: bool) -> None:
    sizes: list[int] = []

    def counted(inputs: Array) -> Array:
        sizes.append(len(inputs))
        return normalised(inputs)

    with pytest.raises(StochasticModel, match="batch normalisation"):
        check(Predicted(normalised(MANY), counted, MANY, one_size=one_size))
    assert (set(sizes) == {256}) is one_size


def test_rows_that_cannot_be_picked_are_only_predicted_twice_where_the_size_is_fixed() -> None:
    class Rows(list[Any]):
        """A batch of the framework's own."""

    batch = Rows(MANY)
    found = full_check(Predicted(normalised(MANY), lambda rows: normalised(np.array(rows)), batch, one_size=True))
    assert (found.repeat, found.company) == (0.0, None)
    light = light_check(Predicted(normalised(MANY), lambda rows: normalised(np.array(rows)), batch, one_size=True))
    assert (light.rows, light.company) == (256, 0.0)


@pytest.mark.parametrize(
    ("rows", "size", "compared"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (7, 2, 2), (96, 6, 6), (256, 16, 16), (9999, 32, 32)],
)
def test_a_light_check_predicts_32_rows_or_a_sixteenth_of_a_batch(rows: int, size: int, compared: int) -> None:
    sizes: list[int] = []

    def counted(inputs: Array) -> Array:
        sizes.append(len(inputs))
        return linear(inputs)

    found = light_check(given(counted, np.random.default_rng(0).normal(size=(rows, 2))))
    assert (sizes, found.kind, found.rows) == ([size], "light", compared)


def test_a_light_check_judges_rows_beside_their_own_first_prediction() -> None:
    found = light_check(given(shifted(1e-6), MANY))
    assert found.company == pytest.approx(1e-6)
    assert found.relative == pytest.approx(1e-6 / np.abs(linear(MANY)[-1]).max(), rel=1e-6)
    with pytest.raises(StochasticModel, match=r"16 rows differ by 0\.1 where they are predicted again, beside other"):
        light_check(given(shifted(0.1), MANY))


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_light_check_allows_four_thousandths_of_the_spread(share: float) -> None:
    by = share * 4 * TOLERANCE * float(np.ptp(linear(MANY)))
    if share < 1.0:
        assert light_check(given(shifted(by), MANY)).company == pytest.approx(by)
    else:
        with pytest.raises(StochasticModel, match="16 rows differ by"):
            light_check(given(shifted(by), MANY))


@BOTH
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_the_same_nonfinite_scores_twice_are_equal(check: Check, odd: float) -> None:
    first = linear(INPUTS)
    first[9, 1] = odd

    def again(inputs: Array) -> Array:
        scores = linear(inputs)
        scores[(inputs == INPUTS[9]).all(axis=1), 1] = odd
        return scores

    assert check(Predicted(first, again, INPUTS)).max_difference == 0.0
    with pytest.raises(StochasticModel, match="differ by inf"):
        check(Predicted(first, linear, INPUTS))


def test_a_changing_sign_of_infinity_is_a_difference() -> None:
    with pytest.raises(StochasticModel, match="differ by inf"):
        full_check(Predicted(np.full((2, 2), np.inf), lambda inputs: np.full((len(inputs), 2), -np.inf), INPUTS[:2]))


def test_another_shape_is_a_difference() -> None:
    with pytest.raises(StochasticModel, match="halves"):
        full_check(given(lambda inputs: linear(inputs) if len(inputs) == 10 else linear(INPUTS)))
    with pytest.raises(StochasticModel, match="2 rows differ by inf"):
        light_check(given(lambda inputs: linear(INPUTS)))


def constant(inputs: Array) -> Array:
    return np.tile([1.0, 2.0], (len(inputs), 1))


@BOTH
def test_a_constant_predictor_is_noted_proves_nothing_and_must_be_constant(check: Check) -> None:
    found = check(Predicted(constant(INPUTS), constant, INPUTS))
    assert found.constant
    assert not found.proves
    assert not check(Predicted(constant(INPUTS)[:1], constant, INPUTS[:1])).constant
    with pytest.raises(StochasticModel, match=r"two predictions|predicted again"):
        check(Predicted(np.ones((4, 2)), lambda inputs: np.ones((len(inputs), 2)) + 1e-4, INPUTS[:4]))


@pytest.mark.parametrize(("varying", "proves"), [(0.0, False), (1e-6, False), (1e-3, False), (0.1, True), (1.0, True)])
def test_scores_that_hardly_vary_between_rows_prove_nothing(varying: float, proves: bool) -> None:
    def biased(inputs: Array) -> Array:
        return np.asarray(varying * linear(inputs) / SPREAD + np.array([4.0, 5.0, 4.5]))

    assert full_check(Predicted(biased(INPUTS), biased, INPUTS)).proves is proves


def test_a_model_of_nothing_but_nan_proves_nothing() -> None:
    def nothing(inputs: Array) -> Array:
        return np.full((len(inputs), 3), np.nan)

    found = full_check(Predicted(nothing(INPUTS), nothing, INPUTS))
    assert (found.spread, found.variation, found.relative, found.proves) == (0.0, 0.0, 0.0, False)


def test_one_row_has_no_halves_and_proves_nothing() -> None:
    sizes: list[int] = []

    def counted(inputs: Array) -> Array:
        sizes.append(len(inputs))
        return linear(inputs)

    found = full_check(given(counted, INPUTS[:1]))
    assert (found.company, found.proves) == (None, False)
    full_check(given(counted, INPUTS[:7]))
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
        full_check(Predicted(scores, shaken, rows))
    step = rounding_step(scores.astype(bfloat16), {})
    assert full_check(Predicted(scores, shaken, rows, step=step)).company == 1.0
    with pytest.raises(StochasticModel, match=r"expected at most 1\.56\)"):
        full_check(Predicted(scores, lambda inputs: shaken(inputs, 2.0), rows, step=2.0**-8))
    with pytest.raises(StochasticModel, match="two predictions of the same 40 rows"):
        full_check(Predicted(scores, lambda inputs: scores[inputs] + 1.0, rows, step=2.0**-8))


def test_the_last_bit_of_a_model_of_few_bits_may_turn_over_on_repetition() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 10)).astype(bfloat16)
    turned = np.nextafter(scores, bfloat16(np.inf)).astype(float)
    given_ = Predicted(scores.astype(float), lambda rows: turned[rows], np.arange(40), step=rounding_step(scores, {}))
    assert 0 < full_check(given_).relative <= 2.0**-7
