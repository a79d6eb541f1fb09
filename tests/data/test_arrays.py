"""What `Arrays` refuses, removes and reports."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from milepost.data._fingerprint import content_digest
from milepost.data.arrays import Arrays
from milepost.errors import DataError, UsageError

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": Y[:9]}, "10 rows but labels have 9"),
        ({"weights": np.ones(3)}, "10 rows but weights have 3"),
        ({"ids": np.arange(11)}, "10 rows but ids have 11"),
        ({"mask": np.ones(2, bool)}, "10 rows but mask have 2"),
        ({"inputs": {"a": X, "b": X[:4]}}, "'a': 10, 'b': 4"),
        ({"inputs": {}}, "no array"),
        ({"inputs": (X, X)}, "tuple of 2"),
        ({"inputs": [[1], [2, 3]]}, "inputs"),
        ({"inputs": np.array([{}] * 10)}, "Python objects"),
        ({"inputs": 3.0}, "one row an example"),
        ({"labels": Y.astype("f4")}, "float32"),
        ({"labels": ["cat"] * 10}, "expected integers"),
        ({"weights": np.where(Y == 4, np.nan, 1.0)}, "nan at row 4"),
        ({"weights": np.where(Y == 4, -1.0, 1.0)}, "-1.0 at row 4"),
        ({"weights": np.where(Y == 4, np.inf, 1.0)}, "inf at row 4"),
        ({"weights": np.where(Y == 4, 1e300, 1.0)}, "from 1e-60 to 1e60; found 1e.300 at row 4; multiply all weights"),
        ({"weights": np.where(Y == 4, 1e-61, 1.0)}, "found 1e-61 at row 4; multiply all weights by one number"),
        ({"weights": np.ones((10, 1))}, "one number a row"),
        ({"mask": np.ones(10)}, "boolean"),
        ({"ids": np.ones(10)}, "integer or text"),
        ({"ids": np.where(Y == 7, 2, Y)}, "2 is there 2 times, first at rows 2 and 7"),
        ({"ids": ["a", "b", "a", *"defghij"]}, "'a' is there 2 times"),
        ({"inputs": X[:0], "labels": Y[:0]}, "empty: 0 rows"),
        ({"weights": np.zeros(10)}, "empty: 10 rows"),
        ({"mask": np.zeros(10, bool)}, "empty: 10 rows"),
    ],
)
def test_unusable_data_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Arrays(**{"inputs": X, "labels": Y, **arguments})


def test_wrong_calls_are_refused() -> None:
    for version in ("mnist", "@1", "mnist@", "", 1):
        expected = rf'^Arrays\(version={version!r}\): expected "name@version", .* Arrays\(\.\.\., version="digits@1"\)'
        with pytest.raises(UsageError, match=expected):
            Arrays(X, Y, version=version)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="shuffled"):
        Arrays(X, Y, order="random")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint64", ">i4", "bool"])
def test_labels_keep_their_dtype(dtype: str) -> None:
    labels = (Y % 2).astype(dtype)
    (batch,) = Arrays(X, labels, order="natural").batches(0, 10, 10)
    assert batch.labels.dtype == np.dtype(dtype)
    assert batch.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "float16", ml_dtypes.bfloat16, "U3", ">f8", "complex64"])
def test_inputs_of_any_dtype_are_gathered_and_identified(dtype: Any) -> None:
    inputs = X.astype(dtype)
    source = Arrays(inputs, Y)
    (batch,) = source.batches(0, 10, 10)
    assert batch.rows is not None
    assert batch.inputs.dtype == inputs.dtype
    assert (batch.inputs == inputs[batch.rows]).all()
    changed = inputs.copy()
    changed[9, 1] = changed[0, 0]
    assert Arrays(changed, Y).fingerprint()["digest"] != source.fingerprint()["digest"]


def test_rows_without_weight_or_mask_are_gone_before_anything_else() -> None:
    weights = np.array([1, 0, 2, 1, np.nan, 1, 1, 1, 0, 3.0])
    mask = Y != 4
    ids = [0, 1, 2, 3, 3, 5, 6, 7, 7, 9]
    source = Arrays(X, Y, weights, ids, mask=mask, order="natural")
    (batch,) = source.batches(0, 100, 100)
    assert source.size == 7
    assert batch.labels.tolist() == [0, 2, 3, 5, 6, 7, 9]
    assert batch.rows is not None
    assert batch.rows.tolist() == list(range(7))
    assert batch.weights is not None
    assert batch.weights.tolist() == [1, 2, 1, 1, 1, 1, 3]
    assert batch.ids is not None
    assert batch.ids.tolist() == [0, 2, 3, 5, 6, 7, 9]
    seeded = Arrays(X, Y, weights, mask=mask)
    assert sorted(next(seeded.batches(0, 7, 7)).labels.tolist()) == [0, 2, 3, 5, 6, 7, 9]


def test_a_mask_of_all_true_changes_nothing() -> None:
    assert Arrays(X, Y, mask=np.ones(10, bool)).fingerprint() == Arrays(X, Y).fingerprint()


def test_the_fingerprint_is_plain_and_says_the_order() -> None:
    assert Arrays(X, Y, version="toy@3", seed=4).fingerprint() == {
        "kind": "arrays",
        "version": "toy@3",
        "digest": "c07fa6cb7466881f459cff0e42ef4f57",
        "size": 10,
        "order": {"kind": "seeded", "version": 1, "seed": 4},
    }


def test_the_digest_of_content_is_golden() -> None:
    """A change of these digits makes every stored evaluation a new one."""
    assert content_digest({"x": np.arange(6, dtype="<i4").reshape(2, 3)}) == "4c3a37ab822d1293005621ac853740f2"


def test_the_digest_does_not_depend_on_memory_layout_and_covers_every_chunk() -> None:
    big = np.arange(5_000_000, dtype="<i8").reshape(-1, 5)
    expected = content_digest({"x": big})
    assert content_digest({"x": np.asfortranarray(big)}) == expected
    for row in (0, len(big) // 2, len(big) - 1):
        changed = big.copy()
        changed[row, 3] ^= 1
        assert content_digest({"x": changed}) != expected
    assert content_digest({"y": big}) != expected
    assert content_digest({"x": np.empty((0, 3))}) != content_digest({"x": np.empty((0, 4))})
