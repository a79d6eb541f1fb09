"""Checksums of rows: the same for the same row however it comes, different for rows that differ as real data does."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from milepost.core.types import Array, Batch
from milepost.loop.row_checksums import with_checksums

DTYPES = ["uint8", "int16", "float16", "float32", "float64", "complex64", "bool", "S5", "U3"]


def sums(inputs: Any, labels: Any = None) -> Array:
    rows = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
    batch = Batch(inputs, np.zeros(rows, np.int64) if labels is None else np.asarray(labels))
    ((given, found),) = with_checksums([batch])
    assert given is batch
    assert found is not None
    assert (found.dtype.name, found.shape) == ("uint64", (rows,))
    return found


@given(st.data(), st.sampled_from(DTYPES), some.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9))
def test_a_row_has_one_checksum_in_any_batch_and_memory_layout(
    data: st.DataObject, dtype: str, shape: tuple[int, ...]
) -> None:
    rows = data.draw(some.arrays(dtype, shape))
    whole = sums(rows)
    order = np.asarray(data.draw(st.permutations(range(len(rows)))))
    assert sums(rows[order]).tolist() == whole[order].tolist()
    assert [int(sums(rows[at : at + 1])[0]) for at in range(len(rows))] == whole.tolist()
    assert sums(np.asfortranarray(rows)).tolist() == whole.tolist()
    assert sums(np.repeat(rows, 2, axis=0)[::2]).tolist() == whole.tolist()
    same = [row.tobytes() for row in np.ascontiguousarray(rows)]
    for one, other in combinations(range(len(rows)), 2):
        assert (same[one] == same[other]) == bool(whole[one] == whole[other])


def test_labels_and_every_entry_of_a_dict_count_by_name() -> None:
    assert not (sums({"a": np.zeros(3)}) == sums({"b": np.zeros(3)})).any()
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    base = sums({"a": x, "b": y})
    assert not (base == sums({"a": x, "b": y}, [1, 1, 1])).any()
    assert not (base == sums({"b": x, "a": y})).any()
    assert (base == sums({"a": x, "b": np.array([0, 1, 3])})).tolist() == [True, True, False]
    assert (sums(x, np.array([1, 2, 3], "int8")) == sums(x, np.array([1, 2, 3], "int64"))).all()
    assert (base == sums({"b": y, "a": x})).all()


def test_tensors_and_text_count_as_their_arrays_and_the_width_of_text_does_not() -> None:
    x = np.arange(12, dtype="float32").reshape(3, 4)
    assert (sums(torch.from_numpy(x)) == sums(x)).all()
    assert (sums(np.array(["a", "bc", ""])) == sums(np.array(["a", "bc", "", "a longer one"]))[:3]).all()
    assert len(set(sums(np.arange(4).astype(ml_dtypes.bfloat16).reshape(4, 1)).tolist())) == 4


@pytest.mark.parametrize("inputs", [[object(), object()], [[1], [1, 2]], np.zeros(3), {"a": np.zeros(2), "b": 1.0}])
def test_what_is_no_array_of_rows_has_none(inputs: Any) -> None:
    ((_, found),) = with_checksums([Batch(inputs, np.zeros(2, np.int64))])
    assert found is None


def alike(kind: str) -> Array:
    """Return 4,096 rows that differ in few bits, the last of them in the highest bits of words."""
    pairs = np.array(list(combinations(range(128), 2)))[:4096]
    rows = np.zeros((len(pairs), 128), kind)
    np.put_along_axis(rows, pairs, 1, axis=1)  # two hot places
    return rows


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "float64"])
def test_rows_of_ones_and_zeros_and_their_changes_of_sign_all_have_their_own(dtype: str) -> None:
    rows = alike(dtype)
    variants = [rows, rows * np.asarray(2, dtype)] if dtype != "bool" else [rows]
    if dtype.startswith("float"):
        variants += [-row for row in (rows, 1 - rows, 1 + rows)] + [1 - rows, 1 + rows]
    every = np.concatenate(variants)
    assert len(np.unique(sums(every))) == len({row.tobytes() for row in every}) == len(every)


@pytest.mark.parametrize("two", [(1, -1), (0, 1), (1, 2), (3, -4)], ids=str)
@pytest.mark.parametrize("dtype", ["int16", "float16", "float32", "float64", "int64"])
def test_a_quarter_million_rows_of_two_numbers_all_have_their_own(dtype: str, two: tuple[int, int]) -> None:
    bits = np.arange(1 << 18)[:, None] >> np.arange(18) & 1  # each combination once
    assert len(np.unique(sums(np.array(two, dtype)[bits]))) == len(bits)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augmented_images_have_their_own(dtype: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 16, 16)).astype(dtype)
    flat = np.zeros((1, 3, 16, 16), dtype)
    flat[0, :, 3, 4] = 1
    images = np.concatenate([images, flat])
    changed = [images, images[..., ::-1], images[..., ::-1, :], images[:, ::-1], 255 - images]
    changed += [np.roll(images, step, axis) for step in (1, 2, 4, 8) for axis in (2, 3)]
    every = np.concatenate(changed)
    assert len(np.unique(sums(every))) == len({row.tobytes() for row in every})
