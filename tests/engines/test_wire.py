"""Frames keep every bit, and bytes that are no frame are refused before anything is allocated."""

import io
import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from milepost.core.types import Part
from milepost.engines._process import wire
from milepost.errors import ModelFailed

DTYPES = st.one_of(
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays.boolean_dtypes(),
    arrays.unicode_string_dtypes(max_len=4),
    arrays.byte_string_dtypes(max_len=4),
    arrays.datetime64_dtypes(),
)
COLUMNS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))


def crossed(part: Part) -> Part:
    stream = io.BytesIO()
    head, blobs = wire.part_frame(part)
    wire.send(stream, head, blobs)
    stream.seek(0)
    frame = wire.receive(stream.readinto)
    assert frame is not None
    assert wire.receive(stream.readinto) is None
    return wire.part_of(*frame)


@given(
    st.dictionaries(st.text(max_size=8), COLUMNS, max_size=3),
    st.dictionaries(st.text(max_size=8), st.binary(), max_size=3),
)
def test_a_part_crosses_to_the_bit(columns: dict[str, np.ndarray], states: dict[str, bytes]) -> None:
    part = crossed(Part(3, 9, columns, states, {"device": "cpu", "seconds": 0.1}))
    assert (part.start, part.stop, dict(part.states)) == (3, 9, states)
    assert part.environment == {"device": "cpu", "seconds": 0.1}
    assert list(part.columns) == list(columns)
    for name, column in columns.items():
        assert part.columns[name].dtype == column.dtype
        assert part.columns[name].shape == column.shape
        assert part.columns[name].tobytes() == column.tobytes()


def test_bfloat16_and_strided_columns_cross() -> None:
    wide = np.arange(24, dtype="f4").reshape(4, 6)
    columns = {"b": np.array([1, 2.5], ml_dtypes.bfloat16), "t": wide.T, "s": wide[::2, ::-3]}
    part = crossed(Part(0, 2, columns))
    for name, column in columns.items():
        assert part.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(part.columns[name], column)


@pytest.mark.parametrize("column", [np.array([object()]), np.zeros(2, [("a", "i4")])])
def test_objects_and_records_do_not_cross(column: np.ndarray) -> None:
    with pytest.raises(ModelFailed, match="column 'x' has dtype"):
        wire.part_frame(Part(0, 1, {"x": column}))


def frame(header: bytes, length: int | None = None, magic: bytes = b"MPW1") -> io.BytesIO:
    return io.BytesIO(struct.pack("<4sQ", magic, len(header) if length is None else length) + header)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (frame(b"{}", magic=b"hell"), "begins with"),
        (frame(b"", length=1 << 40), "declares 1099511627776 bytes"),
        (frame(b"\xff"), "no JSON"),
        (frame(b"[" * 100_000), "no JSON"),
        (frame(b"{}"), "no JSON object with head"),
        (frame(b'{"head": 1, "blobs": []}'), "head is no object"),
        (frame(b'{"head": {}, "blobs": [-1]}'), "negative"),
        (frame(b'{"head": {}, "blobs": [true]}'), "negative"),
        (frame(json.dumps({"head": {}, "blobs": [1 << 50]}).encode()), "bytes of arrays"),
        (frame(json.dumps({"head": {}, "blobs": [0] * ((1 << 16) + 1)}).encode()), "blobs"),
    ],
)
def test_what_is_no_frame_is_refused(stream: io.BytesIO, message: str) -> None:
    with pytest.raises(wire.WireError, match=message):
        wire.receive(stream.readinto)


@given(st.data())
def test_a_frame_that_is_cut_off_is_noticed(data: st.DataObject) -> None:
    stream = io.BytesIO()
    wire.send(stream, {"a": 1}, [b"0123456789"])
    whole = stream.getvalue()
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(EOFError, match="cut off"):
        wire.receive(io.BytesIO(whole[:cut]).readinto)


@pytest.mark.parametrize(
    "column",
    [["x", "<i8", [3]], ["x", "<i8", [-1, -2]], ["x", "|O", [2]], ["x", "nonsense", [2]], ["x", "V8", [2]]],
)
def test_a_column_unlike_its_bytes_is_refused(column: list[object]) -> None:
    head = {"start": 0, "stop": 2, "columns": [column], "states": [], "environment": {}}
    with pytest.raises(wire.WireError, match="column 'x'"):
        wire.part_of(head, [bytes(16)])
