"""Hugging Face's sharded weights: an index and its shards are one checkpoint, whole or being written."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from milepost.checkpoints._files.beside import settled_step
from milepost.checkpoints.discovery import find, would_search
from milepost.checkpoints.formats.hf_shards import HfShards
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import read_table
from milepost.core.types import Array, CheckpointFiles
from milepost.errors import Corrupt, Torn
from milepost.testing.formats import LAWS, FormatCase, Law
from milepost.watch.snapshot import Snapshot

W = np.arange(6, dtype=np.float32).reshape(2, 3)
INDEX = "model.safetensors.index.json"


def save_bin(arrays: Mapping[str, Array], path: Path) -> None:
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, path)


def shards(folder: Path, *parts: Mapping[str, Array], ending: str = "safetensors", stem: str = "model") -> Path:
    """Write shards and their index as Hugging Face's libraries do."""
    save: Callable[[Any, Path], object] = save_file if ending == "safetensors" else save_bin
    listed: dict[str, str] = {}
    for number, arrays in enumerate(parts, 1):
        name = f"{stem}-{number:05}-of-{len(parts):05}.{ending}"
        save(dict(arrays), folder / name)
        listed |= dict.fromkeys(arrays, name)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}, indent=2, sort_keys=True))
    return index


def halves(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write one checkpoint of two shards."""
    names = sorted(arrays)
    parts = [{name: np.array(arrays[name], order="C") for name in names[begin::2]} for begin in (0, 1)]
    made = shards(path.parent, *parts, stem=path.name.partition(".")[0])
    assert made == path


def arrays_of(found: CheckpointFiles) -> dict[str, Any]:
    return {item.name: map_tensor(item) for item in read_table(HfShards(), found).tensors}


CASE = FormatCase(HfShards(), halves, ".safetensors.index.json", hostile=(
    b'{"weight_map": {"w": "../x.safetensors"}}', b'{"weight_map": {}}', b'{"weight_map": {"w": 3}}', b"[" * 100_000,
    b'{"weight_map": {"w": "/etc/x.safetensors"}}', b'{"weight_map": ["w"]}', b'{"weight_map": 1', b"{}", b"\xff{}",
))  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_contract_holds(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


@pytest.mark.parametrize(("ending", "stem"), [("safetensors", "model"), ("bin", "pytorch_model")])
def test_shards_are_one_checkpoint(ending: str, stem: str, tmp_path: Path) -> None:
    index = shards(tmp_path, {"a.weight": W}, {"b.weight": W + 1, "c": W[0]}, ending=ending, stem=stem)
    (found,) = find([str(tmp_path)])
    assert (found.path, found.format, found.state) == (str(index), "hf_shards", "complete")
    assert [os.path.basename(path) for path in found.paths[1:]] == [
        f"{stem}-00001-of-00002.{ending}", f"{stem}-00002-of-00002.{ending}",
    ]  # fmt: skip
    arrays = arrays_of(found)
    assert sorted(arrays) == ["a.weight", "b.weight", "c"]
    assert np.array_equal(arrays["b.weight"], W + 1)


def test_a_shard_by_itself_is_no_checkpoint(tmp_path: Path) -> None:
    shards(tmp_path, {"a": W}, {"b": W})
    (alone,) = find([str(tmp_path / "model-00002-of-00002.safetensors")])
    assert alone.failure is not None
    assert f"for all of which {INDEX} stands" in alone.failure[1]
    assert not would_search(alone)


def test_absent_shards_are_named(tmp_path: Path) -> None:
    index = shards(tmp_path, {"a": W}, {"b": W}, {"c": W})
    for number in (1, 3):
        (tmp_path / f"model-0000{number}-of-00003.safetensors").unlink()
    (found,) = find([str(tmp_path)])
    assert (found.path, found.state) == (str(index), "writing")
    words = r"2 of its 3 shards are not there: model-00001-of-00003.safetensors, model-00003-of-00003.safetensors"
    with pytest.raises(Torn, match=words):
        read_table(HfShards(), found)


def test_an_index_that_was_whole_only_after_it_was_found_is_looked_at_again(tmp_path: Path) -> None:
    index = shards(tmp_path, {"a": W}, {"b": W})
    whole = index.read_text()
    index.write_text(whole[: len(whole) // 2])
    (found,) = find([str(tmp_path)])
    assert (found.state, found.paths) == ("writing", (str(index),))
    index.write_text(whole)
    with pytest.raises(Torn, match="in a file that was not there when the checkpoint was found"):
        read_table(HfShards(), found)


def test_shards_without_their_index_are_one_row_that_names_what_is_absent(tmp_path: Path) -> None:
    shards(tmp_path, {"a": W}, {"b": W}, {"c": W}).unlink()
    (found,) = find([str(tmp_path)])
    assert found.failure is not None
    assert found.failure[0] == "torn"
    assert f"one of 3 shards: the index of all {INDEX} is not there" in found.failure[1]
    (tmp_path / "model-00001-of-00003.safetensors").unlink()
    (found,) = find([str(tmp_path)])
    assert found.failure is not None
    assert f"model-00001-of-00003.safetensors, and their index {INDEX} is not there" in found.failure[1]


def test_the_only_shard_of_one_is_whole_by_itself(tmp_path: Path) -> None:
    save_file({"a": W}, tmp_path / "model-00001-of-00001.safetensors")
    assert [one.format for one in find([str(tmp_path)])] == ["safetensors"]
    shards(tmp_path, {"a": W})
    assert [one.format for one in find([str(tmp_path)])] == ["hf_shards"]


def test_a_shard_that_is_cut_is_still_being_written(tmp_path: Path) -> None:
    shards(tmp_path, {"a": W}, {"b": W})
    second = tmp_path / "model-00002-of-00002.safetensors"
    second.write_bytes(second.read_bytes()[:-1])
    (found,) = find([str(tmp_path)])
    assert found.state == "writing"
    with pytest.raises(Torn, match=r"model-00002-of-00002\.safetensors"):
        read_table(HfShards(), found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 12345\n", r"Git LFS pointer \(12,345 bytes expected\)"),
        (b"<!DOCTYPE html>" + bytes(100), "neither safetensors nor a file of torch.save's"),
    ],
)
def test_a_shard_that_is_no_weights_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    shards(tmp_path, {"a": W}, {"b": W})
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(content)
    (found,) = find([str(tmp_path)])
    with pytest.raises(Corrupt, match=rf"model-00002-of-00002.safetensors: not weights: .*{words}"):
        read_table(HfShards(), found)


def test_the_index_decides_which_tensor_is_read_from_where(tmp_path: Path) -> None:
    index = shards(tmp_path, {"a": W, "b": W}, {"b": W + 1})
    assert np.array_equal(arrays_of(find([str(tmp_path)])[0])["b"], W + 1)
    held = json.loads(index.read_text())
    held["weight_map"]["gone"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(held))
    with pytest.raises(Corrupt, match=r"lists gone in model-00001-of-00002.safetensors, which holds no such tensor"):
        arrays_of(find([str(tmp_path)])[0])


def test_a_shard_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shards(tmp_path / "run", {"a": W}, {"b": W})
    second = tmp_path / "run" / "model-00002-of-00002.safetensors"
    second.rename(tmp_path / "secret")
    second.symlink_to(tmp_path / "secret")
    found = next(one for one in find([str(tmp_path / "run")]) if one.format == "hf_shards")
    with pytest.raises(Corrupt, match="is a symbolic link to"):
        read_table(HfShards(), found)


def test_the_hubs_cache_of_links_to_blobs_is_followed_where_its_index_is_named(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    blobs.mkdir()
    snapshot.mkdir()
    index = shards(snapshot, {"a": W}, {"b": W})
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(f"../blobs/{number}")
    assert sorted(arrays_of(find([str(index)])[0])) == ["a", "b"]


def test_a_watch_takes_shards_that_came_before_the_index_for_its_own(tmp_path: Path) -> None:
    snapshot = Snapshot([str(tmp_path)])
    index = shards(tmp_path, {"a": W}, {"b": W})
    text = index.read_text()
    index.unlink()
    assert snapshot.scan().new == ()
    index.write_text(text)
    assert [file.path for file in snapshot.scan(full=True).new] == [str(index)]
    assert len(snapshot.members(str(index))) == 2


@pytest.mark.parametrize(
    ("name", "step", "source"), [("out", 700, "trainer_state.json: global_step"), ("checkpoint-50", 50, "name")]
)
def test_the_step_is_that_of_the_trainers_state_where_the_folder_has_none(
    name: str, step: int, source: str, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    shards(tmp_path / name, {"a": W}, {"b": W})
    (tmp_path / name / "trainer_state.json").write_text('{"global_step": 700, "log_history": []}')
    (found,) = find([str(tmp_path)])
    table = read_table(HfShards(), found)
    assert settled_step(found.path, table.step, table.step_source) == (step, source)


@pytest.mark.parametrize("state", ["{", '{"global_step": "7"}', '{"global_step": -1}', "[]", '{"global_step": 1e3}'])
def test_a_trainers_state_that_is_damaged_gives_no_step(state: str, tmp_path: Path) -> None:
    shards(tmp_path, {"a": W}, {"b": W})
    (tmp_path / "trainer_state.json").write_text(state)
    assert read_table(HfShards(), find([str(tmp_path)])[0]).step is None


@pytest.mark.wide
def test_what_transformers_writes_is_read_as_it_reads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100
    )
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    (found,) = [one for one in find([str(tmp_path)]) if one.failure is None]
    assert (found.format, found.state) == ("hf_shards", "complete")
    assert len(found.paths) > 3
    arrays = arrays_of(found)
    assert arrays.keys() == model.state_dict().keys()
    assert all(np.array_equal(arrays[name], value.numpy()) for name, value in model.state_dict().items())
