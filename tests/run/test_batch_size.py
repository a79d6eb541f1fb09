"""The batches of an evaluation are those of its loaders, unless it says otherwise, which the run reports once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, command, evaluation_of, examples, go

from milepost.data.arrays import Arrays
from milepost.data.torch_loader import TorchLoader
from milepost.errors import UsageError

torch = pytest.importorskip("torch")
from torch.utils.data import (  # noqa: E402 - torch may be absent
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
)

ROWS = 150
X, Y = examples(ROWS)
DATA = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(DATA)


def sizes(*loaders: Any, **more: Any) -> list[int]:
    evaluation = evaluation_of(
        data={str(place): item for place, item in enumerate(loaders)}, **{"batch_size": None, **more}
    )
    return list(evaluation.batch_sizes.values())


def test_the_loader_says_how_many_rows() -> None:
    sampler = BatchSampler(SequentialSampler(DATA), batch_size=40, drop_last=False)
    loaders = [DataLoader(DATA, batch_size=64), DataLoader(DATA, batch_sampler=sampler), DataLoader(DATA)]
    assert sizes(*map(TorchLoader, loaders)) == [64, 40, 1]
    assert sizes(TorchLoader(DataLoader(Stream(), batch_size=24))) == [24]
    assert sizes(*map(TorchLoader, loaders), batch_size=32) == [32, 32, 32]
    assert sizes(TorchLoader(DATA), TorchLoader(Stream()), Arrays(X, Y)) == [256, 256, 256]
    assert sizes(TorchLoader(DataLoader(DATA, batch_size=None))) == [256]


@pytest.mark.parametrize("size", [0, -1, True, "64", 1.5])
def test_a_source_with_an_odd_batch_size_is_refused(size: Any) -> None:
    source = type("Odd", (Arrays,), {"own_batch_size": size})(X, Y)
    with pytest.raises(UsageError, match=r"own_batch_size = .*; expected a positive integer, or None"):
        evaluation_of(data={"test": source})


def batch_mean(right: Any, size: int) -> float:
    """Average the accuracies of batches, as a loop over the loader does."""
    return float(np.mean([right[start : start + size].mean() for start in range(0, len(right), size)]))


def two_loaders() -> dict[str, TorchLoader]:
    other = TensorDataset(torch.from_numpy(X), torch.from_numpy((Y + 1) % 10))
    return {"a": TorchLoader(DataLoader(DATA, batch_size=64)), "b": TorchLoader(DataLoader(other, batch_size=40))}


def test_batch_means_are_those_of_each_loader(tmp_path: Path) -> None:
    runs = checkpoints(tmp_path / "runs", 1)
    events = go(evaluation_of(data=two_loaders(), batch_size=None), runs, store=tmp_path / "evals")
    with np.load(runs / "step-1.npz") as held:
        predicted = (X @ held["w"] + held["b"]).argmax(axis=1)
    for name, size, labels in (("a", 64, Y), ("b", 40, (Y + 1) % 10)):
        mean = events.value("top1", "batch_mean", data=name, batch_size=size)
        assert mean == pytest.approx(batch_mean(predicted == labels, size))
        assert events.value("top1", data=name) == np.mean(predicted == labels)
    assert "where the loader has" not in events.notes
    again = go(evaluation_of(data=two_loaders(), batch_size=None), runs, store=tmp_path / "evals")
    assert again.done == (0, 1, 0)


def test_the_table_has_the_batch_means_of_every_data_set(tmp_path: Path) -> None:
    runs = checkpoints(tmp_path / "runs", 1, 2)
    go(evaluation_of(data=two_loaders(), batch_size=None), runs, store=tmp_path / "evals")
    rows = command("ls", "--store", tmp_path / "evals").stdout.splitlines()[1:]
    assert len(rows) == 4
    assert not [row for row in rows if " - " in row], "no cell is empty"


def test_another_batch_size_is_reported_once(tmp_path: Path) -> None:
    runs, place = checkpoints(tmp_path / "runs", 1, 2), tmp_path / "evals"
    data = {"test": TorchLoader(DataLoader(DATA, batch_size=64))}
    events = go(evaluation_of(data=data, batch_size=40), runs, store=place)
    noted = [note["message"] for note in events.of("note") if "where the loader has" in note["message"]]
    assert noted == [
        "test: batches of 40 rows by Evaluation(batch_size=40), where the loader has 64: batch means are of 40 rows too"
    ]
    lines = [line.split() for line in command("show", "1", "--store", place).stdout.splitlines()]
    assert ["batch_size", "40"] in lines
    assert ["loader_batch_size", "64"] in lines
    # The rows are there: only the other batch mean is computed.
    assert go(evaluation_of(data=data, batch_size=None), runs, store=place).done == (0, 2, 0)
    assert "batch mean of 64 rows" in command("show", "1", "--store", place).stdout
