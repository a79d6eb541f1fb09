"""npz: the contract, golden places, and files made to hurt."""

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.npz import Npz
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader, materialise, read_table
from milepost.core.types import Table
from milepost.errors import Corrupt, Torn, Unsafe, Unsupported
from milepost.testing.formats import LAWS, FormatCase, Law


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate names that a test wants
        with zipfile.ZipFile(made, "w", method) as file:
            for name, content in entries:
                file.writestr(name, content)
    return made.getvalue()


GOOD = npy(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", struct.pack("<2i", 1, 2))


def bomb(mebibytes: int) -> bytes:
    """Return an archive of a few kilobytes a mebibyte whose one array is that large, all zero."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as entry:
        entry.write(npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % (mebibytes << 20)))
        for _ in range(mebibytes):
            entry.write(bytes(1 << 20))
    return made.getvalue()


HOSTILE = (
    archive(("a.npy", npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (), }", b"\x80\x02cposix\nsystem\n."))),
    archive(("a.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,), }"))),
    archive(("a.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,), }")), method=8),
    archive(("a.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"))),
    archive(("a.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"(" * 5000 + b",), }"))),
    archive(("a.npy", npy(b"__import__('os').system('true')"))),
    archive(("a.npy", b"\x93NUMPY\x02\x00" + struct.pack("<L", 4_000_000_000))),
    archive(("a.npy", GOOD), ("a.npy", GOOD)),
    bomb(300),
    archive(("a.npy", b"no array")),
    archive(("../../a.npy", b"")),
)


def case(*, packed: bool) -> FormatCase:
    write = np.savez_compressed if packed else np.savez
    return FormatCase(
        Npz(),
        lambda path, arrays: write(path, **arrays),  # type: ignore[arg-type]
        ".npz",
        checksummed=True,
        hostile=HOSTILE,
    )


@pytest.mark.parametrize("packed", [False, True], ids=["stored", "deflated"])
@pytest.mark.parametrize("law", LAWS)
def test_contract(law: Law, packed: bool, tmp_path: Path) -> None:
    law(case(packed=packed), tmp_path)


def read(path: Path) -> Table:
    return read_table(Npz(), find([str(path)])[0])


def test_stored_arrays_lie_in_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.arange(4, dtype="<i2"), f=np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)))
    w, f = read(path).tensors
    assert (w.where.file, w.where.encoding, w.where.nbytes) == (str(path), "raw", 8)
    assert path.read_bytes()[w.where.offset :][:8] == np.arange(4, dtype="<i2").tobytes()
    assert (f.dtype, f.where.strides) == (">f4", (4, 8))
    assert map_tensor(f).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not map_tensor(f).flags.writeable


def test_bytes_behind_an_array_are_corrupt_in_either_order(tmp_path: Path) -> None:
    for number, array in enumerate((np.zeros((2, 3)), np.asfortranarray(np.zeros((2, 3))))):
        held = io.BytesIO()
        np.save(held, array)
        path = tmp_path / f"{number}.npz"
        path.write_bytes(archive(("w.npy", held.getvalue() + bytes(16))))
        with pytest.raises(Corrupt, match="48 bytes, 64 are there"):
            read(path)


def test_deflated_fortran_and_big_endian_arrays_are_fetched_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    np.savez_compressed(path, f=array)
    table = read(path)
    assert table.tensors[0].where.encoding == "deflate"
    assert Npz().fetch(table.tensors[0]) == array.tobytes(order="C")
    spooled = materialise(Npz(), table, str(tmp_path)).tensors[0]
    assert spooled.where.file.endswith(".raw")
    assert map_tensor(spooled).tolist() == array.tolist()


@pytest.mark.parametrize(("packed", "damaged_in"), [(False, "read"), (True, "fetch")])
def test_damage_names_the_entry_and_both_checksums(packed: bool, damaged_in: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, w=np.random.default_rng(0).integers(0, 255, 4000, "uint8"))
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"entry 'w.npy'") as caught:  # noqa: PT012 - either step may notice it
        table = read(path)
        assert damaged_in == "fetch"
        Npz().fetch(table.tensors[0])
    if damaged_in == "read":
        assert f"stored {zlib.crc32(zipfile_member(path)):08x}" not in str(caught.value)
        assert "CRC-32 stored" in str(caught.value)


def zipfile_member(path: Path) -> bytes:
    where = path.read_bytes().find(b"\x93NUMPY")
    return path.read_bytes()[where : where + 128 + 4000]


@pytest.mark.parametrize("packed", [False, True])
def test_step_comes_from_a_scalar_entry(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "model-7.npz"
    save = np.savez_compressed if packed else np.savez
    save(path, w=np.zeros(2), step=np.array(41), global_step=np.array(900, ">i8"), epoch=np.array(3))
    table = read(path)
    assert (table.step, table.step_source) == (900, "content: global_step")
    assert {item.name: item.role for item in table.tensors} == {
        "w": "weights",
        "step": "bookkeeping",
        "global_step": "bookkeeping",
        "epoch": "bookkeeping",
    }


@pytest.mark.parametrize("value", [np.array(3.0), np.array([1, 2]), np.array(-1), np.array(2**63, "uint64")])
def test_what_is_no_step(value: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, step=value)
    assert read(path).step is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_object_arrays_are_unsafe_where_they_are_needed(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, w=np.zeros(2), o=np.array([{}], object))
    table = {item.name: item for item in read(path).tensors}
    assert (table["w"].role, table["o"].role) == ("weights", "bookkeeping")
    assert "cannot be read, and is refused where the model needs it: o (holds Python objects" in read(path).notes[0]
    for refuse in (map_tensor, Npz().fetch):
        with pytest.raises(Unsafe, match=r"(array|tensor) 'o'"):
            refuse(table["o"])
    save(path, o=np.array([{}], object))
    with pytest.raises(Unsafe, match="Python objects"):
        read(path)


def test_text_beside_the_weights_is_no_weight(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.zeros(2), name=np.array("lenet"), raw=np.array(b"x"), made=np.array("2026-01-01", "M8[D]"))
    roles = {item.name: item.role for item in read(path).tensors}
    assert roles == {"w": "weights"} | dict.fromkeys(("name", "raw", "made"), "bookkeeping")


def test_other_kinds_are_listed_and_refused_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.zeros(2), text=np.array(["a"]), pair=np.zeros(2, "i4,f4"))
    table = {item.name: item for item in read(path).tensors}
    assert map_tensor(table["w"]).tolist() == [0, 0]
    for name in ("text", "pair"):
        with pytest.raises(Unsupported, match=name):
            map_tensor(table[name])


def test_zip64_archives_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(9.0), b=np.arange(3))
    assert [map_tensor(item).sum() for item in read(path).tensors] == [36, 3]


def test_a_cut_file_is_seen_as_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(900.0))
    path.write_bytes(path.read_bytes()[:3000])
    found = find([str(path)])[0]
    assert (found.format, found.state) == ("npz", "writing")
    with pytest.raises(Torn, match="3,000 bytes without its directory"):
        read_table(Npz(), found)


def test_a_whole_archive_with_something_behind_it_is_corrupt_and_not_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(9.0))
    path.write_bytes(path.read_bytes() + b"junk" * 10)
    found = find([str(path)])[0]
    assert found.state == "complete"
    with pytest.raises(Corrupt, match="40 bytes follow the end of the zip archive"):
        read_table(Npz(), found)


def test_a_file_that_changes_between_reading_and_fetching_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(900.0))
    tensor = read(path).tensors[0]
    np.savez_compressed(path, longer_name=np.arange(9.0))
    with pytest.raises(Torn, match="changed"):
        Npz().fetch(tensor)


def test_reader_spools_and_leaves_nothing_behind_after_a_failure(tmp_path: Path) -> None:
    path, spool = tmp_path / "a.npz", tmp_path / "spool"
    spool.mkdir()
    np.savez_compressed(path, a=np.random.default_rng(1).integers(0, 255, 9000, "uint8"))
    data = bytearray(path.read_bytes())
    data[6000] ^= 8
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        Reader().table(Reader().discover([str(path)])[0], str(spool))
    assert list(spool.iterdir()) == []
