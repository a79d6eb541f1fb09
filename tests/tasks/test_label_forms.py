"""One class a row in any of its forms; whatever else labels are is called what it is, with what to do."""

from typing import Any

import numpy as np
import pytest

from milepost.core.types import Array
from milepost.errors import DataError
from milepost.tasks import Classification

TASK = Classification(outputs="logits")
LABELS = np.array([2, 0, 1, 2])
SCORES = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 0.5], [0.0, 0.25, 0.5], [0.0, 1.0, 2.0]])
ROWS = np.eye(3)[LABELS]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_one_hot_rows_are_classes(dtype: str) -> None:
    columns = frozenset(TASK.columns())
    found, expected = TASK.reduce(SCORES, ROWS.astype(dtype), columns), TASK.reduce(SCORES, LABELS, columns)
    assert {name: item.tobytes() for name, item in found.items()} == {k: v.tobytes() for k, v in expected.items()}
    assert TASK.label_column(ROWS.astype(dtype)).tolist() == LABELS.tolist()


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_a_column_of_numbers_is_classes(dtype: str) -> None:
    column = LABELS[:, None].astype(dtype)
    assert TASK.label_column(column).tolist() == LABELS.tolist()
    assert TASK.reduce(SCORES, column, frozenset({"rank"}))["rank"].tolist() == [2, 0, 1, 0]


def changed(**cells: float) -> Array:
    rows: Array = ROWS.copy()
    for place, value in cells.items():
        rows[tuple(map(int, place.removeprefix("at").split("_")))] = value
    return rows


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            ROWS * 0.9 + 0.1 / 3,
            "a row is 0.0333333, 0.0333333, 0.933333, which looks smoothed or mixed; pass labels",
        ),
        (changed(at1_0=0.5, at1_1=0.5), "a row is 0.5, 0.5, 0, which looks smoothed or mixed"),
        (changed(at3_0=1.0), r"several classes a row, or none \(a row is 1, 0, 1\): Milepost has no task"),
        (changed(at3_0=1.0).astype(int), "several classes a row"),
        (changed(at1_0=0.0), r"a row has no class \(0, 0, 0\); leave such rows out, as with mask=labels.sum"),
        (changed(at0_0=np.nan), r"unknown in places \(a row is nan, 0, 1\).* with mask=~np.isnan\(labels\[:, j\]\)"),
        (changed(at0_0=-1.0).astype(int), r"unknown in places \(a row is -1, 0, 1\).* with mask=labels\[:, j\] >= 0"),
        (np.array([[3, 5, -100], [1, -100, -100]]), r"labels of shape \[rows, 3\] are several a row, one a token"),
        (np.zeros((4, 6, 6), int), r"labels of shape \[rows, 6, 6\] are several a row, one a pixel"),
        (np.ones((4, 1)), r"labels\[:, 0\].astype\('int64'\)"),
        (np.full((4, 2), "a"), "must be integers"),
    ],
)
def test_other_labels_are_called_what_they_are(labels: Array, words: str) -> None:
    with pytest.raises(DataError, match=words):
        TASK.label_column(labels)


def test_one_hot_over_other_classes_than_the_outputs() -> None:
    with pytest.raises(DataError, match="labels are one-hot over 5 classes, but the model has 3 outputs"):
        TASK.reduce(SCORES, np.eye(5)[LABELS], frozenset({"rank"}))
    with pytest.raises(DataError, match="one-hot over 2 classes, but the model has 3 outputs"):
        TASK.reduce(SCORES, np.eye(2)[LABELS % 2], frozenset({"rank"}))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (np.zeros((4, 9, 6)), r"the model gave \(4, 9, 6\): scores of several tokens or pixels a row have no task"),
        (np.zeros(4), r"the model gave \(4,\)$"),
    ],
)
def test_outputs_of_another_shape_say_what_to_return(outputs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        TASK.reduce(outputs, LABELS, frozenset({"rank"}))
