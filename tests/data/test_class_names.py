"""Class names that a data set holds are found, and follow the labels through a map and an offset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from milepost.data.torch_loader import TorchLoader

torch = pytest.importorskip("torch")
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset  # noqa: E402 - torch may be absent


class Named(Dataset[Any]):
    """Rows of one number, labelled 0, 1, 2, ..., with what the keywords say as attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return torch.tensor([float(row)]), row % 3


ANIMALS = ["ant", "bee", "cow"]
BY_PLACE = dict(enumerate(ANIMALS))


def names(data: Any, **more: Any) -> Any:
    return TorchLoader(data, **more).class_names


def test_names_of_torchvision_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ANIMALS:
        (tmp_path / name).mkdir()
        Image.new("L", (2, 2)).save(tmp_path / name / "1.png")
    folder = datasets.ImageFolder(tmp_path)
    assert names(folder) == BY_PLACE
    assert TorchLoader(DataLoader(folder)).described()["classes"] == {"0": "ant", "1": "bee", "2": "cow"}
    turned = datasets.ImageFolder(tmp_path, target_transform=lambda label: 2 - label)
    assert names(turned) is None, "the names would be those of other labels"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"classes": ANIMALS}, BY_PLACE),
        ({"classes": ANIMALS, "class_to_idx": {"cow": 0, "ant": 1, "bee": 2}}, {0: "cow", 1: "ant", 2: "bee"}),
        (
            {"classes": [("ant", "emmet"), ("bee",)], "class_to_idx": {"ant": 0, "emmet": 0, "bee": 1}},
            {0: "ant", 1: "bee"},
        ),
        ({"classes": 3}, None),
        ({"classes": [0, 1, 2]}, None),
        ({"classes": "abc"}, None),
        ({"classes": []}, None),
        ({}, None),
    ],
)
def test_names_by_attribute(attributes: dict[str, Any], expected: dict[int, str] | None) -> None:
    assert names(Named(**attributes)) == expected


def test_names_through_data_sets_that_keep_the_labels() -> None:
    data = Named(classes=ANIMALS)
    assert names(Subset(Subset(data, [0, 1, 2]), [0, 1])) == BY_PLACE
    assert names(ConcatDataset([data, data])) == BY_PLACE
    assert names(ConcatDataset([data, Named(classes=["cow", "bee", "ant"])])) is None
    assert names(Named(dataset=data)) is None, "a wrapper of the user's may turn labels into others"


def test_names_follow_the_labels() -> None:
    data = Named(classes=ANIMALS)
    assert names(data, label_offset=1) == {1: "ant", 2: "bee", 3: "cow"}
    assert names(data, label_map={0: 7, 1: 5, 2: 7}) == {7: "ant | cow", 5: "bee"}
    assert names(data, class_names=["x", "y", "z"]) == {0: "x", 1: "y", 2: "z"}
    few = TorchLoader(Named(classes=["ant", "bee"]), order="natural")
    found = [batch.labels.tolist() for batch in few.batches(0, 6, 6)]
    assert found == [[0, 1, 2, 0, 1, 2]], "names that were found refuse no label"


def test_names_of_hugging_face_features() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"x": datasets.Value("float32"), "y": datasets.ClassLabel(names=ANIMALS)})
    data = datasets.Dataset.from_dict({"x": [0.0, 1.0, 2.0], "y": [0, 1, 2]}, features=features)
    assert names(data, inputs="x", label="y") == BY_PLACE
    assert names(data.select([0, 2]), inputs="x", label="y") == BY_PLACE
    assert names(data.to_iterable_dataset().with_format("torch"), inputs="x", label="y") == BY_PLACE
    plain = datasets.Dataset.from_dict({"x": np.zeros(2), "y": [0, 1]})
    assert names(plain, inputs="x", label="y") is None
