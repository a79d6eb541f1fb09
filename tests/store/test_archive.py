import io
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.errors import StoreError
from milepost.store import _archive

DTYPES = st.sampled_from(["<i8", ">i4", "u1", "?", "<f4", "<f8", ">f8", "<f2", "<U3", "S2", "<c8"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)
COLUMNS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), ARRAYS, max_size=4)


def written(arrays: dict[str, Any], header: Any = None) -> bytes:
    stream = io.BytesIO()
    _archive.write(stream, arrays, header)
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(COLUMNS)
def test_round_trip_is_exact_and_bytes_repeat(arrays: dict[str, Any]) -> None:
    data = written(arrays, {"n": 1})
    assert written(dict(reversed(arrays.items())), {"n": 1}) == data
    path = Path(_folder()) / "a.npz"
    path.write_bytes(data)
    found, archive = _archive.read(path), _archive.Archive(path)
    assert archive.header == {"n": 1}
    assert set(found) == set(arrays)
    with np.load(path, allow_pickle=False) as judge:
        for name, array in arrays.items():
            for other in (found[name], archive.map(name), judge[name]):
                assert other.dtype == array.dtype
                assert other.shape == array.shape
                assert other.tobytes() == array.tobytes()
            assert archive.members[name].at % 64 == 0


def _folder(made: list[str] = []) -> str:  # noqa: B006 - one folder for all examples
    if not made:
        import tempfile  # noqa: PLC0415

        made.append(tempfile.mkdtemp())
    return made[0]


def test_every_cut_and_every_flipped_byte_of_the_data_is_noticed(tmp_path: Path) -> None:
    data = written({"x": np.arange(50, dtype=np.int32)}, {"n": 1})
    path = tmp_path / "a.npz"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(StoreError, match="found damage"):
            _archive.read(path)
    path.write_bytes(data)
    member = _archive.Archive(path).members["x"]
    for at in range(member.at, member.at + member.stored, 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(StoreError, match="found damage"):
            _archive.read(path)


def test_objects_and_declared_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found object"):
        written({"x": np.array([{}])})
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(StoreError, match="found damage"):
        _archive.Archive(path)
    np.savez_compressed(path, x=np.arange(9))
    with pytest.raises(StoreError, match="found damage"):
        _archive.Archive(path)


@pytest.mark.parametrize(("kind", "shape"), [("<U0", (1 << 40,)), ("<f4", (0, 1 << 62)), ("<U0", (3, 1 << 60))])
def test_a_shape_of_nothing_takes_no_memory(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    with open(tmp_path / "a.npz", "wb") as stream, _archive.Writer(stream) as writer:
        writer.array("a", np.dtype(kind), shape, [])
    with pytest.raises(StoreError, match="found damage"):
        _archive.Archive(tmp_path / "a.npz")


def test_rows_and_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(700.0).reshape(100, 7)
    path = tmp_path / "a.npz"
    path.write_bytes(written({"x": rows}))
    archive = _archive.Archive(path)
    assert np.array_equal(archive.read("x", 3, 90), rows[3:90])
    monkeypatch.setattr(_archive, "CHUNK", 200)
    chunks = list(archive.chunks("x", 10, 100))
    assert max(len(chunk) for chunk in chunks) == 3
    assert np.array_equal(np.concatenate(chunks), rows[10:])
    with pytest.raises(IndexError):
        archive.read("x", 5, 101)
