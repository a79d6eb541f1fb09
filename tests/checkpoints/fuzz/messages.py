"""Mutations of protocol buffers, and of sorted tables of them whose checksums are made again."""

import struct
from random import Random

from tests.checkpoints import _tf_writer as tf
from tests.checkpoints.fuzz import blind

from milepost.checkpoints._codecs import snappy
from milepost.errors import CheckpointError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTREMES = (
    0,
    1,
    2,
    7,
    14,
    20,
    127,
    128,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    (1 << 62),
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_DEPTH = 6

Field = list[object]
"""A number, a wire type, and an integer, bytes, or the fields of a message."""
Entries = list[tuple[bytes, bytes]]


def message_mutated(draw: Random, content: bytes) -> bytes:
    """Return a message with one field of it, or of one within, changed; its lengths fit, or one of them lies."""
    fields = _parsed(content, 0)
    if not fields:
        return blind.mutated(draw, content, blind.outside(len(content), []), content)[0] if content else b"\x08\x01"
    inside = fields
    while True:
        place = draw.randrange(len(inside))
        held = inside[place][2]
        if not isinstance(held, list) or not held or draw.random() < 0.25:
            break
        inside = held
    _change(draw, inside, place)
    return _joined(fields)


def _change(draw: Random, fields: list[Field], place: int) -> None:
    number, wire, value = fields[place]
    kind = draw.choice(("value", "value", "value", "gone", "twice", "number", "wire", "swap", "many"))
    if kind == "gone":
        del fields[place]
    elif kind == "twice":
        fields.insert(draw.randrange(len(fields)), fields[place])
    elif kind == "many":
        fields[place:place] = [fields[place]] * draw.choice((10, 70, 3000))
    elif kind == "number":
        fields[place][0] = draw.choice((1, 2, 3, 4, 5, 6, 7, 15, 16, (1 << 29) - 1, 0))
    elif kind == "wire":
        fields[place][1:] = (
            [draw.choice((3, 4, 6, 7)), b""] if draw.random() < 0.3 else [_VARINT, draw.choice(_EXTREMES)]
        )
    elif kind == "swap":
        other = draw.randrange(len(fields))
        fields[place][2], fields[other][2] = fields[other][2], value
        fields[place][1], fields[other][1] = fields[other][1], wire
    elif isinstance(value, int):
        near = (value + 1, max(value - 1, 0), 2 * value)
        fields[place][2] = draw.choice((*_EXTREMES, *near)) & ((1 << (32 if wire == _FIXED32 else 64)) - 1)
    else:
        held = value if isinstance(value, bytes) else _joined(value)  # type: ignore[arg-type]
        fields[place][2] = blind.mutated(draw, held, blind.outside(len(held), []), held)[0]
    del number


def _parsed(content: bytes, depth: int) -> list[Field]:
    """Return a message's fields, nested ones parsed too; [] where it is none."""
    fields: list[Field] = []
    at = 0
    try:
        while at < len(content):
            key, at = _varint(content, at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = _varint(content, at)
                fields.append([number, wire, value])
                continue
            length, at = _varint(content, at) if wire == _BYTES else ({_FIXED64: 8, _FIXED32: 4}[wire], at)
            held = content[at : at + length]
            if len(held) < length or not number:
                return []
            at += length
            if wire == _BYTES:
                fields.append([number, wire, (_parsed(held, depth + 1) if depth < _DEPTH else None) or held])
            else:
                fields.append([number, wire, int.from_bytes(held, "little")])
    except (IndexError, KeyError):
        return []
    return fields


def _joined(fields: list[Field]) -> bytes:
    made = b""
    for number, wire, value in fields:
        made += tf.varint(int(number) << 3 | int(wire))  # type: ignore[call-overload]
        if isinstance(value, int):
            made += (
                tf.varint(value)
                if wire not in (_FIXED32, _FIXED64)
                else value.to_bytes(4 if wire == _FIXED32 else 8, "little")
            )
        else:
            held = value if isinstance(value, bytes) else _joined(value)  # type: ignore[arg-type]
            made += tf.varint(len(held)) + held if wire == _BYTES else held
    return made


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            return value, at


# --------------------------------------------------------------------------------------------------------------- tables


def table_mutated(draw: Random, content: bytes) -> tuple[bytes, str]:
    """Return a table with its entries, a block or its index changed, and every checksum right."""
    packed = (
        tf.compressed
        if b"\x01" in {content[begin + size : begin + size + 1] for begin, size in _handles(content)}
        else None
    )
    entries = [pair for begin, size in _handles(content) for pair in _entries(_block(content, begin, size))]
    kind = draw.choice(("entry", "entry", "entry", "entry", "entry", "block", "index", "compressed"))
    if kind == "entry":
        what = _entry(draw, entries)
        return tf.table(entries, draw.choice((60, 4096)), draw.choice((packed, packed, tf.literal))), f"table {what}"
    blocks, listed = [], []
    for begin, size in _handles(content):
        inner = _block(content, begin, size)
        blocks.append((inner, _entries(inner)[-1][0] if _entries(inner) else b""))
    chosen = draw.randrange(len(blocks)) if blocks else 0
    made = b""
    for number, (inner, last) in enumerate(blocks):
        body = inner
        if number == chosen and kind == "block":
            body = _scrambled(draw, body)
        sealed = tf.sealed(body, packed)
        if number == chosen and kind == "compressed":
            raw = _scrambled(draw, tf.compressed(body)) + b"\x01"
            sealed = raw + struct.pack("<I", tf.masked(raw))
        listed.append((last, tf.varint(len(made)) + tf.varint(len(sealed) - 5)))
        made += sealed
    index = tf.block(listed, 1)
    return tf.framed(made, _scrambled(draw, index) if kind == "index" else index, packed), f"table {kind} {chosen}"


def _scrambled(draw: Random, content: bytes) -> bytes:
    return blind.mutated(draw, content, blind.outside(len(content), []), content)[0]


def _entry(draw: Random, entries: Entries) -> str:
    if not entries:
        return "empty"
    place = draw.randrange(len(entries))
    key, value = entries[place]
    kind = draw.choice(("message", "message", "message", "message", "key", "gone", "twice", "swap", "value"))
    if kind == "message":
        entries[place] = key, message_mutated(draw, value)
    elif kind == "key":
        entries[place] = _scrambled(draw, key), value
        if draw.random() < 0.7:
            entries.sort()
    elif kind == "gone":
        del entries[place]
    elif kind == "twice":
        entries.insert(draw.randrange(len(entries)), (key + draw.choice((b"", b"x", b"\0")), value))
        if draw.random() < 0.7:
            entries.sort()
    elif kind == "swap":
        other = draw.randrange(len(entries))
        entries[place], entries[other] = (key, entries[other][1]), (entries[other][0], value)
    else:
        entries[place] = key, _scrambled(draw, value)
    return f"{kind} of {key[:40]!r}"


def _handles(content: bytes) -> list[tuple[int, int]]:
    """Return where a sound table's blocks begin, and how long they are without their trailers."""
    footer = content[-48:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)
    begin, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    found = []
    for _, value in _entries(_block(content, begin, size)):
        offset, at = _varint(value, 0)
        found.append((offset, _varint(value, at)[0]))
    return found


def _block(content: bytes, begin: int, size: int) -> bytes:
    body = content[begin : begin + size]
    if content[begin + size] != 1:
        return body
    try:
        return bytes(snappy.unpack(memoryview(body), "a block"))
    except CheckpointError:
        return b""


def _entries(block: bytes) -> Entries:
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    found, key, at = [], b"", 0
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        size, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        found.append((key, block[at + rest : at + rest + size]))
        at += rest + size
    return found
