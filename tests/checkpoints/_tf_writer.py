"""A small writer of TensorFlow's checkpoint files, in plain Python: sound ones, odd ones, and ones written slowly.

`bundle` gives the files of a tensor bundle (Saver V2, TF 2), `saver_v1` a file of Saver V1, `slowly` writes a bundle in
pieces in the order of TensorFlow's own writers.  Written after the published layouts, not with the reader's code.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

MAGIC = bytes.fromhex("57fb808b247547db")
TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "complex64": 8, "int64": 9, "bool": 10,
    "bfloat16": 14, "uint16": 17, "complex128": 18, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip
HALF = 13
# The fields of V1's values: number and how a value is written ("" for a varint).
V1_FIELDS = {
    "float32": (5, "<f4"), "float64": (6, "<f8"), "complex64": (9, "<c8"), "int64": (10, ""), "bool": (11, ""),
    "complex128": (12, "<c16"), "float16": (13, ""), "bfloat16": (13, ""), "uint32": (16, ""), "uint64": (17, ""),
}  # fmt: skip

Files = dict[str, bytes]
Entries = Iterable[tuple[bytes, bytes]]


def masked(data: bytes) -> int:
    """Return a masked CRC-32C."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------------------------------------- protocol buffers


def varint(value: int) -> bytes:
    """Return a varint; a negative number as its 64 bits."""
    value &= (1 << 64) - 1
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def number(field: int, value: int) -> bytes:
    """Return a varint field; nothing where the value is 0, as proto3 has it."""
    return varint(field << 3) + varint(value) if value else b""


def data(field: int, value: bytes) -> bytes:
    """Return a field of bytes."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def fixed32(field: int, value: int) -> bytes:
    """Return a field of four bytes."""
    return varint(field << 3 | 5) + struct.pack("<I", value)


def shape(sizes: Sequence[int]) -> bytes:
    """Return a TensorShapeProto."""
    return b"".join(data(2, number(1, size)) for size in sizes)


def extent(start: int, length: int) -> bytes:
    """Return one axis of a TensorSliceProto; length -1 is all of it."""
    return data(1, b"" if length < 0 else number(1, start) + varint(2 << 3) + varint(length))


def slice_key(name: str, axes: Sequence[tuple[int, int]]) -> bytes:
    """Return the key of a slice, for starts and lengths below 8192."""
    body = b"".join(_ordered(start) + _ordered(length) for start, length in axes)
    return b"\0" + name.encode() + b"\0\x01" + (bytes([1, len(axes)]) if axes else b"\0") + body


def _ordered(value: int) -> bytes:
    if -64 <= value < 64:
        return bytes([(value & 0xFF) ^ 0x80])
    assert 0 <= value < 8192
    return struct.pack(">H", value | 0xC000)


# --------------------------------------------------------------------------------------------------------------- tables


def block(entries: Entries, restart: int = 16) -> bytes:
    """Return a block's contents: keys share their beginnings, but for every `restart`th."""
    made, before, places = bytearray(), b"", []
    for count, (key, value) in enumerate(entries):
        shared = next((at for at, pair in enumerate(zip(before, key, strict=False)) if pair[0] != pair[1]), None)
        shared = min(len(before), len(key)) if shared is None else shared
        if count % restart == 0:
            shared = 0
            places.append(len(made))
        made += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return bytes(made) + struct.pack(f"<{max(len(places), 1) + 1}I", *(places or [0]), max(len(places), 1))


def sealed(content: bytes, compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return a block as it stands in a file: compressed or not, with its trailer."""
    body = compress(content) + b"\1" if compress else content + b"\0"
    return body + struct.pack("<I", masked(body))


def table(entries: Entries, size: int = 4096, compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return a whole table of blocks of about `size` bytes."""
    made, index, held, weight = bytearray(), [], [], 0
    every = list(entries)
    for place, (key, value) in enumerate(every):
        held.append((key, value))
        weight += len(key) + len(value)
        if weight >= size or place == len(every) - 1:
            whole = sealed(block(held), compress)
            index.append((key, varint(len(made)) + varint(len(whole) - 5)))
            made += whole
            held, weight = [], 0
    return framed(bytes(made), block(index, 1), compress)


def framed(blocks: bytes, index: bytes, compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return blocks with their index, an empty list of meta blocks and the footer."""
    meta, whole = sealed(block([])), sealed(index, compress)
    places = varint(len(blocks)) + varint(len(meta) - 5)
    places += varint(len(blocks) + len(meta)) + varint(len(whole) - 5)
    return blocks + meta + whole + places.ljust(40, b"\0") + MAGIC


def literal(content: bytes) -> bytes:
    """Return snappy's form of bytes in which nothing is compressed."""
    made = varint(len(content))
    for at in range(0, len(content), 65536):
        piece = content[at : at + 65536]
        made += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return made


def compressed(content: bytes) -> bytes:
    """Return snappy's form of bytes, with copies of what repeats within 2 KiB or far behind."""
    made, at, begin = bytearray(varint(len(content))), 0, 0
    seen: dict[bytes, int] = {}
    while at < len(content):
        here = content[at : at + 4]
        past = seen.get(here) if len(here) == 4 else None
        seen[here] = at
        if past is None or at - past > 65535:
            at += 1
            continue
        length = 4
        while length < 64 and at + length < len(content) and content[past + length] == content[at + length]:
            length += 1
        made += _literals(content[begin:at])
        offset = at - past
        if length < 12 and offset < 2048:
            made += bytes([1 | (length - 4) << 2 | offset >> 8 << 5, offset & 0xFF])
        else:
            made += bytes([2 | (length - 1) << 2]) + struct.pack("<H", offset)
        at += length
        begin = at
    return bytes(made + _literals(content[begin:]))


def _literals(content: bytes) -> bytes:
    made = b""
    for at in range(0, len(content), 60):
        piece = content[at : at + 60]
        made += bytes([(len(piece) - 1) << 2]) + piece
    return made


# -------------------------------------------------------------------------------------------------------------- bundles


def header(shards: int = 1, *, big: bool = False) -> bytes:
    """Return a BundleHeaderProto."""
    return number(1, shards) + number(2, int(big)) + data(3, number(1, 1))


def entry(kind: int, sizes: Sequence[int], shard: int, offset: int, content: bytes, crc: int | None = None) -> bytes:
    """Return a BundleEntryProto of a tensor whose bytes are these."""
    place = number(3, shard) + number(4, offset) + number(5, len(content))
    return number(1, kind) + data(2, shape(sizes)) + place + fixed32(6, masked(content) if crc is None else crc)


def bundle(
    prefix: str, arrays: Mapping[str, np.ndarray], shards: int = 1, parts: Mapping[str, int] | None = None
) -> Files:
    """Return a bundle's files by name, the index last; `parts` says into how many slices a variable is cut."""
    held: list[list[bytes]] = [[] for _ in range(shards)]
    entries: list[tuple[bytes, bytes]] = [(b"", header(shards))]

    def put(key: bytes, array: np.ndarray) -> None:
        shard = len(entries) % shards
        content = array.tobytes()
        offset = sum(map(len, held[shard]))
        entries.append((key, entry(TYPES[array.dtype.name], array.shape, shard, offset, content)))
        held[shard].append(content)

    for name, array in arrays.items():
        count = (parts or {}).get(name)
        if count is None:
            put(name.encode(), array)
            continue
        slices = []
        for piece in np.array_split(np.arange(len(array)), count):
            axes = [(int(piece[0]), len(piece)), *((0, -1) for _ in array.shape[1:])]
            slices.append(b"".join(extent(*axis) for axis in axes))
            put(slice_key(name, axes), array[piece])
        whole = number(1, TYPES[array.dtype.name]) + data(2, shape(array.shape)) + b"".join(data(7, s) for s in slices)
        entries.append((name.encode(), whole))
    files = {f"{prefix}.data-{k:05d}-of-{shards:05d}": b"".join(content) for k, content in enumerate(held)}
    return {**files, f"{prefix}.index": table(sorted(entries))}


def write_bundle(path: Path, arrays: Mapping[str, np.ndarray], shards: int = 1) -> None:
    """Write a bundle whose index is at `path`."""
    for name, content in bundle(path.name.removesuffix(".index"), arrays, shards).items():
        path.with_name(name).write_bytes(content)


def graph(nodes: Sequence[tuple[Sequence[tuple[int, str]], Sequence[tuple[str, str]]]]) -> bytes:
    """Return a TrackableObjectGraph of nodes, each its children (number, name) and its variables (full name, key)."""
    made = b""
    for children, keys in nodes:
        inner = b"".join(data(1, number(1, child) + data(2, name.encode())) for child, name in children)
        value = data(1, b"VARIABLE_VALUE")
        inner += b"".join(data(2, value + data(2, full.encode()) + data(3, key.encode())) for full, key in keys)
        made += data(1, inner)
    return made


def string(content: bytes) -> tuple[bytes, int]:
    """Return the bytes of one string in a shard, and the checksum of its entry."""
    size = struct.pack("<I", len(content))
    check = struct.pack("<I", masked(size))
    return varint(len(content)) + check + content, masked(size + check + content)


def slowly(prefix: Path, files: Files, pause: Callable[[], object], *, renamed: bool, piece: int = 4096) -> None:
    """Write a bundle's files as TensorFlow does, `pause` called after each piece and each change of a name.

    `renamed`: as TF 1's unsharded Saver (each file beside, then renamed, `.meta` after the state file); else as TF 2
    and sharded Savers (shards in a folder of their own, then renamed, and the index in place).
    """

    def put(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            for at in range(0, max(len(content), 1), piece):
                file.write(content[at : at + piece])
                file.flush()
                pause()

    def moved(path: Path, content: bytes, beside: Path) -> None:
        put(beside, content)
        beside.rename(path)
        pause()

    place = prefix.parent
    shards = {place / name: content for name, content in files.items() if not name.endswith(".index")}
    index = files[f"{prefix.name}.index"]
    if renamed:
        for path, content in {**shards, Path(f"{prefix}.index"): index}.items():
            moved(path, content, Path(f"{path}.tempstate16274529"))
    else:
        scratch = Path(f"{prefix}_temp")
        scratch.mkdir()
        for number_, (path, content) in enumerate(shards.items()):
            part = scratch / f"part-{number_:05d}-of-{len(shards):05d}"
            for end, held in (("data-00000-of-00001", content), ("index", index)):
                moved(Path(f"{part}.{end}"), held, Path(f"{part}.{end}.tempstate10223514"))
            Path(f"{part}.data-00000-of-00001").rename(path)
            pause()
        put(Path(f"{prefix}.index"), index)
        for left in scratch.iterdir():
            left.unlink()
        scratch.rmdir()
    state = f'model_checkpoint_path: "{prefix.name}"\n'.encode()
    moved(place / "checkpoint", state, place / "checkpoint.tmp5b2f")
    if renamed:
        moved(Path(f"{prefix}.meta"), b"\n\x02v1", Path(f"{prefix}.meta.tmp9c1e"))


# ------------------------------------------------------------------------------------------------------------- Saver V1


def values(array: np.ndarray) -> bytes:
    """Return a TensorProto that holds an array's values alone."""
    field, kind = V1_FIELDS.get(array.dtype.name, (7, ""))
    raw = array.ravel().view(np.uint16) if field == HALF else array.ravel()
    packed = raw.astype(kind).tobytes() if kind else b"".join(varint(int(value)) for value in raw)
    return data(field, packed) if raw.size else b""


def saver_v1(
    arrays: Mapping[str, np.ndarray],
    parts: Mapping[str, int] | None = None,
    size: int = 4096,
    compress: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """Return a Saver V1 file; `parts` says into how many slices a variable is cut."""
    listed, entries = b"", []
    for name, array in arrays.items():
        count = (parts or {}).get(name)
        rows = np.array_split(np.arange(len(array)), count) if count else [None]
        slices = b""
        for piece in rows:
            first = [] if piece is None else [(int(piece[0]), len(piece))]
            axes = [*first, *((0, -1) for _ in array.shape[len(first) :])]
            place = b"".join(extent(*axis) for axis in axes)
            held = array if piece is None else array[piece]
            saved = data(1, name.encode()) + data(2, place) + data(3, values(held))
            entries.append((slice_key(name, axes), data(2, saved)))
            slices += data(4, place)
        kind = number(3, TYPES[array.dtype.name])
        listed += data(1, data(1, name.encode()) + data(2, shape(array.shape)) + kind + slices)
    return table([(b"", data(1, listed)), *sorted(entries)], size, compress)
