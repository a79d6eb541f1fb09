"""Images of flat folders: labels from a CSV, a mapping or a function; what is missing or too much is named."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from milepost.data import Images
from milepost.errors import DataError, UsageError
from milepost.testing.sources import check_source

NAMES = ["ant", "bee", "cow"]
LABELS = {f"{number:02}.png": number * 5 % 3 for number in range(24)}


def flat(folder: Path, deep: str = "") -> Path:
    """Write 24 images of which each pixel is ten times its number."""
    (folder / deep).mkdir(parents=True)
    for number in range(24):
        Image.new("L", (2, 2), 10 * number).save(folder / deep / f"{number:02}.png")
    return folder


def written(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(folder: Path, labels: Any, **more: Any) -> dict[str, int]:
    """Return the labels by file; each image is the one that its name says."""
    source = Images(folder, labels=labels, preset="raw", mode="L", order="natural", **more)
    (batch,) = source.batches(0, source.size, 100)
    assert batch.ids is not None
    ids = batch.ids.tolist()
    assert [int(image.flat[0]) for image in batch.inputs] == [10 * int(Path(name).stem) for name in ids]
    return dict(zip(ids, batch.labels.tolist(), strict=True))


def test_labelled_images_keep_the_laws(tmp_path: Path) -> None:
    folder = flat(tmp_path / "val")
    others = [
        lambda: Images(folder, labels={**LABELS, "00.png": 2}, preset="raw"),
        lambda: Images(folder, labels=LABELS, preset="raw", label_offset=1),
    ]
    check_source(lambda: Images(folder, labels=LABELS, preset="raw"), others)


@pytest.mark.parametrize(
    "rows",
    [
        [[name, label] for name, label in LABELS.items()],
        [[Path(name).stem, label] for name, label in LABELS.items()],
        [["filename", "label"], *([name, label] for name, label in LABELS.items())],
        [["Id", "Breed"], *([Path(name).stem, label] for name, label in LABELS.items())],
        [["label", "split", "image"], *([label, "val", f"./{name}"] for name, label in LABELS.items())],
        [[f" {name} ", f" {label} "] for name, label in reversed(LABELS.items())] + [[]],
    ],
)
def test_a_csv_of_numbers(rows: list[list[Any]], tmp_path: Path) -> None:
    assert read(flat(tmp_path / "val"), written(tmp_path / "labels.csv", rows)) == LABELS


def test_names_are_numbered_as_they_are_sorted_or_by_classes(tmp_path: Path) -> None:
    folder = flat(tmp_path / "val", "deep")
    table = written(folder / "labels.csv", [[f"deep/{name}", NAMES[label]] for name, label in LABELS.items()])
    expected = {f"deep/{name}": label for name, label in LABELS.items()}
    assert read(folder, table) == expected, "the CSV in the folder is not taken for an image left out"
    assert Images(folder, labels=table, preset="raw").class_names == dict(enumerate(NAMES))
    more = ["zebra", *NAMES]
    assert read(folder, str(table), classes=more) == {name: label + 1 for name, label in expected.items()}
    numbers = {"ant": 7, "bee": 5, "cow": 3}
    assert set(read(folder, table, classes=numbers).values()) == {7, 5, 3}
    assert Images(folder, labels=table, preset="raw", classes=numbers).class_names == {7: "ant", 5: "bee", 3: "cow"}
    with pytest.raises(DataError, match=r"1 label not among the 2 declared classes: cow"):
        Images(folder, labels=table, classes=NAMES[:2])


def test_a_function_and_a_mapping(tmp_path: Path) -> None:
    folder = flat(tmp_path / "val")
    assert read(folder, lambda path: int(Path(path).stem) * 5 % 3) == LABELS
    assert read(folder, lambda path: NAMES[LABELS[path]]) == LABELS
    assert read(folder, {name: np.int64(label) for name, label in LABELS.items()}) == LABELS
    assert read(folder, LABELS, label_offset=1) == {name: label + 1 for name, label in LABELS.items()}
    assert Images(folder, labels=LABELS, classes=NAMES, preset="raw").class_names == dict(enumerate(NAMES))


def test_images_without_a_class_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = flat(tmp_path / "val")
    few = {name: label for name, label in LABELS.items() if name not in {"03.png", "07.png"}}
    table = written(tmp_path / "labels.csv", [[name, few.get(name, "")] for name in LABELS])
    assert read(folder, table) == few
    assert read(folder, few.get) == few
    source = Images(folder, labels=few.get, preset="raw")
    assert (source.size, source.described()["left_out"]) == (22, {"label None": 2})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({name: LABELS[name] for name in list(LABELS)[2:]}, r"2 images without a label: 00.png, 01.png; expected one"),
        ({**LABELS, "99.png": 1}, r"1 label without an image: 99.png; expected one label for each path"),
        ({**LABELS, "00.png": "ant"}, r"01.png has the label 2; expected class numbers for all images, or names"),
        ({**LABELS, "04.png": 1.5}, "has the label"),
        ({**LABELS, "04.png": -1}, r"04.png has the label -1; labels are 0 or more: give None"),
        (dict.fromkeys(LABELS), "no image has a label"),
        (lambda path: 1 / 0, "labels of 00.png: the function raised ZeroDivisionError"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        Images(flat(tmp_path / "val"), labels=labels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "labels='.*labels.csv': holds no label"),
        ("00.png\n", r"row 1 is \['00.png'\]; expected a file's name and its label, apart by a comma"),
        ("file,label\n00.png,1\n00.png,2\n", "row 3: 00.png is there twice"),
        ("00.png;1\n", "row 1 is"),
    ],
)
def test_a_csv_that_is_none_says_where(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        Images(flat(tmp_path / "val"), labels=tmp_path / "labels.csv")


def test_what_labels_can_be(tmp_path: Path) -> None:
    folder = flat(tmp_path / "val")
    with pytest.raises(DataError, match=r"cannot be read as a CSV in UTF-8: .*No such file"):
        Images(folder, labels="none.csv")
    with pytest.raises(UsageError, match="labels is a list; expected a CSV's path, a mapping"):
        Images(folder, labels=[1, 2])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"belongs to no class; .* go into labels=: a CSV, a mapping"):
        Images(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        Images(tmp_path / "empty", labels=LABELS)
