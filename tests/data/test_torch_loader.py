"""PyTorch data sets and loaders: the laws, what is kept of a loader and what is not, and each mistake's own error."""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.utils import data

from milepost.data import Batches, TorchLoader
from milepost.errors import DataError, UnstableData, UsageError
from milepost.testing.sources import check_source

N = 45
X = torch.from_numpy(np.random.default_rng(3).integers(0, 255, (N, 3, 2), dtype=np.uint8))
Y = torch.arange(N) * 7 % 10

pytestmark = pytest.mark.filterwarnings("ignore:the DataLoader was opened")


class Items(data.Dataset[Any]):
    """(inputs, label) by index; `change` may do anything to an item."""

    def __init__(self, change: Any = lambda index, x, y: (x, y), size: int = N) -> None:
        self.change, self.size = change, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.change(index, X[index], int(Y[index]))


def altered(index: int, x: torch.Tensor, y: int) -> Any:
    return (x + 1 if index == 9 else x), y


def named(index: int, x: torch.Tensor, y: int) -> Any:
    return {"ids": x.long().flatten(), "mask": x > 9, "class": y, "weight": 0.5 + index, "key": f"k{index}"}


def die(index: int, x: torch.Tensor, y: int) -> Any:
    if data.get_worker_info() is not None and index == 40:
        os._exit(3)
    return x, y


def fail(index: int, x: torch.Tensor, y: int) -> Any:
    if index == 23:
        raise ValueError("no such\nfile: 23")
    return x, y


def ragged(index: int, x: torch.Tensor, y: int) -> Any:
    return x[: 1 + index % 2], y


def everything(source: Any, batch_size: int = 10) -> tuple[Any, Any]:
    found = list(source.batches(0, N, batch_size))
    return np.concatenate([batch.inputs for batch in found]), np.concatenate([batch.labels for batch in found])


def test_data_sets_keep_the_laws() -> None:
    changed = [
        lambda: TorchLoader(Items(altered)),
        lambda: TorchLoader(Items(size=N - 1)),
        lambda: TorchLoader(Items(), seed=1),
        lambda: TorchLoader(Items(), order="natural"),
        lambda: TorchLoader(Items(), order="declared-shuffled"),
        lambda: TorchLoader(Items(), version="toy@1"),
    ]
    check_source(lambda: TorchLoader(Items()), changed)
    check_source(lambda: TorchLoader(data.TensorDataset(X, Y), order="natural"))
    check_source(lambda: TorchLoader(data.Subset(Items(), list(range(3, 33)))))


def test_loaders_and_dicts_keep_the_laws() -> None:
    check_source(lambda: TorchLoader(data.DataLoader(Items(), batch_size=4, shuffle=True, drop_last=True)))
    check_source(lambda: TorchLoader(Items(named), inputs=["ids", "mask"], label="class", weights="weight", ids="key"))
    # A collate function that hands out the data set's own memory.
    check_source(lambda: TorchLoader(data.DataLoader(data.TensorDataset(X, Y), batch_size=9, collate_fn=lent)))


def lent(items: list[Any]) -> Any:
    return (items[0][0][None], items[0][1][None]) if len(items) == 1 else data.default_collate(items)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_give_what_this_process_gives(persistent: bool) -> None:
    loader = data.DataLoader(Items(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=persistent)
    before = torch.get_rng_state()
    source = TorchLoader(loader)
    expected = TorchLoader(Items())
    assert source.fingerprint() == expected.fingerprint()
    left, other = source.batches(0, N, 7), source.batches(8, 40, 7)
    next(left)
    assert [batch.start for batch in other] == [7, 14, 21, 28, 35]
    left.close()  # type: ignore[attr-defined]
    for _ in range(2):
        for mine, theirs in zip(everything(source), everything(expected), strict=True):
            assert np.array_equal(mine, theirs)
    assert torch.equal(torch.get_rng_state(), before), "the user's random numbers are not touched"


def pids(index: int, x: torch.Tensor, y: int) -> Any:
    return torch.tensor(os.getpid()), y


def test_persistent_workers_are_the_same_in_every_pass() -> None:
    loader = data.DataLoader(Items(pids), batch_size=4, num_workers=2, persistent_workers=True)
    source = TorchLoader(loader, order="natural")
    first, second = (set(everything(source)[0].tolist()) for _ in range(2))
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first


def started(worker: int) -> None:
    info = data.get_worker_info()
    assert info is not None
    info.dataset.change = altered  # type: ignore[attr-defined]


def test_worker_init_fn_and_the_data_set_in_it_are_the_users() -> None:
    source = TorchLoader(data.DataLoader(Items(), num_workers=1, worker_init_fn=started), order="natural")
    assert np.array_equal(everything(source)[0][9], X[9] + 1)


def test_the_collate_function_is_used_and_batches_are_exact() -> None:
    seen: list[int] = []

    def collate(items: list[Any]) -> Any:
        seen.append(len(items))
        return torch.stack([item[0] for item in items]).float(), torch.tensor([item[1] for item in items])

    loader = data.DataLoader(Items(), batch_size=3, collate_fn=collate, drop_last=True)
    source = TorchLoader(loader, order="natural")
    sizes = [(len(batch.labels), batch.inputs.dtype) for batch in source.batches(0, N, 20)]
    assert sizes == [(20, np.float32), (20, np.float32), (5, np.float32)]
    assert seen == [20, 20, 5]


def test_what_is_not_used_is_reported_once() -> None:
    loader = data.DataLoader(Items(), batch_size=4, shuffle=True, drop_last=True)
    with pytest.warns(UserWarning, match=r"opened.*its RandomSampler and drop_last are not: .* seeded order") as warned:
        source = TorchLoader(loader)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything(source)
    assert source.notes == (str(warned[0].message),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TorchLoader(data.DataLoader(Items()), order="natural").notes == ()
        assert TorchLoader(Items()).notes == ()


def test_samplers_that_pick_are_refused_and_shares_are_not() -> None:
    for sampler in (data.SubsetRandomSampler(range(30)), data.RandomSampler(Items(), num_samples=99, replacement=True)):
        with pytest.raises(UsageError, match=r"picks \d\d items of the 45.*Subset"):
            TorchLoader(data.DataLoader(Items(), sampler=sampler))
    batched = data.BatchSampler(data.SubsetRandomSampler(range(30)), 5, drop_last=False)
    with pytest.raises(UsageError, match="SubsetRandomSampler picks 30"):
        TorchLoader(data.DataLoader(Items(), batch_sampler=batched))
    share: Any = data.DistributedSampler(Items(), num_replicas=4, rank=1)
    assert TorchLoader(data.DataLoader(Items(), sampler=share)).size == N
    assert TorchLoader(data.DataLoader(Items(), batch_size=None)).size == N


def test_dtypes_of_tensors_stay() -> None:
    for dtype, expected in ((torch.bfloat16, ml_dtypes.bfloat16), (torch.float16, "float16"), (torch.int32, "int32")):
        values = torch.arange(N).to(dtype)
        (batch,) = TorchLoader(data.TensorDataset(values, Y.int()), order="natural").batches(0, N, N)
        assert batch.inputs.dtype == np.dtype(expected)
        assert batch.labels.dtype == np.int32
        assert batch.inputs.astype("f4").tolist() == values.float().tolist()


def test_weights_of_items_are_kept_and_zero_is_refused() -> None:
    (batch,) = TorchLoader(data.TensorDataset(X, Y, torch.arange(N) + 1), order="natural").batches(0, N, N)
    assert batch.weights is not None
    assert batch.weights.tolist() == list(range(1, N + 1))
    with pytest.raises(DataError, match=r"above 0; found 0: leave rows out with torch\.utils\.data\.Subset"):
        list(TorchLoader(data.TensorDataset(X, Y, torch.arange(N))).batches(0, N, N))


def test_a_weight_that_is_none_is_refused_by_the_number_of_its_item() -> None:
    weights = torch.ones(N)
    weights[3] = -1.0
    source = TorchLoader(data.TensorDataset(X, Y, weights), seed=1)
    assert source.rows(np.arange(N))[3] != 3
    with pytest.raises(DataError, match=r"weights: .*; found -1\.0 at row 3$"):
        list(source.batches(0, N, N))


@pytest.mark.parametrize("version", [None, "toy@1"])
def test_a_random_transform_is_refused(version: str | None) -> None:
    noisy = Items(lambda index, x, y: (x.float() + torch.rand(()), y))
    with pytest.raises(UnstableData, match=r"item \d+ of the Items, read twice, differs: a random transform is on"):
        TorchLoader(noisy, version=version).fingerprint()


class Breathing(Items):
    """Gives one length after the other, then the last one for ever."""

    def __init__(self, *lengths: int) -> None:
        super().__init__()
        self.lengths = list(lengths)

    def __len__(self) -> int:
        return self.lengths.pop(0) if len(self.lengths) > 1 else self.lengths[0]


def test_a_length_that_changes_is_refused() -> None:
    words = r"the Breathing has 9 items; it had 10 when it was opened: __len__ must return the same number every time"
    with pytest.raises(UnstableData, match=words):
        TorchLoader(Breathing(10, 9)).fingerprint()
    shrinking = TorchLoader(Breathing(10, 10, 9))
    assert shrinking.fingerprint()["size"] == 10
    with pytest.raises(UnstableData, match=words):
        next(shrinking.batches(0, 10, 4))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_named(workers: int) -> None:
    source = TorchLoader(data.DataLoader(Items(fail), batch_size=4, num_workers=workers))
    with pytest.raises(DataError, match="item 23 of the Items could not be read: ValueError"):
        everything(source)


@pytest.mark.parametrize("workers", [0, 2])
def test_items_of_unequal_shape_are_refused(workers: int) -> None:
    source = TorchLoader(data.DataLoader(Items(ragged), batch_size=4, num_workers=workers))
    with pytest.raises(DataError, match=r"do not go into one batch: .*one shape and dtype: resize or pad"):
        everything(source)


def test_workers_that_cannot_start_are_reported() -> None:
    loader = data.DataLoader(Items(), num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(UsageError, match=r"workers cannot be started: .*lambda.*num_workers=0"):
        everything(TorchLoader(loader))


def test_a_worker_that_dies_is_an_error_and_not_the_end() -> None:
    source = TorchLoader(data.DataLoader(Items(die), num_workers=2, persistent_workers=True), order="natural")
    with pytest.raises(DataError, match=r"a worker process of the DataLoader died or hung.*num_workers=0"):
        everything(source)
    assert [batch.start for batch in source.batches(0, 20, 10)] == [0, 10]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Items(size=0), "the Items is empty"),
        (lambda: Items(lambda i, x, y: (x, float(y))), "expected integers; found dtype float64"),
        (lambda: Items(lambda i, x, y: (x, f"class {y}")), "expected integers"),
        (lambda: Items(lambda i, x, y: x), "expected .inputs, label."),
        (lambda: Items(lambda i, x, y: {"a": x, "b": y}), r"dicts with \['a', 'b'\]; name the entries"),
        (lambda: Items(lambda i, x, y: (x.to_sparse(), y)), "to_dense|do not go into one batch"),
        (lambda: data.DataLoader(Items(), collate_fn=lambda items: (X[:2], Y[:2])), "gave 2 rows for 10 items"),
        (lambda: data.DataLoader(Items(), collate_fn=lambda items: (X[:10], Y[:2])), "10 rows but labels have 2"),
    ],
)
def test_unusable_items_are_refused(make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        everything(TorchLoader(make()))


def test_names_that_fit_no_entry_are_refused() -> None:
    with pytest.raises(DataError, match=r"unknown entry 'img'; available: class, ids"):
        everything(TorchLoader(Items(named), inputs="img", label="class"))
    with pytest.raises(DataError, match="name entries of dicts; found a list of 2"):
        everything(TorchLoader(Items(), inputs="img", label="class"))
    found = next(TorchLoader(Items(named), inputs="ids", label="class", order="natural").batches(0, 5, 5))
    assert np.array_equal(found.inputs, X[:5].long().flatten(1))
    with pytest.raises(
        UsageError, match=r"unknown parameter label_mapping; available: label_map, .*, weights, ids, slices"
    ):
        TorchLoader(Items(), label_mapping={})  # type: ignore[call-arg]
    for wrong in (7, iter([1])):
        with pytest.raises(UsageError, match="TorchLoader takes a DataLoader"):
            TorchLoader(wrong)


class Stream(data.IterableDataset[Any]):
    """The items in order; `shared` shares them out between workers."""

    def __init__(self, *, shared: bool = True) -> None:
        self.shared = shared

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info() if self.shared else None
        for index in range(0 if info is None else info.id, N, 1 if info is None else info.num_workers):
            yield X[index], int(Y[index])


def test_streams_keep_the_laws_and_are_batches() -> None:
    check_source(lambda: TorchLoader(Stream()), [lambda: TorchLoader(Stream(), version="toy@1")])
    plain = Batches(lambda: data.DataLoader(Stream(), batch_size=5))
    assert TorchLoader(Stream()).fingerprint() == plain.fingerprint()
    with pytest.warns(UserWarning, match="drop_last is not used"):
        source = TorchLoader(data.DataLoader(Stream(), batch_size=4, drop_last=True))
    assert everything(source)[1].tolist() == Y.tolist()
    assert source.size == N
    unbatched = TorchLoader(data.DataLoader(BatchStream(), batch_size=None))
    assert everything(unbatched)[1].tolist() == Y.tolist()
    with pytest.raises(UsageError, match="is a stream"):
        TorchLoader(Stream(), order="seeded")


class BatchStream(data.IterableDataset[Any]):
    """Yields batches of its own."""

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(torch.split(X, 8), torch.split(Y, 8), strict=True))


def test_workers_share_a_stream_or_are_refused() -> None:
    with pytest.warns(UserWarning, match="drop_last"):
        source = TorchLoader(data.DataLoader(Stream(), batch_size=4, num_workers=2, drop_last=True))
    assert sorted(everything(source)[1].tolist()) == sorted(Y.tolist())
    with pytest.raises(DataError, match=r"2 workers .* each reads the whole stream"):
        everything(TorchLoader(data.DataLoader(Stream(shared=False), batch_size=4, num_workers=2)))
