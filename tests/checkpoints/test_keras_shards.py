"""Keras' sharded weights: an index and its shards are one checkpoint, whole or being written, and lead nowhere else."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.checkpoints import hdf5_files as files
from tests.checkpoints.hdf5_files import arrays_of

from milepost.checkpoints.discovery import find, would_search
from milepost.checkpoints.formats.keras_shards import KerasShards
from milepost.checkpoints.reader import read_table
from milepost.core.types import Array
from milepost.errors import Corrupt, Torn
from milepost.watch.snapshot import Snapshot

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def shards(folder: Path, *parts: Mapping[str, Array]) -> Path:
    """Write an index and its shards as Keras does."""
    held: dict[str, Any] = {}
    for number, arrays in enumerate(parts):
        name = f"big_{number:05}.weights.h5"
        (folder / name).write_bytes(files.made(files.layers(arrays)))
        for one in arrays:
            held.setdefault(f"/layers/{one.split('/')[0]}/vars", []).append(name)
    index = folder / "big.weights.json"
    plain = {key: names[0] if len(names) == 1 else names for key, names in held.items()}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": plain}, indent=4))
    return index


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    index = shards(tmp_path, {"dense/0": W}, {"dense/1": W + 1, "head/0": W + 2})
    (found,) = find([str(tmp_path)])
    assert (found.path, found.format, found.state) == (str(index), "keras_shards", "complete")
    assert [os.path.basename(path) for path in found.paths] == [
        "big.weights.json", "big_00000.weights.h5", "big_00001.weights.h5",
    ]  # fmt: skip
    arrays = arrays_of(KerasShards(), index)
    assert sorted(arrays) == ["layers/dense/vars/0", "layers/dense/vars/1", "layers/head/vars/0"]
    assert np.array_equal(arrays["layers/dense/vars/1"], W + 1)
    (alone,) = find([str(tmp_path / "big_00001.weights.h5")])
    assert alone.failure is not None
    assert "for all of which big.weights.json stands" in alone.failure[1]
    assert not would_search(alone)


def test_shards_that_are_absent_cut_or_more_are_being_written(tmp_path: Path) -> None:
    index = shards(tmp_path, {"dense/0": W}, {"dense/1": W})
    second = tmp_path / "big_00001.weights.h5"
    content = second.read_bytes()
    second.unlink()
    found = find([str(index)])[0]
    assert found.state == "writing"
    with pytest.raises(Torn, match=r"its shard big_00001.weights.h5 is not there"):
        read_table(KerasShards(), found)
    second.write_bytes(content[:-1])
    assert find([str(index)])[0].state == "writing"
    second.write_bytes(content)
    assert find([str(index)])[0].state == "complete"
    third = tmp_path / "big_00002.weights.h5"
    third.write_bytes(content)
    os.utime(third, ns=(0, os.stat(index).st_mtime_ns + 1))
    assert find([str(index)])[0].state == "writing"  # a shard that the index does not list yet
    os.utime(third, ns=(0, os.stat(index).st_mtime_ns - 1))
    assert [(one.path, one.state) for one in find([str(tmp_path)])] == [(str(index), "complete")]  # of a larger model


def test_epochs_that_are_called_as_shards_are_checkpoints_without_an_index(tmp_path: Path) -> None:
    for epoch in (1, 2):
        (tmp_path / f"model_{epoch:05}.weights.h5").write_bytes(files.made(files.layers({"dense/0": W + epoch})))
    assert [one.format for one in find([str(tmp_path)])] == ["keras_h5", "keras_h5"]
    assert len(Snapshot([str(tmp_path)]).scan().new) == 2
    index = shards(tmp_path, {"dense/0": W}, {"dense/1": W})
    changes = Snapshot([str(tmp_path)]).scan()
    assert {os.path.basename(seen.path) for seen in changes.new} == {
        "big.weights.json", "model_00001.weights.h5", "model_00002.weights.h5",
    }  # fmt: skip
    assert len(find([str(tmp_path)])) == 3
    assert index.exists()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"/a/vars": "../big_00000.weights.h5"}, "not a shard of big.weights.json"),
        ({"/a/vars": "/etc/big_00000.weights.h5"}, "not a shard of big.weights.json"),
        ({"/a/vars": "other_00000.weights.h5"}, "not a shard of big.weights.json"),
        ({"/a/vars": ["big_00000.weights.h5", 7]}, "not a shard of big.weights.json"),
        ({"/a/vars": {"b": 1}}, "'b', which is not a shard of"),
        ({"/a/vars": 7}, "'7', which is not a shard of"),
        ({"/a/vars": [["b"]]}, "which is not a shard of"),
    ],
)
def test_an_index_leads_nowhere_else(listed: Any, words: str, tmp_path: Path) -> None:
    index = shards(tmp_path, {"dense/0": W})
    (tmp_path / "a.json").write_text("{}")
    held = {"metadata": {}, "weight_map": {"/x/vars": "big_00000.weights.h5", **listed}}
    index.write_text(json.dumps(held))
    found = find([str(index)])[0]
    assert found.format == "keras_shards"
    with pytest.raises(Corrupt, match=words):
        read_table(KerasShards(), found)


def test_other_indices_are_left_alone(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"w": "model-00001-of-00002.safetensors"}}))
    assert [one.format for one in find([str(tmp_path)])] == ["hf_shards"]
