"""Saver V1: the contract, values of every type, shards, and lists made to hurt."""

from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tests.checkpoints import _tf_writer as writer
from tests.checkpoints._tf_writer import TYPES, saver_v1, table

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.tf_v1 import TfV1
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader, materialise, read_table
from milepost.errors import Corrupt, Torn, Unsupported
from milepost.testing.formats import DTYPES, LAWS, FormatCase, Law

FLOAT = TYPES["float32"]


def listed(kind: int = FLOAT, shape: tuple[int, ...] = (2,), name: bytes = b"w", slices: bytes | None = None) -> bytes:
    """Return one row of the list; by default one slice that is all of it."""
    place = writer.data(4, b"".join(writer.extent(0, -1) for _ in shape)) if slices is None else slices
    return writer.data(1, writer.data(1, name) + writer.data(2, writer.shape(shape)) + writer.number(3, kind) + place)


def held(values: bytes, name: bytes = b"w", axes: tuple[tuple[int, int], ...] = ((0, -1),)) -> tuple[bytes, bytes]:
    """Return an entry of a slice's values."""
    place = b"".join(writer.extent(*axis) for axis in axes)
    saved = writer.data(1, name) + writer.data(2, place) + writer.data(3, values)
    return writer.slice_key("w", axes), writer.data(2, saved)


def made(rows: bytes, *entries: tuple[bytes, bytes], compress: Callable[[bytes], bytes] | None = None) -> bytes:
    return table([(b"", writer.data(1, rows)), *entries], compress=compress)


def piece(start: int, length: int) -> bytes:
    return writer.data(4, writer.extent(start, length))


GOOD = held(writer.data(5, bytes(8)))
HOSTILE = (
    made(listed(shape=(1 << 50,)), GOOD),
    made(listed(shape=(1 << 26,)), GOOD),
    made(listed(shape=(1 << 40, 1 << 40)), GOOD),
    made(listed(shape=(-1,)), GOOD),
    made(listed(shape=(3,)), GOOD),
    made(listed(kind=9), GOOD),
    made(listed() + listed(), GOOD),
    made(listed(name=b""), GOOD),
    made(listed(name=b"n" * 5000), GOOD),
    made(listed(name=b"\xff"), GOOD),
    made(listed(slices=b""), GOOD),
    made(listed(slices=piece(0, 1)), GOOD),
    made(listed(slices=piece(0, 2) + piece(1, 1)), GOOD),
    made(listed(slices=piece(0, 1) + piece(1, 1)), GOOD),
    made(listed()),
    made(listed(), held(writer.data(5, bytes(8)), name=b"v")),
    made(listed(), held(writer.data(5, bytes(12)))),
    made(listed(), held(writer.data(7, bytes(2)))),
    made(listed(kind=3), held(writer.data(7, b"\x80\x80"))),
    made(listed(kind=3), held(writer.data(7, b"\xff" * 40 + b"\1"))),
    made(listed(), (GOOD[0], b"\x0b")),
    made(b"\x0a\xff\xff\xff\xff\x0f", GOOD),
    made(listed(), GOOD, compress=lambda content: writer.varint(len(content) << 20) + content),
    made(listed(), GOOD, compress=lambda content: writer.varint(len(content)) + b"\xff" * 9),
)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.write_bytes(saver_v1(arrays, compress=writer.compressed))


KINDS = (*DTYPES, "uint16", "uint32", "uint64", "complex64")
CASE = FormatCase(TfV1(), write, dtypes=KINDS, checksummed=True, hostile=HOSTILE)


@pytest.mark.parametrize("law", LAWS)
def test_contract(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


def values(path: Path, spool: Path) -> dict[str, list[object]]:
    table = Reader().table(Reader().discover([str(path)])[0], str(spool))
    return {item.name: map_tensor(item).tolist() for item in table.tensors if item.role != "optimizer"}


@pytest.mark.parametrize("compress", [None, writer.literal, writer.compressed])
@pytest.mark.parametrize("size", [1, 1 << 21])
def test_slices_blocks_and_compression(size: int, compress: Callable[[bytes], bytes] | None, tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(600, dtype="f4").reshape(100, 6),
        "b": np.arange(-3, 3, dtype="i8"),
        "half": np.linspace(-2, 2, 8).astype("f2").reshape(2, 4),
        "brain": np.linspace(-2, 2, 5).astype(ml_dtypes.bfloat16),
        "z": np.zeros((400, 300), "i4"),
    }
    path = tmp_path / "model.ckpt-7"
    path.write_bytes(saver_v1(arrays, {"a": 7, "z": 2}, size, compress))
    assert values(path, tmp_path) == {name: array.tolist() for name, array in arrays.items()}


def test_a_block_that_is_damaged_is_found_when_its_values_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt-7"
    whole = bytearray(saver_v1({"w": np.full(4000, 7, "f4"), "w/Adam": np.full(4000, 9, "f4")}, size=1))
    whole[whole.index(np.full(9, 9, "f4").tobytes())] ^= 1  # an optimizer's: nobody loads it
    path.write_bytes(whole)
    assert values(path, tmp_path) == {"w": [7.0] * 4000}
    whole[whole.index(np.full(9, 7, "f4").tobytes())] ^= 1
    path.write_bytes(whole)
    (found,) = find([str(path)])
    table = read_table(TfV1(), found)
    assert "checksums of values are compared when they are loaded" in table.notes
    with pytest.raises(Corrupt, match=r"the block at byte .* is damaged: CRC-32C"):
        materialise(TfV1(), table, str(tmp_path))


def test_types_that_saver_v1_did_not_know_are_refused_only_where_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(made(listed() + listed(7, name=b"text") + listed(24, name=b"tiny"), GOOD))
    (found,) = find([str(path)])
    table = read_table(TfV1(), found)
    assert [(item.name, item.dtype, item.role) for item in table.tensors] == [
        ("w", "float32", "weights"),
        ("text", "void", "bookkeeping"),
        ("tiny", "float8_e5m2", "weights"),
    ]
    assert any("text (holds strings), tiny (float8_e5m2, which Saver V1 did not know)" in note for note in table.notes)
    with pytest.raises(Unsupported, match="holds strings"):
        TfV1().fetch(table.tensors[1])


def test_a_sharded_checkpoint_is_one_and_lacks_what_is_absent(tmp_path: Path) -> None:
    first = saver_v1({"a": np.arange(4, dtype="f4"), "global_step": np.array(40)})
    rows = listed(slices=piece(0, 2), shape=(4,))
    axes = ((0, 2),), ((2, 2),)
    second = made(rows, held(writer.data(5, bytes(8)), axes=axes[0]))
    third = made(listed(slices=piece(2, 2), shape=(4,)), held(writer.data(5, np.ones(2, "f4").tobytes()), axes=axes[1]))
    paths = [tmp_path / f"model.ckpt-{number:05d}-of-00003" for number in range(3)]
    for path, content in zip(paths, (first, second, third), strict=True):
        path.write_bytes(content)
    (found,) = find([str(tmp_path)])
    assert (found.path, found.paths, found.state) == (str(paths[0]), tuple(map(str, paths)), "complete")
    assert [TfV1().main_name(path.name) for path in paths] == [None, paths[0].name, paths[0].name]
    assert values(tmp_path, tmp_path) == {"a": [0, 1, 2, 3], "global_step": 40, "w": [0, 0, 1, 1]}
    assert read_table(TfV1(), found).step == 40
    paths[1].write_bytes(saver_v1({"w": np.zeros(4, "f8")}))
    with pytest.raises(Corrupt, match="two shards declare different types or shapes for it"):
        read_table(TfV1(), find([str(tmp_path)])[0])
    paths[1].unlink()
    (found,) = find([str(tmp_path)])
    assert found.state == "writing"
    assert "1 of 3 shards are absent, model.ckpt-00001-of-00003 the first" in (found.failure or ("", ""))[1]
    with pytest.raises(Torn, match="1 of 3 shards are absent"):
        read_table(TfV1(), found)


def test_leveldbs_own_tables_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "000005.ldb").write_bytes(table([(b"key", b"value")]))
    (tmp_path / "000006.ldb").write_bytes(table([]))
    assert find([str(tmp_path)]) == []


def test_more_than_the_file_could_hold_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(made(listed(shape=(1 << 27,)), GOOD))
    with pytest.raises(Corrupt, match=r"bytes would unpack to 536,870,912: a bomb, not read"):
        read_table(TfV1(), find([str(tmp_path)])[0])
