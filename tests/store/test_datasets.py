"""Slices beside a data set's own columns: added at any time, never with other values under one name."""

from pathlib import Path

import numpy as np
import pytest

from milepost.errors import UnstableData
from milepost.store.store import Store


def test_slices_are_kept_apart_and_sealed_with_the_data(tmp_path: Path) -> None:
    dataset = Store.create(tmp_path / "store").dataset("d" * 12)
    dataset.write_spec({"size": 4})
    dataset.add(0, 4, {"label": np.arange(4)})
    assert dataset.slices() == []
    country = dataset.slice("country of/origin é")
    assert country.add(0, 2, {"value": np.array(["de", "france"])})
    assert dataset.slices() == ["country of/origin é"]
    assert dataset.seal(4)
    assert country.coverage() == [(0, 2)]
    assert country.add(2, 4, {"value": np.array(["de", "it"])})
    assert dataset.seal(4)
    country = Store.open(tmp_path / "store").dataset("d" * 12).slice("country of/origin é")
    assert country.read().slice("value", 0, 4).tolist() == ["de", "france", "de", "it"]
    assert dataset.read().names == ["label"]


def test_a_slice_of_other_values_wants_another_name(tmp_path: Path) -> None:
    dataset = Store.create(tmp_path / "store").dataset("d" * 12)
    dataset.slice("site").add(0, 3, {"value": np.array([1, 2, 3])})
    dataset.slice("site").add(0, 3, {"value": np.array([1, 2, 3])})
    with pytest.raises(UnstableData, match=r"slice 'site'.*position 1.*another name"):
        dataset.slice("site").add(0, 3, {"value": np.array([1, 7, 3])})
