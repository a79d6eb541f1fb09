"""Tables of ties, NaN and infinities; what is refused, and with which words."""

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from milepost.core.specs import spec_of
from milepost.core.types import Array
from milepost.errors import DataError
from milepost.metrics import CrossEntropy
from milepost.tasks import Classification

NONFINITE = 2**31 - 1
LOGITS = Classification(outputs="logits")
SHARES = Classification(outputs="probabilities")
DIVIDED = Classification(outputs="probabilities", normalize=True)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def reduced(scores: Any, labels: Any, task: Classification = LOGITS) -> dict[str, Array]:
    return task.reduce(np.asarray(scores), np.asarray(labels), frozenset(task.columns()))


@pytest.mark.parametrize(
    ("scores", "label", "rank", "above", "ties", "prediction"),
    [
        ([3.0, 2.0, 1.0], 0, 0, 0, 0, 0),
        ([3.0, 2.0, 1.0], 2, 2, 2, 0, 0),
        ([1.0, 1.0, 1.0], 0, 0, 0, 2, 0),
        ([1.0, 1.0, 1.0], 2, 2, 0, 2, 0),
        ([1.0, 3.0, 3.0], 1, 0, 0, 1, 1),
        ([1.0, 3.0, 3.0], 2, 1, 0, 1, 1),
        ([3.0, 1.0, 3.0], 1, 2, 2, 0, 0),
        ([0.0, -0.0, -1.0], 1, 1, 0, 1, 0),
        ([-np.inf, -np.inf, 0.0], 1, 2, 1, 1, 2),
    ],
)
def test_rank_and_ties(scores: list[float], label: int, rank: int, above: int, ties: int, prediction: int) -> None:
    found = reduced([scores], [label])
    assert [found[name].item() for name in ("rank", "above", "ties", "prediction")] == [rank, above, ties, prediction]


def test_of_a_dict_of_outputs_the_one_of_the_declared_name_is_taken() -> None:
    scores = np.array([[1.0, 3.0], [4.0, 2.0]])
    named = {"features": np.zeros((2, 9)), "logits": scores}
    labels = np.array([1, 0])
    wanted = frozenset({"rank"})
    assert LOGITS.reduce(named, labels, wanted)["rank"].tolist() == [0, 0]
    assert np.array_equal(LOGITS.scores(named), scores)
    held = LOGITS.hold(named, labels)
    assert held is not None
    assert np.array_equal(held, scores)
    with pytest.raises(
        DataError, match=r"expects an output named 'probabilities'; the model returned 'features', 'logits'"
    ):
        SHARES.reduce(named, labels, wanted)


@pytest.mark.parametrize(
    "scores", [[np.nan, 1, 0], [0, np.nan, 1], [0, 1, np.inf], [np.inf] * 3, [-np.inf] * 3, [np.nan] * 3]
)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_nonfinite_rows(scores: list[float], label: int) -> None:
    found = reduced([scores, [0.0, 1.0, 2.0]], [label, 2])
    assert [found[name][0] for name in ("rank", "above", "ties", "prediction", "finite")] == [
        NONFINITE,
        NONFINITE,
        0,
        -1,
        0,
    ]
    assert all(np.isnan(found[name][0]) for name in ("nll", "confidence", "squared_error"))
    assert [found[name][1] for name in ("rank", "prediction", "finite")] == [0, 2, 1]


def test_minus_infinity_masks_a_class() -> None:
    found = reduced([[0.0, -np.inf, 0.0], [0.0, -np.inf, 0.0]], [0, 1])
    assert found["finite"].tolist() == [2, 2]
    assert found["rank"].tolist() == [0, 2]
    np.testing.assert_allclose(found["nll"], [math.log(2), np.inf], rtol=1e-7)
    np.testing.assert_allclose(found["confidence"], [0.5, 0.5])
    np.testing.assert_allclose(found["squared_error"], [0.5, 1.5])


@given(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6))
    )
)
def test_the_margin_is_what_a_partition_gives(scores: Array) -> None:
    before = scores.copy()
    labels = np.zeros(len(scores), np.int64)
    found = LOGITS.reduce(scores, labels, frozenset({"margin", "finite"}))
    assert np.array_equal(scores, before, equal_nan=True), "the model's own array was written to"
    usable = found["finite"] != 0
    assert np.isnan(found["margin"][~usable]).all()
    highest = np.partition(scores[usable].astype(np.float64), -2, axis=1)[:, -2:]
    with np.errstate(over="ignore"):
        apart = highest[:, 1] - highest[:, 0]
        expected = np.where(np.isfinite(highest[:, 0]), np.minimum(apart, FLOAT32_MAX), apart).astype(np.float32)
    assert np.array_equal(found["margin"][usable], expected)
    as_torch = LOGITS.reduce(torch.from_numpy(before), labels, frozenset({"margin"}))
    assert np.array_equal(as_torch["margin"], found["margin"], equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "margin"), [([3, 1, 3], 0), ([0, -np.inf], np.inf), ([0.5, 2, -np.inf], 1.5), ([np.nan, 1], np.nan)]
)
def test_margins_worked_out(scores: list[float], margin: float) -> None:
    for made in (np.array([scores]), torch.tensor([scores]).bfloat16(), np.array([scores], ml_dtypes.bfloat16)):
        found = LOGITS.reduce(made, np.array([0]), frozenset({"margin"}))["margin"]
        assert found.dtype == np.float32
        assert np.array_equal(found, [margin], equal_nan=True)


@given(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6))
    )
)
def test_the_scale_is_the_largest_finite_score(scores: Array) -> None:
    found = LOGITS.reduce(scores, np.zeros(len(scores), np.int64), frozenset({"scale", "finite"}))
    for row, made, finite in zip(scores.astype(np.float64), found["scale"], found["finite"], strict=True):
        expected = max((abs(float(item)) for item in row if np.isfinite(item)), default=0.0) if finite else np.nan
        with np.errstate(over="ignore"):
            assert np.array_equal(made, np.float32(expected), equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "scale"), [([3, 1, -4], 4), ([0, -np.inf], 0), ([-0.5, -np.inf, -2], 2), ([np.nan, 1], np.nan)]
)
def test_scales_worked_out(scores: list[float], scale: float) -> None:
    for made in (np.array([scores]), torch.tensor([scores]).bfloat16(), np.array([scores], ml_dtypes.bfloat16)):
        found = LOGITS.reduce(made, np.array([0]), frozenset({"scale"}))["scale"]
        assert found.dtype == np.float32
        assert np.array_equal(found, [scale], equal_nan=True)


def test_margins_of_many_classes_are_those_of_a_partition() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 300)).astype(np.float32)
    highest = np.partition(scores.astype(np.float64), -2, axis=1)[:, -2:]
    found = LOGITS.reduce(scores, np.zeros(50, np.int64), frozenset({"margin"}))["margin"]
    assert np.array_equal(found, (highest[:, 1] - highest[:, 0]).astype(np.float32))


@pytest.mark.parametrize("outputs", ["logits", "probabilities", "scores"])
def test_margin_and_scale_are_always_computed_and_change_no_key(outputs: Any) -> None:
    task = Classification(outputs=outputs)
    assert task.columns()["margin"].always
    assert task.columns()["scale"].always
    assert spec_of(task) == {"name": "classification", "version": 2, "outputs": outputs, "normalize": False}


def test_probabilities_of_logits_worked_out() -> None:
    found = reduced([[0.0, math.log(3.0)]], [0])
    np.testing.assert_allclose(
        [found[n].item() for n in ("nll", "confidence", "squared_error")], [math.log(4), 0.75, 1.125], rtol=1e-7
    )


def test_a_sure_and_right_row_keeps_its_small_loss() -> None:
    # 1 - 1/(1 + e**-30) is lost in float32; its logarithm is not.
    found = reduced(np.array([[30.0, 0.0]], np.float32), [0])
    assert found["nll"].item() == pytest.approx(math.log1p(math.exp(-30.0)), rel=0, abs=3e-16)


def test_many_small_exponentials_are_not_lost_beside_the_largest() -> None:
    scores = np.full((1, 2001), -17.0, np.float32)
    scores[0, 0] = 0.0
    assert reduced(scores, [0])["nll"].item() == pytest.approx(math.log1p(2000 * math.exp(-17.0)), rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_as_far_apart_as_the_dtype_allows(dtype: Any) -> None:
    most = np.finfo(dtype).max
    found = reduced(np.array([[most, -most], [most, -most], [-100.0, 100.0]], dtype), [0, 1, 0])
    assert found["nll"].tolist() == [0.0, FLOAT32_MAX, 200.0]
    assert found["confidence"].tolist() == [1.0, 1.0, 1.0]


def test_what_comes_of_finite_logits_is_finite() -> None:
    big = 3e38
    found = reduced(np.array([[big, -big, 0.0], [big, 0.0, -big], [big, -np.inf, 0.0]], np.float32), [1, 1, 1])
    assert found["finite"].tolist() == [1, 1, 2]
    assert found["nll"].tolist() == [FLOAT32_MAX, np.float32(big), np.inf]  # 6e38 is more than float32 holds
    np.testing.assert_allclose(found["uniform_nll"], [3e38, 3e38, np.inf], rtol=1e-6)  # (0 + 6e38 + 3e38) / 3
    assert found["margin"].tolist() == [np.float32(big)] * 3
    apart = reduced(np.array([[-big, big], [-np.inf, big]], np.float32), [0, 0])
    assert apart["margin"].tolist() == apart["nll"].tolist() == [FLOAT32_MAX, np.inf]
    assert CrossEntropy().values(CrossEntropy().state(reduced([[-1e308, 1e308]], [0]), None))["cross_entropy"].value


def test_large_logits_do_not_overflow() -> None:
    found = reduced(np.array([[1e4, 1e4 + 1]]), [0])
    assert found["nll"].item() == pytest.approx(math.log1p(math.e), rel=1e-6)


def test_integers_too_wide_for_float32_keep_their_order() -> None:
    found = reduced(np.array([[2**53, 2**53 + 1]]), [1])
    assert (found["rank"].tolist(), found["prediction"].tolist()) == ([0], [1])


def test_declared_probabilities_are_taken_as_they_are() -> None:
    found = reduced([[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]], [0, 0, 0], SHARES)
    np.testing.assert_allclose(found["nll"], [math.log(4), 0.0, np.inf])
    np.testing.assert_allclose(found["confidence"], [0.75, 1.0, 1.0])
    np.testing.assert_allclose(found["squared_error"], [1.125, 0.0, 2.0])


@pytest.mark.parametrize("row", [[2.0, -1.0, 0.0], [0.2, 0.2, 0.2], [0.5, 0.5, -np.inf], [3.0, 1.0, 5.0]])
def test_what_cannot_be_probabilities_is_refused(row: list[float]) -> None:
    with pytest.raises(DataError, match=r'row 1 of a batch sums to .*Classification\(outputs="logits"\)'):
        reduced([[0.5, 0.5, 0.0], row], [0, 0], SHARES)


@pytest.mark.parametrize(
    ("dtype", "off", "taken"),
    [
        (np.float64, 0.9e-4, True),
        (np.float64, 1.1e-4, False),
        (np.float32, 0.9e-4, True),
        (np.float32, -1.1e-4, False),
        (np.float16, 0.9e-2, True),
        (np.float16, 1.2e-2, False),
        (ml_dtypes.bfloat16, 2.0**-7, True),
        (ml_dtypes.bfloat16, 2.0**-6, False),
    ],
)
def test_probabilities_are_taken_as_given_only_near_a_sum_of_1(dtype: Any, off: float, taken: bool) -> None:
    for rows in (np.array([[1.0 + off, 0.0]], dtype), np.array([[0.5, 0.5 + off]], dtype)):
        for outputs in (rows, torch.from_numpy(rows.astype(np.float64)).to(getattr(torch, rows.dtype.name))):
            if taken:
                found = SHARES.reduce(outputs, np.array([0]), frozenset(SHARES.columns()))
                assert 0 <= found["confidence"].item() <= 1
                assert found["nll"].item() >= 0
            else:
                with pytest.raises(DataError, match=r"expected numbers from 0 on with a sum of 1 within .*normalize="):
                    SHARES.reduce(outputs, np.array([0]), frozenset({"rank"}))


@given(
    arrays.arrays(np.float64, (3, 4), elements=st.floats(0.0, 1e300)).filter(lambda rows: bool((rows.sum(1) > 0).all()))
)
def test_divided_probabilities_are_those_of_the_divided_rows(rows: Array) -> None:
    found = reduced(rows, [0, 1, 2], DIVIDED)
    # Rounded sums of floats are off by less than 1e-15 of them.
    shares = np.array([[float(Fraction(item) / sum(map(Fraction, row))) for item in row] for row in rows.tolist()])
    own = shares[np.arange(3), np.arange(3)]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found["nll"], -np.log(own), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found["confidence"], shares.max(axis=1), rtol=1e-6)
    assert ((found["confidence"] >= 0) & (found["confidence"] <= 1)).all()
    np.testing.assert_allclose(found["squared_error"], (shares**2).sum(1) - 2 * own + 1, rtol=1e-6, atol=1e-12)


def test_what_cannot_be_divided_is_refused() -> None:
    assert reduced([[2.0, 6.0]], [0], DIVIDED)["nll"].item() == pytest.approx(math.log(4))
    with pytest.raises(DataError, match=r"row 1 of a batch sums to 0 .* with a sum above 0: if the model gives logits"):
        reduced([[1.0, 1.0], [0.0, 0.0]], [0, 0], DIVIDED)
    with pytest.raises(DataError, match=r"smallest -0.5"):
        reduced([[1.5, -0.5]], [0], DIVIDED)
    for outputs, normalize in (("logits", True), ("scores", True), ("probabilities", 1)):
        with pytest.raises(DataError, match=r"normalize=.*: expected True or False, and True for probabilities only"):
            Classification(outputs=outputs, normalize=normalize)  # type: ignore[arg-type]


@pytest.mark.parametrize("several", [tuple, list])
def test_several_outputs_are_called_so(several: Any) -> None:
    scores = np.zeros((3, 2))
    for call in (LOGITS.scores, lambda outputs: LOGITS.reduce(outputs, np.zeros(3, int), frozenset({"rank"}))):
        for made in (scores, torch.zeros(3, 2)):
            with pytest.raises(DataError, match=rf"the model returned a {several.__name__} of 2: let it return the "):
                call(several([made, made]))
    assert LOGITS.scores([[1.0, 2.0], [3.0, 4.0]]).shape == (2, 2)  # a list of rows is one array


def test_nan_among_probabilities_makes_its_row_alone_nonfinite() -> None:
    found = reduced([[0.5, np.nan], [0.5, 0.5], [np.inf, 0.0]], [0, 0, 0], SHARES)
    assert found["finite"].tolist() == [0, 1, 0]


def test_float16_probabilities_of_many_classes_are_near_enough() -> None:
    shares = np.random.default_rng(0).dirichlet(np.full(1000, 0.1), 50).astype(np.float16)
    assert reduced(shares, np.zeros(50, int), SHARES)["finite"].all()


def test_scores_have_no_probabilities() -> None:
    task = Classification(outputs="scores")
    assert not {"nll", "confidence", "squared_error"} & task.columns().keys()
    assert task.reduce(np.ones((1, 2)), np.array([1]), frozenset(task.columns()))["rank"].tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            np.array([0, 3]),
            r"label 3 is no class of a model with 3 outputs \(0 to 2\); 1 of 2 labels .* check the labels' offset",
        ),
        (np.array([-1, -1]), "label -1 is no class.*2 of 2 labels"),
        (np.array([255, 0], np.uint8), "label 255 is no class"),
        (np.array([2**64 - 1, 0], np.uint64), "label 18446744073709551615 is no class"),
        (np.array([0.0, 1.0]), r"labels must be integers \(class indices\); their dtype is float64"),
        (np.array([True, False]), "their dtype is bool"),
        (np.array(["0", "1"]), "labels must be integers"),
        (np.array([0]), r"2 rows of outputs came with labels of shape \(1,\); expected \(2,\)"),
        (np.eye(1, 3, dtype=int), r"2 rows of outputs came with labels of shape \(1, 3\)"),
    ],
)
def test_wrong_labels_are_refused(labels: Array, words: str) -> None:
    with pytest.raises(DataError, match=words):
        LOGITS.reduce(np.zeros((2, 3)), labels, frozenset({"rank"}))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (np.zeros(3), r"at least 2 classes; the model gave \(3,\)"),
        (np.zeros((3, 1)), r"at least 2 classes; the model gave \(3, 1\)"),
        (np.zeros((3, 4, 5)), r"the model gave \(3, 4, 5\)"),
        (np.zeros((3, 4), complex), "real numbers; the model gave an array of complex128"),
        (np.zeros((3, 4), bool), "an array of bool"),
        (np.full((3, 4), "1.5"), "an array of <U3"),
        (np.zeros((3, 4), object), "an array of object"),
        (np.zeros((3, 4), "V4"), r"an array of \|V4"),
        (np.zeros((3, 4), "M8[s]"), "an array of datetime64"),
        ({"out": np.zeros((3, 4))}, r"outputs='logits'\) expects an output named 'logits'; the model returned 'out'"),
        (None, "the model gave a NoneType"),
        ({"logits": (np.zeros((3, 4)), np.zeros((3, 4)))}, "the model returned a tuple of 2: let it return the scores"),
        ((torch.zeros(3, 4), torch.zeros(3, 7)), "the model returned a tuple of 2: let it return the scores alone"),
        (torch.zeros(3, 4, dtype=torch.bool), "an array of torch.bool"),
        (torch.zeros(3, 4, dtype=torch.complex64), "an array of torch.complex64"),
    ],
)
def test_wrong_outputs_are_refused(outputs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        LOGITS.reduce(outputs, np.zeros(3, np.int64), frozenset({"rank"}))
    with pytest.raises(DataError, match=words):
        LOGITS.scores(outputs)


def test_nothing_is_guessed_about_outputs() -> None:
    with pytest.raises(DataError, match="never guesses"):
        Classification(outputs="softmax")  # type: ignore[arg-type]


def test_plain_lists_are_outputs_too() -> None:
    assert LOGITS.reduce([[0.0, 1.0]], np.array([1]), frozenset({"rank"}))["rank"].tolist() == [0]
