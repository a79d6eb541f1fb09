"""From the data's labels to the model's classes: maps, offsets, names, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import data

from milepost.core.types import Batch
from milepost.data import Arrays, Batches, TorchLoader
from milepost.errors import DataError, UsageError

X = np.arange(20.0).reshape(10, 2)
Y = np.array([3, 5, 7, 3, 5, 7, 3, 5, 7, 3])
Make = Any


def arrays(labels: Any, **options: Any) -> Arrays:
    return Arrays(X[: len(labels)], labels, order="natural", **options)


def stream(labels: Any, **options: Any) -> Batches:
    return Batches(lambda: [(X[: len(labels)], labels)], **options)


def loader(labels: Any, **options: Any) -> TorchLoader:
    items = data.TensorDataset(torch.from_numpy(X[: len(labels)]), torch.from_numpy(np.asarray(labels)))
    return TorchLoader(items, order="natural", **options)


def classes(source: Any) -> list[Any]:
    return [label for batch in source.batches(0, 100, 4) for label in batch.labels.tolist()]


EVERY = pytest.mark.parametrize("make", [arrays, stream, loader])


@EVERY
def test_labels_become_the_models_classes(make: Make) -> None:
    assert classes(make(Y, label_map={3: 0, 5: 2, 7: 0})) == [0, 2, 0, 0, 2, 0, 0, 2, 0, 0]
    assert classes(make(Y, label_offset=1)) == (Y + 1).tolist()
    assert classes(make(Y, label_map={3: 0, 5: 2, 7: 0}, label_offset=1)) == [1, 3, 1, 1, 3, 1, 1, 3, 1, 1]
    assert classes(make(Y - 4, label_offset=1)) == (Y - 3).tolist()
    assert classes(make(Y > 5, label_map={False: 4, True: 1})) == np.where(Y > 5, 1, 4).tolist()
    # One more than a byte holds, and labels of pixels.
    assert classes(make(np.array([255, 0], np.uint8), label_offset=1)) == [256, 1]
    pixels = np.array([[3, 7], [5, 5]])
    assert classes(make(pixels, label_map={3: 0, 5: 2, 7: 1})) == [[0, 1], [2, 2]]


@pytest.mark.parametrize("make", [arrays, stream])
def test_rows_whose_label_maps_to_none_are_left_out(make: Make) -> None:
    assert classes(make(Y, label_map={3: 0, 5: None, 7: 1})) == [0, 1, 0, 1, 0, 1, 0]
    with pytest.raises(DataError, match=r"label_map leaves out label 5, but a row has labels of shape \(2,\)"):
        classes(make(np.array([[3, 7], [3, 5]]), label_map={3: 0, 5: None, 7: 1}))
    with pytest.raises(DataError, match="empty"):
        classes(make(Y, label_map={3: None, 5: None, 7: None}))


@EVERY
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_map": {3: 0, 5: 1}}, r"labels: 7 at row 2 is not in label_map, which knows 2 labels from 3 to 5"),
        ({"label_map": {3: 0, 5: 1, 7: -1}}, r"labels: 7 at row 2 becomes -1 by label_map"),
        ({"label_offset": -4}, r"labels: 3 at row 0 becomes -1 by label_offset"),
        (
            {"class_names": list("abcdefg")},
            r"labels: 7 at row 2 has no name: class_names has 7, for the classes 0 to 6",
        ),
    ],
)
def test_labels_that_become_no_class_are_refused(make: Make, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        classes(make(Y, **options))


@EVERY
def test_wrong_pixels_are_named(make: Make) -> None:
    with pytest.raises(DataError, match="labels: 9 at row 1 is not in label_map"):
        classes(make(np.array([[3, 5], [3, 9]]), label_map={3: 0, 5: 1}))
    with pytest.raises(DataError, match="labels: 1 at row 1 becomes -1"):
        classes(make(np.array([[3, 5], [3, 1]]), label_offset=-2))


def test_the_row_is_that_of_the_data_set_in_any_order() -> None:
    labels = np.where(np.arange(10) == 7, 9, 0)
    items = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(labels))
    with pytest.raises(DataError, match="labels: 9 at row 7 is not in label_map"):
        classes(TorchLoader(items, label_map={0: 0}))


def test_labels_of_rows_that_do_not_count_may_be_anything() -> None:
    options: dict[str, Any] = {"label_map": {3: 0, 5: 1}, "class_names": ["a", "b"]}
    assert classes(arrays(Y, mask=Y != 7, **options)) == [0, 1, 0, 1, 0, 1, 0]
    assert classes(arrays(Y, weights=(Y != 7) * 2.0, **options)) == [0, 1, 0, 1, 0, 1, 0]
    assert classes(Batches(lambda: [Batch(X, Y, mask=Y != 7)], **options)) == [0, 1, 0, 1, 0, 1, 0]


@EVERY
def test_what_is_done_to_labels_is_in_the_fingerprint_and_names_are_not(make: Make) -> None:
    for version in (None, "toy@1"):
        options: list[dict[str, Any]] = [
            {},
            {"label_map": {3: 3, 5: 5, 7: 7}},
            {"label_map": {3: 3, 5: 5, 7: 6}},
            {"label_offset": 1},
            {"label_map": {3: 3, 5: 5, 7: 7}, "label_offset": 1},
        ]
        found = [str(make(Y, version=version, **option).fingerprint()) for option in options]
        assert len(set(found)) == len(options)
        assert str(make(Y, version=version, class_names=list("abcdefgh")).fingerprint()) == found[0]
        assert str(make(Y, version=version, label_offset=0).fingerprint()) == found[0]


@EVERY
def test_class_names_are_kept_by_class(make: Make) -> None:
    assert make(Y).class_names is None
    assert make(Y, class_names=list("abcdefgh")).class_names == dict(enumerate("abcdefgh"))
    some = make(Y, class_names={3: "ant", 5: "bee"})
    assert some.class_names == {3: "ant", 5: "bee"}
    assert some.described() == {"classes": {"3": "ant", "5": "bee"}}
    assert classes(some) == Y.tolist()
    many = make(Y, class_names=[f"class {number}" for number in range(1001)]).described()
    assert list(many["classes"].items())[-1] == ("1000", "class 1000")
    assert make(Y).described() == {}


@EVERY
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_map": {}}, "label_map is {}; expected a mapping"),
        ({"label_map": [0, 1]}, "expected a mapping"),
        ({"label_map": {"cat": 0}}, "a label of label_map is 'cat'; expected an integer"),
        ({"label_map": {0: 1.0}}, "label_map of 0 is 1.0; expected an integer"),
        ({"label_offset": "1"}, "label_offset is '1'"),
        ({"class_names": "cat"}, "class_names is 'cat'; expected a sequence"),
        ({"class_names": []}, r"class_names is \[\]"),
        ({"class_names": [1, 2]}, "class_names holds 1; names are text"),
        ({"class_names": {-1: "none"}}, "class -1"),
        ({"labels_map": {0: 1}}, "unknown parameter labels_map; available: .*label_map"),
    ],
)
def test_wrong_calls_are_refused(make: Make, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(Y, **options)
