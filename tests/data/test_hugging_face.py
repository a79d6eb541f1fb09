"""Hugging Face data sets and streams of tuples or dicts by `TorchLoader`, as its docstring says."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from milepost.data.torch_loader import TorchLoader
from milepost.errors import DataError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, IterableDataset  # noqa: E402 - torch may be absent

ROWS = 40
X = np.arange(2 * ROWS, dtype=np.float32).reshape(ROWS, 2)
Y = np.arange(ROWS) % 3
NAMES = ["ant", "bee", "cow"]


@pytest.fixture(scope="module")
def datasets() -> Any:
    return pytest.importorskip("datasets")


def made(datasets: Any, labels: Any = None) -> Any:
    column = datasets.List(datasets.Value("float32"), length=2)
    features = datasets.Features({"x": column, "y": datasets.ClassLabel(names=NAMES), "id": datasets.Value("string")})
    given = Y.tolist() if labels is None else labels
    return datasets.Dataset.from_dict({"x": X, "y": given, "id": [f"r{n}" for n in range(ROWS)]}, features=features)


def rows(source: TorchLoader, size: int = 7) -> list[tuple[list[float], int]]:
    batches = source.batches(0, ROWS, size)
    pairs = [pair for batch in batches for pair in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True)]
    return sorted(pairs)


EXPECTED = [(x, y) for x, y in zip(X.tolist(), Y.tolist(), strict=True)]


@pytest.mark.parametrize("kind", ["map", "numpy", "iterable", "loader", "shards"])
def test_every_kind_gives_its_rows_and_names(kind: str, datasets: Any) -> None:
    data = made(datasets)
    given: dict[str, Callable[[], Any]] = {
        "map": lambda: data.with_format("torch"),
        "numpy": lambda: data.with_format("numpy"),
        "iterable": lambda: data.to_iterable_dataset().with_format("torch"),
        "loader": lambda: DataLoader(data.with_format("torch"), batch_size=16),
        "shards": lambda: DataLoader(data.to_iterable_dataset(num_shards=4).with_format("torch"), batch_size=5),
    }
    source = TorchLoader(given[kind](), inputs="x", label="y", ids="id")
    assert rows(source) == EXPECTED
    assert source.class_names == dict(enumerate(NAMES))
    assert source.size == ROWS
    source.fingerprint()


def test_without_a_format_lists_are_refused_and_not_turned_around(datasets: Any) -> None:
    data = made(datasets)
    # Batches of two rows of two numbers would fit either way round.
    for given in (data, DataLoader(data, batch_size=2), data.to_iterable_dataset()):
        with pytest.raises(DataError, match=r"inputs are lists of numbers.* \.with_format\(\"torch\"\)"):
            rows(TorchLoader(given, inputs="x", label="y"), size=2)


def test_gaps_and_unlabelled_rows_are_left_out(datasets: Any) -> None:
    gaps = [None if n % 4 == 0 else int(y) for n, y in enumerate(Y)]
    source = TorchLoader(made(datasets, gaps).with_format("torch"), inputs="x", label="y")
    assert rows(source) == [pair for n, pair in enumerate(EXPECTED) if n % 4]
    assert (source.size, source.described()["left_out"]) == (30, {"label None": 10})
    unlabelled = [-1 if n % 4 == 0 else int(y) for n, y in enumerate(Y)]
    source = TorchLoader(made(datasets, unlabelled).with_format("torch"), inputs="x", label="y", ignore_index=-1)
    assert rows(source) == [pair for n, pair in enumerate(EXPECTED) if n % 4]
    assert source.described()["left_out"] == {"label -1 (ignore_index)": 10}


class Shard(IterableDataset[Any]):
    """What WebDataset's pipelines are: an iterable of samples, as tuples or as dicts with keys of the files."""

    def __init__(self, *, named: bool) -> None:
        self.named = named

    def __iter__(self) -> Iterator[Any]:
        for number, (x, y) in enumerate(zip(X, Y.tolist(), strict=True)):
            yield {"__key__": f"shard/{number:04}", "npy": x, "cls": y} if self.named else (x, y)


def test_streams_like_webdataset() -> None:
    assert rows(TorchLoader(DataLoader(Shard(named=False), batch_size=16))) == EXPECTED
    source = TorchLoader(DataLoader(Shard(named=True), batch_size=16), inputs="npy", label="cls", ids="__key__")
    assert rows(source) == EXPECTED
    assert source.own_batch_size == 16
    (batch,) = source.batches(0, 3, 3)
    assert batch.ids is not None
    assert batch.ids.tolist() == ["shard/0000", "shard/0001", "shard/0002"]
