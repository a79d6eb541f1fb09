"""Rows whose label is `ignore_index` or None are left out and counted, whatever the source; the others stay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import CLASSES, checkpoints, command, evaluation_of, examples, go

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.data.torch_loader import TorchLoader
from milepost.errors import DataError, UsageError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset  # noqa: E402 - torch may be absent

ROWS = 60
X = np.arange(ROWS, dtype=np.float32)[:, None]
Y = np.where(np.arange(ROWS) % 7 == 3, -100, np.arange(ROWS) % 5)
KEPT = [row for row in range(ROWS) if row % 7 != 3]
GONE = {"label -100 (ignore_index)": ROWS - len(KEPT)}
WITH_NONE = [None if label == -100 else int(label) for label in Y]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y.tolist(), strict=True))


class Items(Dataset[Any]):
    """Dicts by index."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        return {"x": X[row], "y": int(Y[row])}


def halves(labels: Any) -> Callable[[], Any]:
    return lambda: ((X[rows], labels[rows]) for rows in (slice(0, 25), slice(25, None)))


SOURCES: dict[str, Callable[..., Any]] = {
    "arrays": lambda **more: Arrays(X, Y, **more),
    "stream": lambda **more: Batches(halves(Y), **more),
    "items": lambda **more: TorchLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), **more),
    "dicts": lambda **more: TorchLoader(DataLoader(Items(), batch_size=7), inputs="x", label="y", **more),
    "torch stream": lambda **more: TorchLoader(DataLoader(Stream(), batch_size=9), **more),
}
EVERY = pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)


def rows_of(source: Any) -> list[tuple[int, int]]:
    """Return the rows that count with their labels, in natural order."""
    batches = list(source.batches(0, ROWS, 8))
    return sorted(
        (int(x[0]), int(label)) for batch in batches for x, label in zip(batch.inputs, batch.labels, strict=True)
    )


@EVERY
def test_rows_with_the_ignored_label_are_left_out_and_counted(make: Callable[..., Any]) -> None:
    source = make(ignore_index=-100)
    assert rows_of(source) == [(row, row % 5) for row in KEPT]
    assert source.size == len(KEPT)
    assert source.described()["left_out"] == GONE
    assert source.fingerprint() != make(label_offset=100).fingerprint()
    none = make(ignore_index=77)
    rows_of(none)
    assert (none.size, "left_out" in none.described()) == (ROWS, False)


@EVERY
def test_it_goes_together_with_a_map_and_an_offset(make: Callable[..., Any]) -> None:
    table = {-100: None, 0: None, 1: 10, 2: 20, 3: 30, 4: 40}
    source = make(ignore_index=-100, label_map=table, label_offset=1)
    assert rows_of(source) == [(row, row % 5 * 10 + 1) for row in KEPT if row % 5]
    zeros = sum(row % 5 == 0 for row in KEPT)
    assert source.described()["left_out"] == {**GONE, "label 0 (label_map)": zeros}


@pytest.mark.parametrize("labels", [WITH_NONE, np.array(WITH_NONE, object)], ids=["list", "objects"])
def test_labels_that_are_none_are_left_out_and_counted(labels: Any) -> None:
    for source in (Arrays(X, labels), Batches(halves(labels))):
        assert rows_of(source) == [(row, row % 5) for row in KEPT]
        assert source.described()["left_out"] == {"label None": ROWS - len(KEPT)}
    weights = np.arange(ROWS) % 2
    weighted = Arrays(X, labels, weights)
    assert rows_of(weighted) == [(row, row % 5) for row in KEPT if row % 2]
    assert weighted.described()["left_out"] == {"label None": sum(label is None for label in WITH_NONE[1::2])}


class Gaps(IterableDataset[Any]):
    """A stream, of tuples or dicts, some of whose labels are None."""

    def __init__(self, *, named: bool, tensors: bool) -> None:
        self.named, self.tensors = named, tensors

    def __iter__(self) -> Any:
        for x, label in zip(X, WITH_NONE, strict=True):
            y = torch.tensor(label) if self.tensors and label is not None else label
            yield {"x": x, "y": y} if self.named else (x, y)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("tensors", [False, True])
def test_gaps_in_a_stream_of_pytorch(named: bool, tensors: bool, workers: int) -> None:
    loader = DataLoader(Gaps(named=named, tensors=tensors), batch_size=9, num_workers=workers)
    names: dict[str, Any] = {"inputs": "x", "label": "y"} if named else {}
    source = TorchLoader(loader, **names)
    assert rows_of(source) == [(row, row % 5) for row in KEPT]
    assert source.described()["left_out"] == {"label None": ROWS - len(KEPT)}


class OneHot(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, np.eye(5, dtype=np.float32)[np.maximum(Y, 0)], strict=True))


def test_one_hot_labels_in_a_stream_of_pytorch() -> None:
    (batch,) = TorchLoader(DataLoader(OneHot(), batch_size=9)).batches(0, ROWS, ROWS)
    assert batch.labels.argmax(axis=1).tolist() == np.maximum(Y, 0).tolist()


class GapsByIndex(Items):
    def __getitem__(self, row: int) -> Any:
        return X[row], WITH_NONE[row]


def test_gaps_in_a_data_set_that_is_read_by_index() -> None:
    with pytest.raises(DataError, match=r"item 3 of the GapsByIndex holds None as its entry 1.* pass ignore_index"):
        rows_of(TorchLoader(GapsByIndex(), order="natural"))
    source = TorchLoader(GapsByIndex(), ignore_index=-100)
    assert rows_of(source) == [(row, row % 5) for row in KEPT]
    assert source.described()["left_out"] == {"label None": ROWS - len(KEPT)}


class Torn(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield X[0], 1
        raise OSError("the shard ends here")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_stream_raises_is_an_error_of_the_data(workers: int) -> None:
    with pytest.raises(DataError, match=r"the stream could not be read: OSError: .*the shard ends here"):
        rows_of(TorchLoader(DataLoader(Torn(), batch_size=9, num_workers=workers)))


def test_values_of_items_follow_the_rows_that_are_left() -> None:
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    numbers = np.arange(ROWS)
    source = TorchLoader(data, ignore_index=-100, slices={"number": numbers}, groups=numbers // 2)
    for batch in source.batches(0, ROWS, 8):
        assert batch.slices is not None
        assert batch.slices["number"].tolist() == batch.inputs[:, 0].tolist()
        assert batch.groups is not None
        assert batch.groups.tolist() == (batch.inputs[:, 0] // 2).tolist()
    with pytest.raises(DataError, match="items of the data set have 60 rows but groups have 50"):
        TorchLoader(data, ignore_index=-100, groups=numbers[:50])


def test_what_cannot_be_left_out_is_refused() -> None:
    with pytest.raises(DataError, match=r"the data is empty: 3 rows.* a label that is not left out"):
        Arrays(np.zeros(3), [5, 5, 5], ignore_index=5)
    with pytest.raises(DataError, match="has no item with a class: all 60 are left out"):
        TorchLoader(TensorDataset(torch.zeros(ROWS), torch.zeros(ROWS, dtype=torch.long)), ignore_index=0)
    with pytest.raises(DataError, match=r"ignore_index leaves out rows of one label, .* of shape \(9"):
        Arrays(np.zeros(4), np.zeros((4, 9), int), ignore_index=-100)
    with pytest.raises(UsageError, match="ignore_index is 'x'; expected an integer"):
        Arrays(X, Y, ignore_index="x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected integers; found dtype float64, NaN at 1 of 2 rows: leave these out"):
        Arrays(np.zeros(2), [1.0, np.nan])


def test_a_run_counts_what_is_left_out(tmp_path: Path) -> None:
    x, y = examples(300)
    labels = np.where(np.arange(300) % 10 == 0, 255, y)
    data = {"test": Arrays(x, labels, ignore_index=255)}
    runs = checkpoints(tmp_path / "runs", 1, 2)
    events = go(evaluation_of(data=data), runs, store=tmp_path / "evals")
    noted = [note["message"] for note in events.of("note") if "left out" in note["message"]]
    assert noted == ["test: 30 rows are left out: 30 with label 255 (ignore_index)"]
    with np.load(runs / "step-1.npz") as held:
        right: Array = (x @ held["w"] + held["b"]).argmax(axis=1) == labels
    assert CLASSES < 255
    assert events.value("top1", step=1) == right.sum() / 270
    shown = command("show", "1", "--store", tmp_path / "evals").stdout
    assert "left_out.label 255 (ignore_index)  30" in shown
