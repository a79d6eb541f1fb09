"""Tensor bundles from outside: what is being written, what lacks a file, what is a part, and where links lead."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints import _tf_writer as writer
from tests.checkpoints._tf_writer import bundle

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.tf_bundle import TfBundle
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader, read_table
from milepost.core.types import CheckpointFiles, Table
from milepost.errors import Corrupt, Torn

SHARDS = 2
WORDS = {"w": np.arange(12, dtype="f4").reshape(4, 3), "b": np.arange(3, dtype="f4")}


def beside(name: str) -> list[str]:
    return [f"{name.removesuffix('.index')}.data-{number:05d}-of-{SHARDS:05d}" for number in range(SHARDS)]


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    writer.write_bundle(path, arrays, SHARDS)


def read(path: Path) -> Table:
    (found,) = find([str(path)])
    return read_table(TfBundle(), found)


def states(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the state of all that is found, and why, by path."""
    return {
        os.path.relpath(one.path, folder): (one.state, one.failure[1] if one.failure else "")
        for one in find([str(folder)])
    }


def test_what_is_lacking_is_given_in_bytes_and_files(tmp_path: Path) -> None:
    write(tmp_path / "m.index", {**WORDS, "c": np.zeros(5)})
    first, second = (tmp_path / name for name in beside("m.index"))
    assert states(tmp_path) == {"m.index": ("complete", "")}
    whole = first.read_bytes()
    first.write_bytes(whole[:-3])
    state, why = states(tmp_path)["m.index"]
    assert state == "writing"
    assert f"{first.name} has {len(whole) - 3} of {len(whole)} bytes, 3 are missing" in why
    second.unlink()
    (found,) = find([str(tmp_path)])
    assert found.failure is not None
    with pytest.raises(Torn, match=rf"3 are missing; {second.name} is absent"):
        read_table(TfBundle(), found)
    with pytest.raises(Torn, match=rf"3 are missing; {second.name} is absent"):
        Reader().table(found, "")


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (b"", "writing", "0 bytes do not end with a table's footer"),
        (b"\0", "writing", "footer, written last"),
        (b"\0\0\x06\x08\x01", "writing", "footer, written last"),
        (bytes(600), "complete", ""),
        (b"nonsense" * 30, "complete", ""),
    ],
)
def test_an_index_without_its_end_beside_shards(content: bytes, state: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "m.index", WORDS)
    (tmp_path / "m.index").write_bytes(content)
    (found,) = find([str(tmp_path)])
    assert (found.format, found.state) == ("tf_bundle", state)
    assert words in (found.failure or ("", ""))[1]
    with pytest.raises(Torn if state == "writing" else Corrupt, match=r"m\.index: "):
        read_table(TfBundle(), found)


def test_what_belongs_to_a_checkpoint_is_none_by_itself_and_says_to_which(tmp_path: Path) -> None:
    write(tmp_path / "m.index", WORDS)
    (tmp_path / "m.meta").write_bytes(b"\n\x02v1")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "G:/CNN/tmp/m"\n')
    (tmp_path / "m_temp").mkdir()
    shutil.copy(tmp_path / "m.index", tmp_path / "m_temp" / "part-00000-of-00001.index")
    shutil.copy(tmp_path / "m.index", tmp_path / "m.index.tempstate16274529")
    shutil.copy(tmp_path / "m.index", tmp_path / "faiss.bin")
    (tmp_path / "other.index").write_bytes(b"IxF2" + bytes(90))
    reported = states(tmp_path)
    assert reported.pop("faiss.bin")[0] == "failed"
    assert reported == {"m.index": ("complete", "")}
    for name, kind, words in (
        (beside("m.index")[0], "unsupported", "a shard of the TensorFlow checkpoint"),
        ("m.meta", "program", "the graph beside a TensorFlow checkpoint"),
        ("checkpoint", "unsupported", "a TensorFlow state file, which only names checkpoints"),
        ("faiss.bin", "corrupt", "neither as a bundle's index called PREFIX.index nor"),
    ):
        (found,) = find([str(tmp_path / name)])
        assert found.failure is not None
        assert found.failure[0] == kind
        assert words in found.failure[1]


def saved_model(folder: Path) -> Path:
    (folder / "variables").mkdir(parents=True)
    writer.write_bundle(folder / "variables" / "variables.index", WORDS)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01 anything at all: nobody reads it")
    return folder


def test_a_saved_model_is_one_checkpoint(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "export")
    (found,) = find([str(tmp_path)])
    assert (found.path, found.format, found.state) == (str(folder), "tf_bundle", "complete")
    assert found.paths[0] == str(folder / "variables" / "variables.index")
    assert found.identity.size == (folder / "variables" / "variables.index").stat().st_size
    table = read_table(TfBundle(), found)
    assert {item.name: map_tensor(item).tolist() for item in table.tensors} == {k: v.tolist() for k, v in WORDS.items()}
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    (found,) = find([str(folder)])
    assert found.state == "writing"
    assert "variables.data-00000-of-00001 is absent, 60 bytes" in (found.failure or ("", ""))[1]
    (folder / "variables" / "variables.index").unlink()
    (found,) = find([str(tmp_path)])
    assert (found.failure or ("", ""))[0] == "program"


def test_links_to_shards_are_followed_within_the_folder_and_never_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "else").mkdir()
    write(tmp_path / "run" / "ckpt-5.index", WORDS)
    for old, new in zip(["ckpt-5.index", *beside("ckpt-5.index")], ["best.index", *beside("best.index")], strict=True):
        (tmp_path / "run" / new).symlink_to(old)
    assert len(read(tmp_path / "run" / "best.index").tensors) == 2
    shard = tmp_path / "run" / beside("ckpt-5.index")[0]
    shard.rename(tmp_path / "else" / shard.name)
    shard.symlink_to(tmp_path / "else" / shard.name)
    for name in ("ckpt-5.index", "best.index"):
        with pytest.raises(Corrupt, match=r"is a symbolic link to .*, in another folder: not followed"):
            read(tmp_path / "run" / name)
    folder = saved_model(tmp_path / "export")
    (folder / "variables").rename(tmp_path / "variables")
    (folder / "variables").symlink_to(tmp_path / "variables")
    with pytest.raises(Corrupt, match=r"out of the checkpoint's folder; it was not followed"):
        read(folder)


def test_the_real_saved_model_names_its_missing_shard() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "checkpoints" / "savedmodel_shard_missing"
    if not folder.is_dir():
        pytest.skip("the real SavedModel is not here (optional folder of real data)")
    (found,) = find([str(folder)])
    assert (found.path, found.state) == (str(folder), "writing")
    assert found.failure is not None
    assert found.failure[0] == "torn"
    assert "variables.data-00000-of-00001 is absent, 321,307 bytes of it are needed" in found.failure[1]


def steps_of(folder: Path, renamed: bool) -> Iterator[list[CheckpointFiles]]:
    """Yield what is found after each step of a writer, the last first and new ones after it."""
    seen: list[list[CheckpointFiles]] = []
    files = bundle("model.ckpt-40", {"w": np.arange(3000, dtype="f4"), "global_step": np.array(40)}, 2)
    writer.slowly(folder / "model.ckpt-40", files, lambda: seen.append(find([str(folder)])), renamed=renamed, piece=99)
    yield from seen


@pytest.mark.parametrize("renamed", [True, False])
def test_a_writer_is_seen_writing_and_then_whole_and_never_wrong(renamed: bool, tmp_path: Path) -> None:
    reported = list(steps_of(tmp_path, renamed))
    kinds = ["-" if not one else one[0].state for one in reported]
    assert all(len(one) <= 1 for one in reported)
    assert all(found.path.endswith("model.ckpt-40.index") for one in reported for found in one)
    order = [kind for number, kind in enumerate(kinds) if not number or kinds[number - 1] != kind]
    assert order == (["-", "complete"] if renamed else ["-", "writing", "complete"])
    assert all(found.failure is None or found.failure[0] == "torn" for one in reported for found in one)
    assert read_table(TfBundle(), reported[-1][0]).step == 40
