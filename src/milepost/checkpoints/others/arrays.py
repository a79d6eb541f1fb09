"""Kinds that hold named arrays: they can be converted to one that is read."""

import math
import re
import struct

from milepost.checkpoints.others._kind import Cursor, OtherKind, Short, Start, Wrong

_MOST = 1_000_000
_DIMENSIONS = 32

# ---------------------------------------------------------------------------------------------------- Flax' msgpack
# https://github.com/msgpack/msgpack/blob/master/spec.md; flax/serialization.py: ext type 1 is [shape, dtype, bytes].

_FLAX = re.compile(rb"(?:[\xc7].|\xc8..|\xc9....|[\xd4-\xd8])\x01\x93[\x90-\x9f\xdc]", re.DOTALL)
_MAP = re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9\xda\x00-\x7f]", re.DOTALL)
_SCALARS = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8} | {0xCC + n: 1 << n % 4 for n in range(8)}
_SIZED = {0xC4: "B", 0xC5: "H", 0xC6: "I", 0xD9: "B", 0xDA: "H", 0xDB: "I"}
_EXT = {0xC7: "B", 0xC8: "H", 0xC9: "I"}
_MANY = {0xDC: ("H", 1), 0xDD: ("I", 1), 0xDE: ("H", 2), 0xDF: ("I", 2)}


def _msgpack(cursor: Cursor) -> None:
    waiting = 1
    for _ in range(8 * _MOST):
        if not waiting:
            break
        waiting += _item(cursor, cursor.take(1)[0]) - 1
    if waiting or not cursor.done:
        raise Wrong(f"{cursor.size - cursor.at:,} bytes are left after its last item")


def _item(cursor: Cursor, code: int) -> int:
    """Skip what one item holds by itself; return how many items it holds."""
    if code < 0x80 or code >= 0xE0:
        return 0
    if code < 0xA0:
        return 2 * (code & 15) if code < 0x90 else code & 15
    if code < 0xC0:
        cursor.skip(code & 31)
    elif code in _SCALARS:
        cursor.skip(_SCALARS[code])
    elif code in _SIZED:
        cursor.skip(cursor.number(">" + _SIZED[code]))
    elif code in _EXT:
        cursor.skip(cursor.number(">" + _EXT[code]) + 1)
    elif code in _MANY:
        letter, each = _MANY[code]
        return each * cursor.number(">" + letter)
    elif 0xD4 <= code <= 0xD8:
        cursor.skip(1 + (1 << code - 0xD4))
    else:
        raise Wrong(f"no item begins with 0x{code:02x}, as at byte {cursor.at - 1:,}")
    return 0


# ------------------------------------------------------------------------------------------------------------ MXNet
# src/ndarray/ndarray.cc, NDArray::Save: a list magic, the arrays, their names.

_LIST_MAGIC = struct.pack("<QQ", 0x112, 0)
_DENSE = {0xF993FAC8, 0xF993FAC9, 0xF993FACA}
_V1 = 0xF993FAC8
_WIDTHS = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1, 8: 2, 9: 2, 10: 4, 11: 8, 12: 2}


def _mxnet(cursor: Cursor) -> None:
    cursor.skip(len(_LIST_MAGIC))
    for _ in range(_counted(cursor, "<Q")):
        if not _array(cursor):
            return  # a sparse array, or one of before 2017: its end is not computed
    for _ in range(_counted(cursor, "<Q")):
        cursor.skip(cursor.number("<Q"))
    if not cursor.done:
        raise Wrong(f"{cursor.size - cursor.at:,} bytes follow the last name")


def _array(cursor: Cursor) -> bool:
    magic = cursor.number("<I")
    if magic not in _DENSE or (magic != _V1 and cursor.number("<i") != 0):
        return False
    dimensions = cursor.number("<i")
    if dimensions > _DIMENSIONS:
        raise Wrong(f"it has an array of {dimensions:,} dimensions")
    if dimensions <= 0:
        return dimensions == 0
    shape = [cursor.number("<q") for _ in range(dimensions)]
    cursor.skip(8)  # the device
    width = _WIDTHS.get(cursor.number("<i"))
    if width is None or min(shape) < 0:
        raise Wrong(f"it has an array of an unknown type, or of shape {shape}")
    cursor.skip(width * math.prod(shape))
    return True


def _counted(cursor: Cursor, code: str) -> int:
    count = cursor.number(code)
    if count > _MOST:
        raise Wrong(f"it declares {count:,} items")
    return count


# ------------------------------------------------------------------------------------------------------------ Paddle
# paddle/phi/core/framework/dense_tensor_serialize.cc: version, levels, version, length of the description, it, data.

_PADDLE = re.compile(rb"\0{4}\0{8}\0{4}[\x02-\xff][\0-\x03]\0\0\x08[\0-\x1f](?:\x10|\x12)", re.DOTALL)
_PADDLE_WIDTHS = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16, 32: 1, 33: 1}


def _paddle(cursor: Cursor) -> None:
    while not cursor.done:
        if cursor.number("<I") or cursor.number("<Q") or cursor.number("<I"):
            raise Wrong(f"no tensor begins at byte {cursor.at:,}")
        end = cursor.number("<i") + cursor.at
        kind, count = 5, 1
        while cursor.at < end:
            key = cursor.varint()
            if key == 0x08:
                kind = cursor.varint()
            elif key == 0x10:
                count *= cursor.varint()
            else:
                raise Wrong(f"a tensor's description is odd at byte {cursor.at:,}")
        if kind not in _PADDLE_WIDTHS:
            raise Wrong(f"it has a tensor of type {kind}")
        cursor.skip(count * _PADDLE_WIDTHS[kind])


# ----------------------------------------------------------------------------------------------------------- Darknet
# src/parser.c, save_weights_upto: major, minor, revision, images seen (8 bytes from 0.2 on), then floats.


def _darknet(start: Start) -> bool:
    if len(start.head) < 16 or not start.is_called(".weights"):
        return False
    major, minor, revision = struct.unpack_from("<3i", start.head)
    known = major == 0 and minor in {1, 2} and 0 <= revision <= 9
    return known and (start.size - (20 if minor == 2 else 16)) % 4 == 0


# -------------------------------------------------------------------------------------------------------------- GGUF
# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

_GGUF_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _TEXT, _ARRAY = 4, 8, 9
_GGUF_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    30: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
}
"""Numbers and bytes of a block, by type."""


def _gguf(cursor: Cursor) -> None:
    cursor.skip(4)
    version = cursor.number("<I")
    if not 1 <= version <= 9:
        raise Wrong(f"its version is {version:,}")
    code = "<I" if version == 1 else "<Q"
    tensors, pairs = _counted(cursor, code), _counted(cursor, code)
    alignment = 32
    for _ in range(pairs):
        key, kind = cursor.take(cursor.number(code)), cursor.number("<I")
        if key == b"general.alignment" and kind == _UINT32:
            alignment = max(1, cursor.number("<I"))
        else:
            _value(cursor, kind, code)
    end = max((_tensor_end(cursor, code) for _ in range(tensors)), default=0)
    end += cursor.at + -cursor.at % alignment
    if tensors and end > cursor.size:
        raise Short(f"its last tensor ends at byte {end:,} or later, it has {cursor.size:,}")


def _tensor_end(cursor: Cursor, code: str) -> int:
    """Return how far a tensor reaches at least from where the data begins."""
    cursor.skip(cursor.number(code))
    dimensions = cursor.number("<I")
    if dimensions > _DIMENSIONS:
        raise Wrong(f"it has a tensor of {dimensions:,} dimensions")
    count = math.prod(cursor.number(code) for _ in range(dimensions))
    items, nbytes = _GGUF_BLOCKS.get(cursor.number("<I"), (1, 0))
    return cursor.number("<Q") + count * nbytes // items


def _value(cursor: Cursor, kind: int, code: str) -> None:
    count = 1
    if kind == _ARRAY:
        kind, count = cursor.number("<I"), cursor.number(code)
    if kind in _GGUF_WIDTHS:
        cursor.skip(count * _GGUF_WIDTHS[kind])
    elif kind == _TEXT and count <= _MOST:
        for _ in range(count):
            cursor.skip(cursor.number(code))
    else:
        raise Wrong(f"it has a value of type {kind} at byte {cursor.at:,}")


# Older ones of the same family, and others' of few words.
_GGML = (b"lmgg", b"tjgg", b"fmgg", b"algg", b"ggml", b"ggjt", b"ggmf", b"ggla")
_TORCH7 = re.compile(rb"\x04\0{3}.{4}\x03\0{3}V \d", re.DOTALL)
_FASTTEXT = struct.pack("<i", 793712314)

_FROM = "evaluate the checkpoint that it was converted from"
_FLAX_ADVICE = (
    "save its arrays: np.savez('weights.npz', **flax.traverse_util.flatten_dict("
    "flax.serialization.msgpack_restore(open(FILE, 'rb').read()), sep='/'))"
)
_MXNET_ADVICE = (
    "save its arrays: np.savez('weights.npz', **{name: array.asnumpy() for name, array in mxnet.nd.load(FILE).items()})"
)
_DARKNET_ADVICE = (
    "its names and shapes stand in the .cfg alone: load it with code that knows both, and torch.save the state_dict"
)

KINDS = (
    OtherKind("a Flax msgpack", _FLAX_ADVICE, lambda s: _MAP.match(s.head) and _FLAX.search(s.head), _msgpack),
    OtherKind("MXNet parameters", _MXNET_ADVICE, lambda s: s.head.startswith(_LIST_MAGIC), _mxnet),
    OtherKind(
        "Paddle inference parameters",
        "evaluate the .pdparams that they were exported from",
        lambda s: _PADDLE.match(s.head),
        _paddle,
    ),
    OtherKind("Darknet weights", _DARKNET_ADVICE, _darknet),
    OtherKind("a GGUF file", _FROM, lambda s: s.head.startswith(b"GGUF"), _gguf),
    OtherKind("a GGML file", _FROM, lambda s: s.head.startswith(_GGML)),
    OtherKind(
        "a Torch7 file",
        "load it with the torchfile package, and save its arrays as .npz",
        lambda s: _TORCH7.match(s.head),
    ),
    OtherKind(
        "a fastText model",
        "evaluate it with fastText: it is no network of named tensors",
        lambda s: s.head.startswith(_FASTTEXT),
    ),
    OtherKind(
        "a MATLAB file",
        "save its arrays: np.savez('weights.npz', **{name: array for name, array in scipy.io.loadmat(FILE).items() "
        "if not name.startswith('__')})",
        lambda s: s.head.startswith(b"MATLAB 5.0 MAT-file"),
    ),
)
