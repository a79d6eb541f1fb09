"""What a stream refuses and finds out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from milepost.core.types import Batch
from milepost.data.batches import Batches
from milepost.errors import DataError, UnstableData, UsageError

X = np.arange(300.0).reshape(100, 3)
Y = np.arange(100)


def pairs(size: int = 10, count: int = 100) -> Iterator[Any]:
    for start in range(0, count, size):
        yield X[start : start + size], Y[start : start + size]


def test_a_shuffled_stream_is_refused() -> None:
    rng = np.random.default_rng(0)

    def shuffled() -> Iterator[Any]:
        order = rng.permutation(100)
        yield X[order], Y[order]

    with pytest.raises(UnstableData, match="does not repeat"):
        Batches(shuffled).fingerprint()


def test_a_used_up_iterator_is_refused() -> None:
    once = pairs()
    with pytest.raises(UnstableData, match="fresh iterator"):
        Batches(lambda: once).fingerprint()
    once = pairs()
    stream = Batches(lambda: once)
    assert len(list(stream.batches(0, 1000, 50))) == 2
    with pytest.raises(UnstableData, match="fresh iterator"):
        list(stream.batches(0, 1000, 50))


def test_an_object_instead_of_a_function_is_refused() -> None:
    with pytest.raises(UsageError, match="lambda"):
        Batches(pairs())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="returned a NoneType"):
        list(Batches(lambda: None).batches(0, 1, 1))  # type: ignore[arg-type, return-value]


def test_empty_streams_are_refused() -> None:
    for empty in (Batches(list), Batches(lambda: [(X[:0], Y[:0])]), Batches(lambda: [(X, Y, np.zeros(100))])):
        with pytest.raises(DataError, match="empty"):
            list(empty.batches(0, 10, 5))
        with pytest.raises(DataError, match="empty"):
            empty.fingerprint()


@pytest.mark.parametrize(("size", "words"), [(99, "goes on"), (101, "ended after 100"), (50, "goes on")])
def test_a_declared_size_is_checked(size: int, words: str) -> None:
    for batch_size in (7, 10, 50, 1000):
        with pytest.raises(UnstableData, match=words):
            list(Batches(pairs, size=size).batches(0, size, batch_size))


def test_a_size_is_learnt_at_the_end_of_a_pass_and_held_to() -> None:
    counts = iter((100, 90))
    stream = Batches(lambda: pairs(count=next(counts)))
    assert stream.size is None
    with pytest.raises(UsageError, match="not known"):
        stream.rows(Y)
    list(stream.batches(0, 1000, 30))
    assert stream.size == 100
    with pytest.raises(UnstableData, match="earlier pass"):
        list(stream.batches(0, 1000, 30))


def test_a_pass_reads_no_further_than_needed_and_closes_the_stream() -> None:
    seen: list[object] = []

    def watched() -> Iterator[Any]:
        try:
            for number, pair in enumerate(pairs()):
                seen.append(number)
                yield pair
        finally:
            seen.append("closed")

    found = list(Batches(watched).batches(12, 18, 6))
    assert [batch.start for batch in found] == [12]
    assert seen == [0, 1, "closed"]
    seen.clear()
    passing = iter(Batches(watched).batches(0, 100, 5))
    next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert seen == [0, "closed"]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([(X, Y), (X, Y, Y, Y)], "batch 1 of the stream: expected a Batch"),
        ([{"x": X}], "found a dict of 1"),
        ([(X, Y[:5])], "100 rows but labels have 5"),
        ([(X, Y / 2)], "labels: expected integers"),
        ([(X, Y), (X.astype("f4"), Y)], "batches of one stream differ"),
        ([(X, Y), (X[:, :2], Y)], "batches of one stream differ"),
        ([(X, Y), (X, Y, np.ones(100))], "batches of one stream differ"),
        ([({"a": X}, Y), ({"b": X}, Y)], "batches of one stream differ"),
        ([(X, Y, np.full(100, -1))], "weights: expected 0, or numbers"),
    ],
)
def test_unusable_batches_are_refused(items: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        list(Batches(lambda: items).batches(0, 1000, 130))


def test_the_tensors_of_a_data_loader_become_arrays() -> None:
    data = TensorDataset(torch.from_numpy(X.copy()), torch.from_numpy(Y.copy()))
    stream = Batches(lambda: DataLoader(data, batch_size=7))
    batches = list(stream.batches(0, 1000, 64))
    assert [batch.labels.tolist() for batch in batches] == [list(range(64)), list(range(64, 100))]
    assert batches[0].inputs.dtype == np.float64
    shuffling = Batches(lambda: DataLoader(data, batch_size=7, shuffle=True))
    with pytest.raises(UnstableData, match="shuffling"):
        shuffling.fingerprint()


def test_ids_of_growing_width_are_joined_without_loss() -> None:
    items = [Batch(X[:2], Y[:2], ids=np.array(["a", "b"])), Batch(X[2:4], Y[2:4], ids=np.array(["long", "longer"]))]
    (batch,) = Batches(lambda: items).batches(0, 4, 4)
    assert batch.ids is not None
    assert batch.ids.tolist() == ["a", "b", "long", "longer"]


def test_a_stream_may_reuse_its_buffers() -> None:
    def reusing() -> Iterator[Any]:
        inputs, labels = np.empty((10, 3)), np.empty(10, np.int64)
        for part, numbers in pairs():
            inputs[...], labels[...] = part, numbers
            yield inputs, labels

    batches = list(Batches(reusing).batches(0, 1000, 35))
    assert np.concatenate([batch.labels for batch in batches]).tolist() == Y.tolist()
    assert np.concatenate([batch.inputs for batch in batches]).tolist() == X.tolist()
