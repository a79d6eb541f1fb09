"""Tensor bundles: the contract, indexes made to hurt, and what a writer's every step looks like from outside."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints import _tf_writer as writer
from tests.checkpoints._tf_writer import TYPES, bundle, entry, header, table

from milepost._internal.bounded import opened
from milepost.checkpoints._codecs.sstable import open_table
from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.tf_bundle import TfBundle
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader, materialise, read_table
from milepost.core.types import Table
from milepost.errors import CheckpointError, Corrupt, Torn, Unsupported
from milepost.testing.formats import DTYPES, LAWS, FormatCase, Law

SHARDS = 2
FLOAT = TYPES["float32"]
WORDS = {"w": np.arange(12, dtype="f4").reshape(4, 3), "b": np.arange(3, dtype="f4")}
Rows = Sequence[tuple[bytes, bytes]]


def beside(name: str) -> list[str]:
    return [f"{name.removesuffix('.index')}.data-{number:05d}-of-{SHARDS:05d}" for number in range(SHARDS)]


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    writer.write_bundle(path, arrays, SHARDS)


def raw(rows: Rows, data: bytes = bytes(64), first: bytes | None = None) -> Callable[[Path], None]:
    """Return what writes a bundle of these entries, and both shards of the same bytes."""

    def put(path: Path) -> None:
        path.write_bytes(table([(b"", header(SHARDS) if first is None else first), *rows]))
        for name in beside(path.name):
            path.with_name(name).write_bytes(data)

    return put


def row(**changes: Any) -> bytes:
    """Return an entry of 2 floats at the beginning of shard 0, but for what is changed."""
    kind, shape, shard = changes.get("kind", FLOAT), changes.get("shape", (2,)), changes.get("shard", 0)
    offset, size = changes.get("offset", 0), changes.get("size", 8)
    place = writer.number(3, shard) + writer.number(4, offset) + writer.number(5, size)
    crc = writer.fixed32(6, changes.get("crc", writer.masked(bytes(max(0, min(size, 99))))))
    more: bytes = changes.get("more", b"")
    return writer.number(1, kind) + writer.data(2, writer.shape(shape)) + place + crc + more


def sliced(*extents: Sequence[tuple[int, int]], shape: Sequence[int] = (4,), size: int = 0) -> bytes:
    parts = b"".join(writer.data(7, b"".join(writer.extent(*axis) for axis in axes)) for axes in extents)
    return row(shape=shape, size=size, more=parts)


def piece(name: str, *axes: tuple[int, int], **changes: Any) -> tuple[bytes, bytes]:
    return writer.slice_key(name, axes), row(**changes)


def graphed(text: bytes) -> Callable[[Path], None]:
    content, crc = writer.string(text)
    return raw([(b"_CHECKPOINTABLE_OBJECT_GRAPH", entry(7, (), 0, 0, content, crc))], content)


LOOP = writer.graph([([(1, "a")], []), ([(0, "b"), (1, "c")], [("w", "x/.ATTRIBUTES/VARIABLE_VALUE")])])
UNKNOWN = writer.data(2, writer.number(3, 1))
HOSTILE = (
    raw([(b"w", row(shape=(1 << 50,)))]),
    raw([(b"w", row(shape=(1 << 50,), size=1 << 52))]),
    raw([(b"w", row(shape=(1 << 40, 1 << 40), size=1 << 60))]),
    raw([(b"w", row(shape=(-2,)))]),
    raw([(b"w", row(shape=(1,) * 100))]),
    raw([(b"w", row(shape=(3,)))]),
    raw([(b"w", row(more=UNKNOWN))]),
    raw([(b"w", row(offset=1 << 61))]),
    raw([(b"w", row(offset=-8))]),
    raw([(b"w", row(offset=60))]),
    raw([(b"w", row(size=-8))]),
    raw([(b"w", row(shard=2))]),
    raw([(b"w", row(shard=-1))]),
    raw([(b"w", row(crc=7))]),
    raw([(b"a", row()), (b"w", row(offset=4))]),
    raw([(b"\xffw", row())]),
    raw([(b"w" * 5000, row())]),
    raw([(b"w", b"\x0b")]),
    raw([(b"w", b"\x12" + b"\xff" * 9)]),
    raw([(b"w", sliced([(0, 2)], [(2, 2)]))]),
    raw([(b"w", sliced([(0, 2)], [(1, 3)]))]),
    raw([(b"w", sliced([(0, -1)], shape=(1 << 50,)))]),
    raw([(b"w", sliced(*([[(0, 1)]] * 5000)))]),
    raw([(b"w", sliced([(0, -1)], size=16))]),
    raw([piece("w", (0, 4)), (b"w", sliced([(0, 4)]))]),
    raw([piece("w", (0, 4), kind=9, shape=(2,), size=16), (b"w", sliced([(0, 4)]))]),
    raw([(b"w", row())], first=header(1 << 40)),
    raw([(b"w", row())], first=header(0)),
    raw([(b"w", row())], first=writer.number(1, 2) + writer.number(2, 5)),
    raw([(b"w", row())], first=b"\x08"),
    graphed(b"\x0a\xff\xff\xff\xff\x0f"),
    graphed(b"\x0b" * 40),
    graphed(writer.graph([([(7, "a")], [])])),
    raw([(b"_CHECKPOINTABLE_OBJECT_GRAPH", row(kind=7))]),
    raw([(b"_CHECKPOINTABLE_OBJECT_GRAPH", row(kind=7, size=9))], b"\xff" * 64),
    b"\x00\x00\x06\x08\x02\x1a\x02\x08\x01",
)
CASE = FormatCase(
    TfBundle(), write, ".index", (*DTYPES, "uint16", "uint32", "uint64"), checksummed=True, hostile=HOSTILE,
    beside=beside,
)  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_contract(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


def read(path: Path) -> Table:
    (found,) = find([str(path)])
    return read_table(TfBundle(), found)


# --------------------------------------------------------------------------------------------------------- what is read


def test_slices_are_put_together_and_checked_when_they_are(tmp_path: Path) -> None:
    whole = np.arange(60, dtype="i8").reshape(20, 3)
    for name, content in bundle("a", {"w": whole}, 3, {"w": 6}).items():
        (tmp_path / name).write_bytes(content)
    table = read(tmp_path / "a.index")
    (tensor,) = table.tensors
    assert (tensor.shape, tensor.dtype, tensor.where.encoding) == ((20, 3), "int64", "slices")
    assert TfBundle().fetch(tensor) == whole.tobytes()
    (plain,) = materialise(TfBundle(), table, str(tmp_path)).tensors
    assert map_tensor(plain).tobytes() == whole.tobytes()
    shard = tmp_path / "a.data-00001-of-00003"
    os.utime(shard, (1, 1))
    shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    os.utime(tmp_path / "a.index")
    with pytest.raises(Corrupt, match=r"tensor 'w' in a\.data-00001-of-00003: CRC-32C .*: damaged"):
        TfBundle().fetch(tensor)
    for name, content in bundle("a", {"v": whole[0]}, 3).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Torn, match="no partitioned variable 'w'"):
        TfBundle().fetch(tensor)


def test_optimizer_slots_are_neither_read_nor_checked(tmp_path: Path) -> None:
    arrays = {"fc/w": np.ones(4, "f4"), "fc/w/Momentum": np.full(4, 7, "f4"), "part/Adam": np.full((6, 2), 9, "f4")}
    files = bundle("a", {**arrays, "part": np.zeros((6, 2), "f4")}, 1, {"part/Adam": 2})
    name = "a.data-00000-of-00001"
    files[name] = files[name].replace(np.float32(7).tobytes(), bytes(4)).replace(np.float32(9).tobytes(), bytes(4))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    table = materialise(TfBundle(), read(tmp_path / "a.index"), str(tmp_path))
    assert {item.name: item.role for item in table.tensors} == {
        "fc/w": "weights",
        "fc/w/Momentum": "optimizer",
        "part": "weights",
        "part/Adam": "optimizer",
    }
    assert "checksums of optimizer tensors were not compared: they are not loaded" in table.notes
    assert not list(tmp_path.glob("tensors-*"))


def test_a_damaged_weight_is_named_with_both_checksums(tmp_path: Path) -> None:
    writer.write_bundle(tmp_path / "a.index", WORDS)
    shard = tmp_path / "a.data-00000-of-00001"
    whole = bytearray(shard.read_bytes())
    whole[5] ^= 1
    stamp = shard.stat().st_mtime_ns
    shard.write_bytes(whole)
    os.utime(shard, ns=(stamp, stamp))
    os.utime(tmp_path / "a.index", ns=(stamp, stamp))
    with pytest.raises(
        Corrupt, match=r"a\.index: tensor 'w' in a\.data-.*: CRC-32C [0-9a-f]{8}, the index says [0-9a-f]{8}"
    ):
        read(tmp_path / "a.index")
    os.utime(shard, ns=(stamp + 10**9, stamp + 10**9))
    with pytest.raises(
        Torn,
        match="newer than the index: it may be damaged, or another checkpoint is",
    ):
        read(tmp_path / "a.index")


def test_types_that_are_no_numbers_are_refused_only_where_they_are_needed(tmp_path: Path) -> None:
    rows = [
        (b"text", row(kind=7)),
        (b"thing", row(kind=21, offset=8)),
        (b"w", row(offset=16)),
        (b"x", row(kind=99, offset=24)),
    ]
    raw(rows)(tmp_path / "a.index")
    table = read(tmp_path / "a.index")
    assert [(item.name, item.role) for item in table.tensors if item.dtype == "void"] == [
        ("text", "bookkeeping"),
        ("thing", "bookkeeping"),
        ("x", "bookkeeping"),
    ]
    (note,) = table.notes
    for words in ("text (holds strings)", "thing (holds a variant", "x (holds number type 99, which is not known)"):
        assert words in note
    with pytest.raises(Unsupported, match="tensor 'text': holds strings"):
        map_tensor(table.tensors[0])
    with pytest.raises(Unsupported, match="holds strings"):
        TfBundle().fetch(table.tensors[0])


def test_a_bundle_for_readers_to_come_is_unsupported(tmp_path: Path) -> None:
    raw([(b"w", row())], first=writer.number(1, 2) + writer.data(3, writer.number(2, 2)))(tmp_path / "a.index")
    with pytest.raises(Unsupported, match="for readers of version 2"):
        read(tmp_path / "a.index")


def test_a_graph_of_circles_ends(tmp_path: Path) -> None:
    content, crc = writer.string(LOOP)
    rows = [
        (b"_CHECKPOINTABLE_OBJECT_GRAPH", entry(7, (), 0, 8, content, crc)),
        (b"x/.ATTRIBUTES/VARIABLE_VALUE", row()),
    ]
    raw(rows, bytes(8) + content)(tmp_path / "a.index")
    assert [item.name for item in read(tmp_path / "a.index").tensors] == ["x"]


# -------------------------------------------------------------------------------------------------------------- fuzzing


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    st.sampled_from(["bundle", "v1"]),
)
def test_entries_of_any_bytes_behind_good_checksums_are_read_or_are_a_row(
    changes: list[tuple[int, float, int]], kind: str
) -> None:
    arrays = {"a/w": np.ones((6, 3), "f4"), "b": np.arange(4), "c": np.zeros(3, "?"), "global_step": np.array(9)}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "a.index" if kind == "bundle" else "a.ckpt")
        if kind == "bundle":
            for name, content in bundle("a", arrays, 1, {"a/w": 2}).items():
                (path.parent / name).write_bytes(content)
        else:
            path.write_bytes(writer.saver_v1(arrays, {"a/w": 2}))
        with opened(str(path)) as file:
            held = [(key, bytearray(value)) for key, value in open_table(file).entries()]
        for number, place, byte in changes:
            value = held[number % len(held)][1]
            value[int(place * len(value))] = byte
        path.write_bytes(table([(key, bytes(value)) for key, value in held]))
        for found in Reader().discover([scratch]):
            with suppress(CheckpointError):
                made = Reader().table(found, scratch)
                for tensor in made.tensors:
                    with suppress(CheckpointError):
                        assert map_tensor(tensor).nbytes <= 4096
