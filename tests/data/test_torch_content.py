"""What a map-style data set holds counts whole: a label that changes anywhere makes other data of it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from milepost.core.types import Array
from milepost.data.torch_loader import TorchLoader

ROWS = 300
INPUTS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 10, ROWS)


class Held(Dataset[tuple[torch.Tensor, int]]):
    """A data set of the user's own, whose labels lie in an attribute of any kind."""

    def __init__(self, labels: Any, **more: Any) -> None:
        self.labels = labels
        self.__dict__ |= more

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(INPUTS[row]), 0


class Wrapping(Dataset[Any]):
    """One that wraps another, as those that add a transform do."""

    def __init__(self, base: Dataset[Any]) -> None:
        self.base = base

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> Any:
        return self.base[row][0], 0


def tensors(labels: Array, inputs: Array = INPUTS) -> TensorDataset:
    return TensorDataset(torch.tensor(inputs), torch.tensor(labels))


KINDS: dict[str, Callable[[Array], Dataset[Any]]] = {
    "TensorDataset": tensors,
    "Subset": lambda labels: Subset(tensors(labels), range(5, 205)),
    "ConcatDataset": lambda labels: ConcatDataset([tensors(LABELS), tensors(labels)]),
    "nested": lambda labels: Subset(ConcatDataset([Subset(tensors(labels), range(250)), tensors(LABELS)]), range(260)),
    "wrapped": lambda labels: Wrapping(Subset(Held(labels.tolist()), range(ROWS))),
    "array": Held,
    "tensor": lambda labels: Held(torch.tensor(labels)),
    "list": lambda labels: Held(labels.tolist()),
    "tuples": lambda labels: Held([(f"{row}.png", int(label)) for row, label in enumerate(labels)]),
    "dict of lists": lambda labels: Held({"ids": list(range(ROWS)), "y": labels.tolist()}),
    "table": lambda labels: Held(pd.DataFrame({"path": [f"{row}.png" for row in range(ROWS)], "y": labels})),
    "series of text": lambda labels: Held(pd.Series([f"class {label}" for label in labels])),
}
WHOLE = {"TensorDataset", "Subset", "ConcatDataset", "nested"}


def digest(dataset: Dataset[Any], **options: Any) -> str:
    return str(TorchLoader(dataset, **options).fingerprint()["digest"])


def unread(size: int) -> int:
    """Return a row that the probe of 64 items does not read."""
    return max(set(range(200)) - set(TorchLoader(tensors(LABELS[:size], INPUTS[:size])).rows(np.arange(64)).tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_one_label_that_changes_makes_other_data(kind: str) -> None:
    make, labels = KINDS[kind], LABELS.copy()
    fingerprint = TorchLoader(make(LABELS)).fingerprint()
    assert ("weak" in fingerprint) == (kind not in WHOLE)
    assert digest(make(LABELS.copy())) == fingerprint["digest"]
    labels[unread(ROWS)] += 1
    assert digest(make(labels)) != fingerprint["digest"]
    declared = {"version": "toy@1"}
    assert digest(make(labels), **declared) == digest(make(LABELS), **declared)


def test_one_input_of_a_tensor_data_set_that_changes_makes_other_data() -> None:
    inputs = INPUTS.copy()
    inputs[unread(ROWS), 0] += 1
    assert digest(tensors(LABELS, inputs)) != digest(tensors(LABELS))
    assert "weak" not in TorchLoader(tensors(LABELS)).fingerprint()


def test_the_same_items_through_another_transform_are_other_data() -> None:
    class Flipped(TensorDataset):
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, ...]:
            inputs, label = self.tensors
            return inputs[index].flip(0), label[index]

    flipped = Flipped(torch.tensor(INPUTS), torch.tensor(LABELS))
    assert digest(flipped) != digest(tensors(LABELS))
    assert TorchLoader(flipped).fingerprint()["weak"] == 64  # a class of its own may do anything


def test_which_items_a_subset_picks_counts() -> None:
    assert digest(Subset(tensors(LABELS), range(100))) != digest(Subset(tensors(LABELS), range(1, 101)))


def test_what_is_known_is_named_where_the_rest_is_weak() -> None:
    fingerprint = TorchLoader(Held(LABELS, paths=["a", "b"], size=3, transform=len, empty=[])).fingerprint()
    assert (fingerprint["weak"], fingerprint["known"]) == (64, ["labels", "paths"])
    assert "known" not in TorchLoader(Held(None)).fingerprint()


def files(folder: Path) -> list[tuple[str, int]]:
    return [(str(folder / f"{row}.bin"), int(LABELS[row])) for row in range(ROWS)]


def test_files_count_by_path_size_and_time_wherever_their_folder_lies(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for row in range(ROWS):
        (folder / f"{row}.bin").write_bytes(bytes([row % 256]))
    before = digest(Held(files(folder)))
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy2)
    assert digest(Held(files(tmp_path / "copy"))) == before
    names = [f"{row}.bin" for row in range(ROWS)]
    assert digest(Held(names, root=folder)) == digest(Held(names, root=tmp_path / "copy"))
    os.utime(folder / "7.bin", ns=(1, 1))
    assert digest(Held(files(folder))) != before
    assert digest(Held(names, root=folder)) != digest(Held(names, root=tmp_path / "copy"))
    (folder / "7.bin").unlink()
    assert digest(Held(files(folder))) not in {before, digest(Held(files(tmp_path / "copy")))}


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), [object()], [[1], [object()]], lambda: 0])
def test_what_is_no_plain_value_says_nothing(value: Any) -> None:
    assert digest(Held(LABELS, other=value)) == digest(Held(LABELS))


def test_a_data_set_that_wraps_itself_is_no_endless_loop() -> None:
    wrapping = Wrapping(Held(LABELS))
    wrapping.other = wrapping  # type: ignore[attr-defined]
    assert digest(wrapping) == digest(wrapping)
