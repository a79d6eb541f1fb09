"""What crosses between two processes: frames of a JSON header and raw bytes, never pickle.

A frame is the magic `MPW1`, the header's length (8 bytes, little-endian), the header (UTF-8 JSON: `{"head": ...,
"blobs": [length, ...]}`), then the blobs one after the other.  Every length is checked before anything is allocated.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import IO, Any

import ml_dtypes
import numpy as np

from milepost.core.types import Array, Json, Part
from milepost.errors import ModelFailed

MAGIC = b"MPW1"
MAX_HEADER = 1 << 28
"""Bytes of the largest header that is read: tables of tensors are the largest, at some 200 bytes a tensor."""
MAX_BLOBS = 1 << 16
"""Blobs in one frame."""
MAX_PAYLOAD = 1 << 38
"""Bytes of all blobs of one frame."""

_PREFIX = struct.Struct("<4sQ")
_PLAIN_KINDS = "biufcSUmM"

Buffer = bytes | bytearray | memoryview
Frame = tuple[dict[str, Any], list[bytearray]]


class WireError(Exception):
    """The bytes on the wire are no frame: the other side is another version, or something else wrote to it."""


def send(stream: IO[bytes], head: dict[str, Json], blobs: Sequence[Buffer] = ()) -> None:
    """Write one frame and flush it; raise `WireError` for a header that the other side would refuse."""
    text = json.dumps({"head": head, "blobs": [len(blob) for blob in blobs]}).encode()
    if len(text) > MAX_HEADER or len(blobs) > MAX_BLOBS:
        raise WireError(f"a message of {len(text)} bytes and {len(blobs)} arrays is larger than a frame may be")
    stream.write(_PREFIX.pack(MAGIC, len(text)))
    stream.write(text)
    stream.writelines(blobs)
    stream.flush()


def receive(read_into: Callable[[memoryview], int]) -> Frame | None:
    """Read one frame, or return None where the stream ends cleanly before it.

    `read_into` fills a buffer at least in part and returns the count, 0 at the end, as `BinaryIO.readinto` does.
    Raises `WireError` for bytes that are no frame and `EOFError` for a frame that is cut off.
    """
    prefix = _exactly(read_into, _PREFIX.size, optional=True)
    if not prefix:
        return None
    magic, length = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise WireError(f"expected a frame that begins with {MAGIC!r}, found {magic!r}")
    if length > MAX_HEADER:
        raise WireError(f"a header declares {length} bytes; at most {MAX_HEADER} are read")
    head, lengths = _header(bytes(_exactly(read_into, length)))
    return head, [_exactly(read_into, size) for size in lengths]


def part_frame(part: Part) -> tuple[dict[str, Json], list[Buffer]]:
    """Describe a part as a header and the bytes of its columns and states, in that order.

    Raises `ModelFailed` for a column that is no plain array (objects, records).

    >>> head, blobs = part_frame(Part(0, 2, {"rank": np.array([3, 1])}, {"a": b"xyz"}))
    >>> head["columns"], head["states"], [len(blob) for blob in blobs]
    ([['rank', '<i8', [2]]], ['a'], [16, 3])
    """
    columns, blobs = [], list[Buffer]()
    for name, column in part.columns.items():
        array = np.asarray(column, order="C")
        columns.append([name, _dtype_name(name, array.dtype), list(array.shape)])
        blobs.append(_bytes_of(array))
    head = {
        "start": part.start,
        "stop": part.stop,
        "columns": columns,
        "states": list(part.states),
        "environment": dict(part.environment),
    }
    return head, [*blobs, *part.states.values()]


def part_of(head: dict[str, Any], blobs: Sequence[Buffer]) -> Part:
    """Rebuild a part; raise `WireError` where declared shapes and received bytes differ.

    >>> part_of(*part_frame(Part(0, 2, {"rank": np.array([3, 1])}))).columns["rank"]
    array([3, 1])
    """
    described, states = head["columns"], head["states"]
    if len(blobs) != len(described) + len(states):
        raise WireError(f"a part of {len(described)} columns and {len(states)} states came with {len(blobs)} arrays")
    columns = {
        name: _array(name, dtype, tuple(shape), blob)
        for (name, dtype, shape), blob in zip(described, blobs, strict=False)
    }
    return Part(
        start=int(head["start"]),
        stop=int(head["stop"]),
        columns=columns,
        states={name: bytes(blob) for name, blob in zip(states, blobs[len(described) :], strict=True)},
        environment=head["environment"],
    )


def _header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        header = json.loads(text)
        head, lengths = header["head"], header["blobs"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"a header is no JSON object with head and blobs: {error}") from error
    if not isinstance(head, dict) or not isinstance(lengths, list):
        raise WireError("a header's head is no object, or its blobs are no list")
    if len(lengths) > MAX_BLOBS or not all(type(size) is int and size >= 0 for size in lengths):
        raise WireError(f"a header declares {len(lengths)} blobs, or one of a negative length")
    if sum(lengths) > MAX_PAYLOAD:
        raise WireError(f"a header declares {sum(lengths)} bytes of arrays; at most {MAX_PAYLOAD} are read")
    return head, lengths


def _exactly(read_into: Callable[[memoryview], int], size: int, *, optional: bool = False) -> bytearray:
    """Read so many bytes; nothing where the stream ends before them and that is `optional`."""
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = read_into(view[done:])
        if not count:
            if optional and not done:
                return bytearray()
            raise EOFError(f"a frame is cut off: {done} of {size} bytes came")
        done += count
    return buffer


def _dtype_name(column: str, dtype: np.dtype[Any]) -> str:
    if dtype.kind in _PLAIN_KINDS:
        return dtype.str
    if dtype.name in vars(ml_dtypes):
        return dtype.name
    raise ModelFailed(
        f"column {column!r} has dtype {dtype}; a column that leaves the evaluator holds numbers, booleans, dates or "
        f"strings of fixed length"
    )


def _dtype(column: str, name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(getattr(ml_dtypes, name) if name in vars(ml_dtypes) else name)
    except TypeError as error:
        raise WireError(f"column {column!r} declares the unknown dtype {name!r}") from error
    if dtype.kind not in _PLAIN_KINDS and dtype.name not in vars(ml_dtypes):
        raise WireError(f"column {column!r} declares dtype {name!r}, which never crosses")
    return dtype


def _bytes_of(array: Array) -> Buffer:
    # Empty arrays and strings of length 0 have no byte view.
    return array.reshape(-1).view(np.uint8).data if array.nbytes else b""


def _array(column: str, dtype_name: str, shape: tuple[int, ...], blob: Buffer) -> Array:
    dtype = _dtype(column, dtype_name)
    expected = dtype.itemsize * math.prod(shape)
    if any(size < 0 for size in shape) or expected != len(blob):
        raise WireError(f"column {column!r} of {dtype} {list(shape)} takes {expected} bytes; received {len(blob)}")
    return np.frombuffer(blob, dtype).reshape(shape) if expected else np.zeros(shape, dtype)
