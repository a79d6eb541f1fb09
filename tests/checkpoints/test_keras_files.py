"""HDF5 and Keras' archives: the contract, golden places, and files made to hurt."""

import ctypes
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests._material import MILEPOST
from tests.checkpoints import hdf5_files as files
from tests.checkpoints.hdf5_files import arrays_of, table_of

from milepost.checkpoints._codecs.hdf5.checksums import fletcher32
from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.keras_h5 import KerasH5
from milepost.checkpoints.formats.keras_zip import KerasZip
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import materialise, read_table
from milepost.core.types import Array, CheckpointFiles
from milepost.errors import Corrupt, Torn, Unsupported
from milepost.testing.formats import LAWS, FormatCase, Law

W = np.arange(6, dtype=np.float32).reshape(2, 3)
HOSTILE = tuple(files.made(fill) for fill in files.HOSTILE.values())


def in_chunks(path: Path, arrays: Mapping[str, Array]) -> None:
    files.plain(path, arrays, chunks=True, compression="gzip", shuffle=True, fletcher32=True)


def deflated(path: Path, arrays: Mapping[str, Array]) -> None:
    files.archive(path, arrays, zipfile.ZIP_DEFLATED)


CASES = {
    "h5": FormatCase(KerasH5(), files.plain, ".h5", hostile=HOSTILE),
    "chunks": FormatCase(KerasH5(), in_chunks, ".h5"),
    "keras": FormatCase(
        KerasZip(), files.archive, ".keras", checksummed=True, hostile=tuple(map(files.zipped, HOSTILE))
    ),
    "deflated": FormatCase(KerasZip(), deflated, ".keras", checksummed=True),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_contract(case: FormatCase, law: Law, tmp_path: Path) -> None:
    law(case, tmp_path)


# ---------------------------------------------------------------------------------------------------------------- names


def test_files_of_keras_3_keep_their_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        for number in (0, 1, 10, 2):
            file[f"layers/dense/vars/{number}"] = W + number
        file["optimizer/vars/0"] = np.int64(70)
        file["optimizer/vars/1"] = np.float32(0.1)
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "u4")
        rng = file.create_group("rng/vars")
        rng["0"], rng.attrs["name"] = np.zeros(2, "u4"), "seed_generator_4"
        file["metrics/mean/vars/0"] = np.float32(3)
        half = file.create_dataset("layers/half/vars/0", data=W.astype(ml_dtypes.bfloat16))
        half.attrs["dtype"] = "bfloat16"
    table = table_of(KerasH5(), path)
    roles = {item.name: item.role for item in table.tensors}
    assert [name for name in roles if name.startswith("layers/dense/")] == [
        f"layers/dense/vars/{number}" for number in (0, 1, 2, 10)
    ]
    assert {name for name, role in roles.items() if role == "bookkeeping"} == {
        "layers/dropout/seed_generator/vars/0", "rng/vars/0", "metrics/mean/vars/0",
    }  # fmt: skip
    assert {name for name, role in roles.items() if role == "optimizer"} == {"optimizer/vars/0", "optimizer/vars/1"}
    assert (table.step, table.step_source) == (70, "content: optimizer/vars/0")
    half = arrays_of(KerasH5(), path)["layers/half/vars/0"]
    assert half.dtype == ml_dtypes.bfloat16
    assert np.array_equal(half, W.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("whole", [True, False])
def test_older_files_name_by_layer(whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    listed = {
        "dense_4": ["net/dense_4/kernel:0", "net/dense_4/bias:0"],
        "encoder": ["dense/kernel:0"],
        "drop": [],
        "top_level_model_weights": ["scale:0"],
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file["/"]
        names = [name.encode() for name in ("dense_4", "encoder", "drop")]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:2], names[2:]
        for layer, weights in listed.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [weight.encode() for weight in weights]
            for number, weight in enumerate(weights):
                inner[weight] = W + number
        if whole:
            file.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": "x" * 3000})
            slots = file.create_group("optimizer_weights")
            slots.attrs["weight_names"] = [b"training/Adam/iter:0", b"training/Adam/m:0"]
            slots["training/Adam/iter:0"], slots["training/Adam/m:0"] = np.int64(12), W
    table = table_of(KerasH5(), path)
    found = [item.name for item in table.tensors if item.role == "weights"]
    assert found == ["dense_4/kernel", "dense_4/bias", "encoder/dense/kernel", "top_level_model_weights/scale"]
    assert table.step == (12 if whole else None)
    assert np.array_equal(arrays_of(KerasH5(), path)["dense_4/bias"], W + 1)


def test_a_listed_weight_that_is_absent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
        file["dense/other"] = W
    with pytest.raises(Corrupt, match="lists 'dense/dense/kernel:0', and there is no such dataset"):
        table_of(KerasH5(), path)


# --------------------------------------------------------------------------------------------------------------- layout


def test_arrays_are_mapped_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    files.plain(path, {"w": W})
    files.archive(tmp_path / "a.keras", {"w": W})
    for form, place in ((KerasH5(), path), (KerasZip(), tmp_path / "a.keras")):
        where = table_of(form, place).tensors[0].where
        assert where.encoding == "raw"
        assert place.read_bytes()[where.offset : where.offset + where.nbytes] == W.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    chunk=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    dtype=st.sampled_from(["<f4", ">f8", "<i2", "u1", "bool"]),
    filters=st.fixed_dictionaries(
        {"shuffle": st.booleans(), "fletcher32": st.booleans(), "compression": st.sampled_from([None, "gzip"])}
    ),
)
def test_chunks_are_put_together_as_h5py_does(
    shape: list[int], chunk: list[int], dtype: str, filters: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "a.h5"
    array = (np.random.default_rng(1).random(shape) * 3).astype(dtype)
    chunks = tuple(min(part, size) for part, size in zip(chunk, shape, strict=False))
    files.plain(path, {"w": array}, chunks=chunks, **filters)
    with h5py.File(path) as file:
        expected = file["w"][()]
    found = arrays_of(KerasH5(), path)["w"]
    assert found.dtype == expected.dtype.newbyteorder("=") or found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_fletcher32_finds_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    files.plain(path, {"w": W}, chunks=(2, 3), fletcher32=True)
    whole = bytearray(path.read_bytes())
    whole[whole.index(W.tobytes()) + 5] ^= 4
    path.write_bytes(whole)
    with pytest.raises(Corrupt, match=r"the chunk at \(0, 0\) is damaged: Fletcher-32 stored"):
        arrays_of(KerasH5(), path)
    assert fletcher32(b"") == fletcher32(bytes(10)) == 0


def test_other_filters_and_types_are_noted_and_fatal_only_if_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["w"] = W
        file["text"] = "hello"
        file["pair"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        file.create_dataset("lzf", data=W, compression="lzf")
        file.create_dataset("nothing", data=h5py.Empty("f4"))
        file["pointer"] = file["w"].ref
    table = table_of(KerasH5(), path)
    odd = {item.name for item in table.tensors if item.dtype == "void"}
    assert odd == {"text", "pair", "lzf", "nothing", "pointer"}
    assert "HDF5 filter 32000" in table.notes[0]
    spooled = materialise(KerasH5(), table, str(tmp_path))
    assert np.array_equal(map_tensor(next(item for item in spooled.tensors if item.name == "w")), W)
    with pytest.raises(Unsupported, match="'lzf'"):
        KerasH5().fetch(next(item for item in table.tensors if item.name == "lzf"))


# --------------------------------------------------------------------------------------------------------- completeness


def test_a_file_that_is_open_for_writing_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        assert find([str(path)])[0].state == "writing"
        file["layers/dense/vars/0"] = np.ones(5000, "f4")
        assert find([str(path)])[0].state == "writing"
        file.flush()
        found = find([str(path)])[0]
        assert found.state == "writing"
        with pytest.raises(Torn, match="open for writing"):
            read_table(KerasH5(), found)
        file["layers/dense/vars/1"] = np.ones(5000, "f4")
    assert find([str(path)])[0].state == "complete"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_cut_file_says_how_much_is_missing(version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    whole = files.made(files.layers({"dense/0": np.ones(5000, "f4")}), libver=version)
    path.write_bytes(whole[:-7])
    found = find([str(path)])[0]
    assert found.state == "writing"
    with pytest.raises(Torn, match=f"has {len(whole) - 7:,} of {len(whole):,} bytes .* 7 missing"):
        read_table(KerasH5(), found)
    path.write_bytes(whole + b"1")
    with pytest.raises(Torn, match="1 too many"):
        read_table(KerasH5(), CheckpointFiles(str(path), "keras_h5", (str(path),), found.identity))


# -------------------------------------------------------------------------------------------------------------- hostile


@pytest.mark.parametrize("name", list(files.HOSTILE))
def test_hostile_files_say_what_they_tried(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes(files.made(files.HOSTILE[name]))
    words = {
        "external": "external storage", "virtual": "virtual dataset", "unlimited": "virtual dataset",
        "soft": "a soft link", "leading_out": "an external link",
        "circle": "a second name of", "twice": "a second name of",
        "petabyte": "declares 1,125,899,906,842,624 bytes, 0 are stored",
        "petabyte_in_chunks": "of 2,199,023,255,552 chunks are stored",
        "bomb": "a bomb", "wide_chunk": "a bomb", "misdeclared": "unpacks to 36 bytes, expected 32",
        "deep": "nested more than", "typed": "neither a group nor a dataset",
    }  # fmt: skip
    with pytest.raises(Corrupt, match=words[name]):
        arrays_of(KerasH5(), path)


def test_nothing_outside_is_opened(tmp_path: Path) -> None:
    """A source that exists, in a folder that may be read: only Milepost's refusal keeps it shut."""
    target = tmp_path / "secret.h5"
    files.plain(target, {"x": W.reshape(-1)[:4]})
    outside = (files.external, files.virtual, files.unlimited, files.leading_out)
    paths = [tmp_path / f"{fill.__name__}.weights.h5" for fill in outside]
    for fill, path in zip(outside, paths, strict=True):
        with h5py.File(path, "w") as file:
            fill(file, str(target))
    with opens_of(target) as seen:
        for path in paths:
            with pytest.raises(Corrupt):
                table_of(KerasH5(), path)
        assert not seen()
        with h5py.File(paths[0]) as file:
            file["layers/dense/vars/0"][()]
        assert seen()


@contextmanager
def opens_of(path: Path) -> Iterator[Callable[[], bytes]]:
    """Watch a file by way of inotify; what is given returns the events of opening it, b"" for none."""
    library = ctypes.CDLL(None, use_errno=True)
    watch = library.inotify_init1(os.O_NONBLOCK)
    library.inotify_add_watch(watch, str(path).encode(), 0x20)

    def seen() -> bytes:
        try:
            return os.read(watch, 4096)
        except BlockingIOError:
            return b""

    try:
        yield seen
    finally:
        os.close(watch)


def test_code_in_a_config_is_not_run_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    config = json.dumps({"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "code": "4wEA"}}})
    files.archive(path, {"layers/dense/vars/0": W}, config=config)
    notes = table_of(KerasZip(), path).notes
    assert any("Lambda layers" in note and "none of it was run" in note for note in notes)


def test_archives_with_other_weights_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(files.zipped(b"x" * 40, name="model.weights.npz"))
    with pytest.raises(Unsupported, match=r"without model.weights.h5"):
        table_of(KerasZip(), path)
    packed = files.zipped(os.urandom(300_000), zipfile.ZIP_DEFLATED)
    path.write_bytes(packed.replace(struct.pack("<L", 300_000), struct.pack("<L", 280 << 20)))
    with pytest.raises(Corrupt, match="a bomb"):
        table_of(KerasZip(), path)


def test_an_archive_that_is_cut_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    files.archive(path, {"w": W})
    path.write_bytes(path.read_bytes()[:-30])
    found = find([str(path)])[0]
    assert (found.format, found.state) == ("keras_zip", "writing")


def test_a_whole_archive_of_one_name_that_keras_uses_too_is_not_claimed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("config.json", "{}")
    assert find([str(tmp_path)]) == []


# ------------------------------------------------------------------------------------------ without h5py, and confined


def test_a_base_install_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    in_chunks(path, {"w": W})
    program = (
        "import sys; sys.modules['h5py'] = None\n"
        "from milepost.checkpoints.reader import Reader\n"
        f"found = Reader().discover([{str(path)!r}])[0]; print(found.format, found.state)\n"
        f"print([item.name for item in Reader().table(found, {str(tmp_path)!r}).tensors])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "keras_h5 complete\n['w']\n"


def test_inspect_reads_them_confined(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    files.plain(path, {"w": W}, chunks=(1, 3), compression="gzip")
    done = subprocess.run([*MILEPOST, "inspect", str(path), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "keras_h5"


def test_superblocks_that_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    files.plain(path, {"w": W})
    whole = path.read_bytes()
    base = struct.pack("<Q", 512)
    for place, wrong, kind, words in (
        (8, b"\x09", Corrupt, "version 9"),
        (13, b"\x03", Corrupt, "addresses of 3 bytes"),
        (24, base, Unsupported, "user block"),
    ):
        path.write_bytes(whole[:place] + wrong + whole[place + len(wrong) :])
        with pytest.raises(kind, match=words):
            table_of(KerasH5(), path)
    path.write_bytes(whole[:30])
    assert find([str(path)])[0].state == "writing"
