"""Checksums of a data set's rows: put once, compared with each later pass, doubles counted."""

from pathlib import Path

import numpy as np
import pytest

from milepost.errors import UnstableData
from milepost.store.datasets import Dataset
from milepost.store.store import Store

ROWS = np.arange(100, 110, dtype=np.uint64)
NOW = {"PIL": "13.0", "processor": "x"}


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return Store.create(tmp_path / "store").dataset("d" * 12)


def changed(*places: int) -> np.ndarray:
    rows = ROWS.copy()
    rows[list(places)] = 7
    return rows


def test_rows_that_another_pass_sees_otherwise_are_unstable(data: Dataset) -> None:
    assert data.checksums.add(0, 4, ROWS[:4], NOW) is None
    assert data.checksums.add(4, 10, ROWS[4:], NOW) is None
    assert data.checksums.add(2, 8, ROWS[2:8], NOW) is None
    for _ in range(2):  # in parts, then joined
        with pytest.raises(UnstableData, match=r"first at position 5 of the order \(2 of 8 rows"):
            data.checksums.add(2, 10, changed(5, 9)[2:], NOW)
        data.checksums.seal(10)


def test_rows_that_were_made_with_other_software_are_a_warning(data: Dataset) -> None:
    data.checksums.add(0, 10, ROWS, NOW)
    warning = data.checksums.add(0, 10, changed(3), {**NOW, "PIL": "14.0", "numpy": "2"})
    assert warning is not None
    assert "first at position 3 of the order; they were made with other software" in warning
    assert "(PIL 13.0 then, 14.0 now)" in warning
    with pytest.raises(UnstableData):
        data.checksums.add(0, 10, changed(3), {"numpy": "2"})  # nothing is known to be another


def test_what_lies_beside_what_is_known_is_not_compared(data: Dataset) -> None:
    data.checksums.add(0, 4, ROWS[:4], NOW)
    assert data.checksums.add(4, 10, changed(5)[4:], NOW) is None
    assert data.checksums.repeats(10) == 0


def test_repeats_are_counted_once_all_rows_are_known(data: Dataset) -> None:
    data.checksums.add(0, 6, np.array([1, 2, 1, 1, 3, 2], np.uint64), NOW)
    assert data.checksums.repeats(10) is None
    assert data.checksums.repeats(6) == 3  # two of 1, one of 2


def test_they_are_sealed_with_the_data_and_a_data_set_without_gets_them_later(data: Dataset) -> None:
    data.add(0, 10, {"label": np.arange(10)})
    assert data.seal(10)
    assert data.checksums.repeats(10) is None
    data.checksums.add(0, 6, ROWS[:6], NOW)
    data.checksums.add(6, 10, ROWS[6:], NOW)
    assert data.seal(10)
    assert data.read().names == ["label"]
    assert (data.checksums.repeats(10), data.tidy()) == (0, 0)


def test_those_of_another_kind_are_not_compared(data: Dataset, tmp_path: Path) -> None:
    data.checksums.add(0, 10, ROWS, NOW)
    data.checksums.seal(10)
    (folder,) = (tmp_path / "store").glob("datasets/*/checksums")
    (folder / "2").rename(folder / "1")
    assert Store.open(tmp_path / "store").dataset("d" * 12).checksums.add(0, 10, changed(3), NOW) is None
