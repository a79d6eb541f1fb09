"""Data that changes behind the first rows, and rows that are there twice: what a run says of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import CLASSES, checkpoints, command, evaluation_of, examples, go, linear, weights_of
from torch.utils.data import Dataset

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.data.torch_loader import TorchLoader
from milepost.errors import UnstableData
from milepost.report.reader import open_store

ROWS = 300


@dataclass
class Noisy:
    """A stream whose rows from `first` on carry noise; each pass has other noise."""

    first: int
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __call__(self) -> Iterator[tuple[Array, Array]]:
        inputs, labels = examples(ROWS)
        inputs[self.first :] += self.random.normal(size=inputs[self.first :].shape)
        for at in range(0, ROWS, 50):
            yield inputs[at : at + 50], labels[at : at + 50]


class Augmented(Dataset[tuple[torch.Tensor, int]]):
    """A data set that gives some items another sign each time that they are read."""

    def __init__(self, items: set[int]) -> None:
        self._inputs, self._labels = examples(ROWS)
        self._signs = dict.fromkeys(items, -1)

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row in self._signs:
            self._signs[row] = -self._signs[row]
        return torch.from_numpy(self._inputs[row] * self._signs.get(row, 1)), int(self._labels[row])


def test_random_rows_behind_the_first_are_found_by_the_next_pass(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    data = {"test": Batches(Noisy(first=100), version="noisy@1", size=ROWS)}
    go(evaluation_of(data=data), folder, store=store)
    checkpoints(folder, 2)
    with pytest.raises(UnstableData, match="first at position 100 of the order") as found:
        go(evaluation_of(data=data), folder, store=store)
    assert "switch off what is random" in str(found.value)


def test_an_augmentation_of_items_that_were_not_looked_at_is_found(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    looked_at = set(TorchLoader(Augmented(set())).rows(np.arange(64)).tolist())
    data = {"test": TorchLoader(Augmented(set(range(ROWS)) - looked_at))}
    go(evaluation_of(data=data), folder, store=store)
    checkpoints(folder, 2)
    with pytest.raises(UnstableData, match="inputs differ from those of an earlier pass"):
        go(evaluation_of(data=data), folder, store=store)


def test_the_same_rows_made_by_another_library_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    inputs, labels = examples(ROWS)

    def evaluated(inputs: Array) -> Any:
        return go(evaluation_of(data={"test": Arrays(inputs, labels, version="toy@1")}), folder, store=store)

    monkeypatch.setattr("milepost.evaluator.made_with", lambda: {"PIL": "12.0"})
    evaluated(inputs)
    checkpoints(folder, 2, 3)
    monkeypatch.setattr("milepost.evaluator.made_with", lambda: {"PIL": "13.0"})
    events = evaluated(inputs + np.float32(1e-6))
    assert events.done == (2, 1, 0)
    assert events.notes.count("test: the inputs differ from those of an earlier pass") == 1
    assert "PIL 12.0 then, 13.0 now" in events.notes
    checkpoints(folder, 4)
    assert "PIL" not in evaluated(inputs).notes


@pytest.mark.parametrize("ids", [None, np.arange(2 * ROWS)])
def test_data_that_is_there_twice_is_warned_of_unless_rows_have_ids(ids: Any, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "run", 1, 2)
    inputs, labels = examples(ROWS)
    data = {"test": Arrays(np.tile(inputs, (2, 1)), np.tile(labels, 2), ids=ids)}
    events = go(evaluation_of(data=data), folder, store=tmp_path / "store")
    assert events.notes.count("test: 300 of 600 rows repeat an earlier row") == (ids is None)


@pytest.mark.parametrize("apart", [False, True])
def test_copies_within_a_group_do_no_harm(apart: bool, tmp_path: Path) -> None:
    inputs, labels = examples(ROWS)
    groups = np.arange(2 * ROWS) // 3 if apart else np.tile(np.arange(ROWS) // 3, 2)
    data = {"test": Arrays(np.tile(inputs, (2, 1)), np.tile(labels, 2), groups=groups)}
    folder = checkpoints(tmp_path / "run", 1)
    events = go(evaluation_of(data=data), folder, store=tmp_path / "store")
    assert ("300 of 600 rows repeat an earlier row" in events.notes) == apart
    assert "put them into one of groups=" in events.notes or not apart


def test_a_few_equal_rows_are_no_warning(tmp_path: Path) -> None:
    inputs, labels = examples(ROWS)
    inputs[:2], labels[:2] = inputs[3:4], labels[3]
    inputs[4], labels[4] = inputs[5], (labels[5] + 1) % CLASSES  # another label: no repeat
    data = {"test": Arrays(inputs, labels)}
    events = go(evaluation_of(data=data), checkpoints(tmp_path / "run", 1), store=tmp_path / "store")
    assert "repeat" not in events.notes


def test_labels_behind_the_first_rows_of_a_stream_make_other_data(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    inputs, labels = examples(ROWS)

    def stream() -> Iterator[tuple[Array, Array]]:
        for at in range(0, ROWS, 50):
            yield inputs[at : at + 50], labels[at : at + 50]

    def evaluated(**options: Any) -> Any:
        return go(evaluation_of(data={"test": Batches(stream, **options)}), folder, store=store)

    assert evaluated().done == (1, 0, 0)
    assert evaluated().done == (0, 1, 0)
    labels[100:200] = linear(weights_of(1), inputs[100:200]).argmax(axis=1)
    again = evaluated()
    assert again.done == (1, 0, 0)
    assert again.value("top1") == (linear(weights_of(1), inputs).argmax(axis=1) == labels).mean()
    inputs[-1] += 1
    assert evaluated().done == (1, 0, 0)


def test_a_stream_that_is_counted_is_read_once_an_object(tmp_path: Path) -> None:
    calls = []
    inputs, labels = examples(ROWS)

    def stream() -> Iterator[tuple[Array, Array]]:
        calls.append(1)
        yield inputs, labels

    evaluation = evaluation_of(data={"test": Batches(stream)})
    go(evaluation, checkpoints(tmp_path / "run", 1), store=tmp_path / "store")
    before = len(calls)
    assert go(evaluation, tmp_path / "run", store=tmp_path / "store").done == (0, 1, 0)
    assert len(calls) == before


class Opaque(Dataset[tuple[torch.Tensor, int]]):
    """A data set that holds nothing in plain sight but its labels."""

    def __init__(self) -> None:
        inputs, self.labels = examples(ROWS)
        self._read: Callable[[int], torch.Tensor] = lambda row: torch.from_numpy(inputs[row])

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self._read(row), int(self.labels[row])


def test_what_the_identity_of_weak_data_rests_on_stands_beside_its_values(tmp_path: Path) -> None:
    store = tmp_path / "store"
    data = {"test": TorchLoader(Opaque()), "declared": TorchLoader(Opaque(), version="opaque@1")}
    go(evaluation_of(data=data), checkpoints(tmp_path / "run", 1), store=store)
    message = "identity of the data rests on 64 of 300 items and its labels; a change of others goes unnoticed: declare"
    records = open_store(store).records()
    assert {record["data"] for record in records if message in record.get("rests_on", "")} == {"test"}
    table = str(open_store(store))
    assert table.count(message) == 1
    assert f"[1] test: {message}" in table
    ended = command("show", "1", "--store", store)
    shown = [line for line in ended.stdout.splitlines() if line.split()[:2] == ["data", "identity"]]
    assert len(shown) == 1
    assert message in shown[0]
