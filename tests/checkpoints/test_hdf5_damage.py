"""Damaged HDF5: a changed byte under a checksum is noticed, circles end, and what is declared is not made unseen."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.checkpoints import hdf5_files as files

from milepost._internal.bounded import opened
from milepost._internal.budget import spending
from milepost.checkpoints._codecs.hdf5.checksums import lookup3
from milepost.checkpoints._codecs.hdf5.superblock import root_of
from milepost.checkpoints._codecs.hdf5.tree import Tree, tree
from milepost.checkpoints._codecs.hdf5.window import whole
from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats._keras.table import bytes_of
from milepost.checkpoints.formats.keras_h5 import KerasH5
from milepost.checkpoints.reader import read_table
from milepost.errors import CheckpointError, Corrupt, Unsupported

W = np.arange(35, dtype="f4").reshape(7, 5)
GCOL = struct.Struct("<IQI")
"""Where a text of any length lies: how long it is, its heap's address, its number there."""


def read(path: Path, data: bytes) -> tuple[Tree, dict[str, bytes]]:
    """Write a file and return its tree and its values, within the budget of a checkpoint of its size."""
    path.write_bytes(data)
    with opened(str(path)) as file, spending(str(path), len(data)):
        made = tree(whole(file))
        return made, {name: bytes(bytes_of(whole(file), held)) for name, held in made.datasets.items() if held.dtype}


def dense(file: h5py.File) -> None:
    """Add links and attributes to heaps, with values that have checksums."""
    for number in range(12):
        file.create_dataset(f"layers/{number}", data=W + number, chunks=(7, 5), fletcher32=True)
        file["layers"].attrs[f"weight_names{number}"] = np.array([b"x" * 50])


def in_chunks(file: h5py.File) -> None:
    """Add one dataset of each list of chunks that has checksums."""
    for number, most in enumerate([None, (None, 5), (None, None)]):
        how = {"compression": "gzip", "shuffle": True, "fletcher32": True, "maxshape": most}
        file.create_dataset(str(number), data=W + number, chunks=(1, 2), **how)


@pytest.mark.parametrize("fill", [dense, in_chunks])
def test_no_changed_byte_changes_a_value_where_all_has_checksums(fill: Callable[..., None], tmp_path: Path) -> None:
    data = files.made(fill, libver="latest")
    path = tmp_path / "a.h5"
    before = read(path, data)
    assert all(held.checked for held in before[0].datasets.values())
    assert read_table(KerasH5(), find([str(path)])[0]).checksum
    draw, refused = np.random.default_rng(4), 0
    for place in range(0, len(data), max(len(data) // 500, 1)):
        changed = bytearray(data)
        changed[place] ^= 1 << int(draw.integers(8))
        try:
            after = read(path, bytes(changed))
        except CheckpointError:
            refused += 1
            continue
        assert after[1] == before[1], f"byte {place}"
        assert after[0].texts == before[0].texts, f"byte {place}"
    assert refused > 100


@pytest.mark.parametrize("how", [{}, {"chunks": (7, 5)}, {"chunks": (7, 5), "compression": "gzip"}])
def test_values_without_checksums_are_not_reported_as_checked(how: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for version in ("earliest", "latest"):
        with h5py.File(path, "w", libver=version) as file:
            file.create_dataset("w", data=W, **how)
        assert not read_table(KerasH5(), find([str(path)])[0]).checksum
    with h5py.File(path, "w", libver="v108") as file:  # checksums of values and headers, none of the list of chunks
        file.create_dataset("w", data=W, chunks=(2, 2), fletcher32=True)
    assert not read_table(KerasH5(), find([str(path)])[0]).checksum


def test_lookup3_is_that_of_the_library() -> None:
    data = files.made(wide, libver="latest")
    assert int.from_bytes(data[44:48], "little") == lookup3(data[:44])


# ------------------------------------------------------------------------------------------- structures made to hurt


def wide(file: h5py.File) -> None:
    """Add so many members that their tree has two levels."""
    for number in range(400):
        file[f"layers/{number}"] = np.int32(number)


def at(data: bytes, signature: bytes, level: int = 0) -> int:
    """Return where a structure begins: a node of a tree at some level, or the first of its kind."""
    place = data.find(signature)
    while signature == b"TREE" and data[place + 5] != level:
        place = data.find(signature, place + 1)
    assert place > 0
    return place


def patched(data: bytes, place: int, value: int, width: int = 8) -> bytes:
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def a_node_under_itself(data: bytes) -> bytes:
    return patched(data, at(data, b"TREE", 1) + 32, at(data, b"TREE", 1))


def a_node_under_two(data: bytes) -> bytes:
    top = at(data, b"TREE", 1)
    return patched(data, top + 48, int.from_bytes(data[top + 32 : top + 40], "little"))


def a_name_without_an_end(data: bytes) -> bytes:
    heap = at(data, b"HEAP")
    size, begin = (int.from_bytes(data[heap + place : heap + place + 8], "little") for place in (8, 24))
    return data[:begin] + b"x" * size + data[begin + size :]


def names_of_a_terabyte(data: bytes) -> bytes:
    return patched(data, at(data, b"HEAP") + 8, 1 << 40)


def a_node_of_many(data: bytes) -> bytes:
    return patched(data, at(data, b"SNOD") + 6, 0xFFFF, 2)


def a_header_of_many(data: bytes) -> bytes:
    return patched(data, 96 + 2, 0xFFFF, 2)


def a_header_in_a_circle(data: bytes) -> bytes:
    """Make the root's header go on where it begins."""
    return data[: 96 + 16] + struct.pack("<HHB3xQQ", 0x10, 16, 0, 96, 40) + data[96 + 40 :]


OLD: dict[Callable[[bytes], bytes], str] = {
    a_node_under_itself: "two ways lead to a node",
    a_node_under_two: "two ways lead to a node",
    a_name_without_an_end: "has no end",
    names_of_a_terabyte: "the names of a local heap should take bytes",
    a_node_of_many: "symbol table node",
    a_header_of_many: "declares 65,535 messages",
    a_header_in_a_circle: "goes on in a circle",
}


@pytest.mark.parametrize("change", list(OLD), ids=lambda change: change.__name__)
def test_old_structures_made_to_hurt(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=OLD[change]):
        read(tmp_path / "a.h5", change(files.made(wide)))


def signed(data: bytes, begin: int, size: int, place: int, value: bytes) -> bytes:
    """Return data with a field changed in a structure of `size` bytes, whose checksum follows and is made again."""
    made = bytearray(data)
    made[place : place + len(value)] = value
    made[begin + size : begin + size + 4] = lookup3(bytes(made[begin : begin + size])).to_bytes(4, "little")
    return bytes(made)


NEW = {
    # structure: its bytes before the checksum, then where a field lies, what to put there, and what is reported
    "depth": (b"BTHD", 34, 12, b"\xff\xff", "65535 deep"),
    "record": (b"BTHD", 34, 10, b"\0\0", "records of 0 bytes"),
    "count": (b"BTHD", 34, 24, b"\xff\xff", "65,535 records of another kind or size"),
    "block": (b"FRHP", 142, 112, b"\3", "expected a power of two"),
    "table": (b"FRHP", 142, 110, b"\0\0", "expected a power of two"),
    "filters": (b"FRHP", 142, 7, b"\1", "compressed names or attributes"),
    "rows": (b"FRHP", 142, 140, b"\xff\xff", "block of a fractal heap"),
}


@pytest.mark.parametrize("name", list(NEW))
def test_new_structures_made_to_hurt(name: str, tmp_path: Path) -> None:
    signature, size, place, value, words = NEW[name]
    data = files.made(wide, libver="latest")
    begin = at(data, signature)
    kind = Unsupported if name == "filters" else Corrupt
    with pytest.raises(kind, match=words):
        read(tmp_path / "a.h5", signed(data, begin, size, begin + place, value))


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_declared_sizes_are_not_made(version: str, tmp_path: Path) -> None:
    """Fields at many places, as the largest number and as 2**40: no more memory than a few megabytes."""
    data = files.made(dense, libver=version)
    path = tmp_path / "a.h5"
    for place in range(48, len(data) - 8, 648):
        for value in ((1 << 64) - 1, 1 << 40):
            tracemalloc.start()
            try:
                read(path, patched(data, place, value))
            except CheckpointError:
                pass
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert peak < 8 << 20, (place, value)


def test_one_text_that_stands_for_many(tmp_path: Path) -> None:
    """A list of which each name is the same 300 KB of a heap: 60 MB of text in a file of 0.3."""
    names = ["x" * 300_000, *[f"name{number}" for number in range(200)]]
    data = files.made(lambda file: (file.attrs.create("layer_names", names), file.create_dataset("w", data=W)))
    whole_length = data.index(struct.pack("<I", 300_000))
    first = data[whole_length : whole_length + GCOL.size]
    assert data.count(first) == 1
    changed = data.replace(data[whole_length : whole_length + 201 * GCOL.size], 201 * first)
    with pytest.raises(Corrupt, match="bytes of text"):
        read(tmp_path / "a.h5", changed)


def test_the_file_that_hangs_the_library(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "hostile" / "hang-weights.h5"
    if not path.is_file():
        pytest.skip("the file is not here")
    with pytest.raises(Corrupt, match="global heap"), opened(str(path)) as file:
        tree(whole(file))


def test_a_root_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(patched(files.made(wide), 64, (1 << 64) - 1))
    with pytest.raises(Corrupt, match="names no root group"), opened(str(path)) as file:
        root_of(whole(file))
