"""Kinds that are programs: exported graphs, compiled models.  Milepost evaluates weights, with the user's own code."""

import re
from collections.abc import Callable, Mapping

from milepost.checkpoints.others._kind import Cursor, OtherKind, Start, Wrong

_MOST = 1_000_000
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
_LONG = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
"""A length of protocol buffers."""


def _fields(known: Mapping[int, int], messages: range = range(0)) -> Callable[[Cursor], None]:
    """Return the walk through a message that takes the whole file: wire types by field, and further messages."""

    def walk(cursor: Cursor) -> None:
        while not cursor.done:
            key = cursor.varint()
            number, wire = key >> 3, key & 7
            if wire != known.get(number, _BYTES if number in messages else -1):
                raise Wrong(f"it has field {number} of wire type {wire} before byte {cursor.at:,}")
            if wire == _VARINT:
                cursor.varint()
            else:
                cursor.skip(cursor.varint() if wire == _BYTES else _FIXED[wire])

    return walk


# onnx/onnx.proto, ModelProto: its version first, then its producer's name, or the graph.
_ONNX = re.compile(
    rb"\x08[\x01-\x3f](?:\x12[\x00-\x7f][ -~]*[\x1a\x22\x28\x32\x3a\x42]|[\x3a\x42]" + _LONG + rb"[\x0a\x12])"
)
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
# tensorflow/core/framework/graph.proto, GraphDef: nodes, each with its name and its operation first.
_GRAPH = re.compile(rb"\x0a" + _LONG + rb"\x0a[\x01-\x7f][\w./\-:>^]+\x12[\x01-\x7f][A-Z_]\w*")
_GRAPH_FIELDS = {1: 2, 2: 2, 3: 0, 4: 2, 5: 2}
# paddle/fluid/framework/framework.proto, ProgramDesc: its first block has index 0 and no parent.
_PROGRAM = re.compile(rb"\x0a" + _LONG + rb"\x08\x00\x10(?:\x00|\xff{9}\x01)[\x1a\x22]")
_PROGRAM_FIELDS = {1: 2, 4: 2, 5: 2}
# caffe/src/caffe/proto/caffe.proto, NetParameter: its name, then inputs or layers (100; 2 in old ones).
_CAFFE = re.compile(rb"\x0a[\x01-\x7f][ -~]*(?:\x12|\x1a|\xa2\x06)")
_CAFFE_FIELDS = {1: 2, 2: 2, 3: 2, 4: 0, 5: 0, 6: 2, 7: 0, 8: 2, 100: 2}
# mindspore/ccsrc/utils/checkpoint.proto, Checkpoint: a value has a tag and a tensor, which begins with dims or type.
_MINDSPORE = re.compile(rb"\x0a" + _LONG + rb"\x0a[\x01-\x7f][\w./\-]+\x12" + _LONG + rb"[\x08\x0a\x12]")
# coremltools, Model.proto: version, description, and one of the kinds of models from 200 on.
_COREML = re.compile(rb"\x08[\x01-\x1f]\x12" + _LONG + rb"[\x0a\x52\xa2]")


def _tflite(cursor: Cursor) -> None:
    """Follow a flatbuffer from its root to its buffers, which hold the weights and reach to the end of the file."""
    for table in _tables(cursor, _offset(cursor, 0), 4):
        place = _field(cursor, table, 0)
        if place is not None:
            cursor.at = _offset(cursor, place)
            cursor.skip(cursor.number("<I"))


def _tables(cursor: Cursor, root: int, field: int) -> list[int]:
    """Return the places of the tables in a vector that a table has; [] where it has none."""
    place = _field(cursor, root, field)
    if place is None:
        return []
    cursor.at = begin = _offset(cursor, place)
    count = cursor.number("<I")
    if count > _MOST:
        raise Wrong(f"it has a vector of {count:,} items")
    return [_offset(cursor, begin + 4 + 4 * index) for index in range(count)]


def _offset(cursor: Cursor, at: int) -> int:
    cursor.at = at
    return at + cursor.number("<I")


def _field(cursor: Cursor, table: int, field: int) -> int | None:
    """Return where a field of a table lies, by the table's own list of places; None where it has none."""
    cursor.at = table
    cursor.at = listed = table - cursor.number("<i")
    if listed < 0:
        raise Wrong(f"the table at byte {table:,} has its layout before the file")
    size = cursor.number("<H")
    if size < 6 + 2 * field:
        return None
    cursor.at = listed + 4 + 2 * field
    place = cursor.number("<H")
    return table + place if place else None


_EXPORTED = "it is a program: evaluate the checkpoint that it was exported from"
_CONVERTED = "it is a program: evaluate the checkpoint that it was converted from"
_ONNX_ADVICE = (
    f"{_EXPORTED}, or save its arrays: np.savez('weights.npz', **{{item.name: onnx.numpy_helper.to_array(item) "
    "for item in onnx.load(FILE).graph.initializer})"
)


def _is_saved_model(start: Start) -> bool:
    return start.head.startswith(b"\x08\x01\x12") and start.is_called("saved_model.pb")


def _at(place: int, *magics: bytes) -> Callable[[Start], bool]:
    return lambda start: start.head[place : place + 4] in magics


KINDS = (
    OtherKind("a TFLite model", _CONVERTED, _at(4, b"TFL3"), _tflite),
    OtherKind("an ONNX model", _ONNX_ADVICE, lambda s: _ONNX.match(s.head), _fields(_ONNX_FIELDS)),
    OtherKind("an ONNX Runtime model (.ort)", _CONVERTED, _at(4, b"ORTM")),
    OtherKind("an ExecuTorch program", _EXPORTED, _at(4, b"ET12")),
    OtherKind("a TensorRT engine", _CONVERTED, _at(0, b"ftrt", b"ptrt")),
    OtherKind(
        "a Core ML model",
        _CONVERTED,
        lambda s: _COREML.match(s.head) and s.is_called(".mlmodel"),
        _fields({1: 0, 2: 2, 10: 0}, range(200, 3001)),
    ),
    OtherKind(
        "a Paddle inference program",
        "evaluate the .pdparams that it was exported from",
        lambda s: _PROGRAM.match(s.head),
        _fields(_PROGRAM_FIELDS),
    ),
    OtherKind("the graph of a SavedModel", "name its folder, whose variables are read", _is_saved_model),
    OtherKind(
        "a frozen TensorFlow graph",
        "it is a program: evaluate the checkpoint that it was frozen from",
        lambda s: _GRAPH.match(s.head),
        _fields(_GRAPH_FIELDS),
    ),
    OtherKind(
        "a MindSpore checkpoint",
        "save its arrays: np.savez('weights.npz', **{name: array.asnumpy() for name, array "
        "in mindspore.load_checkpoint(FILE).items()})",
        lambda s: _MINDSPORE.match(s.head) and s.is_called(".ckpt"),
        _fields({1: 2, 2: 2, 3: 2}),
    ),
    OtherKind(
        "a Caffe model",
        "load it with Caffe, or cv2.dnn.readNetFromCaffe, and save the layers' arrays as .npz",
        lambda s: _CAFFE.match(s.head) and s.is_called(".caffemodel"),
        _fields(_CAFFE_FIELDS),
    ),
)
