"""Files that are compressed as a whole: what is within, and whether they are whole."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from milepost._internal.budget import TooCostly, charge
from milepost.checkpoints.others._kind import Cursor, OtherKind, Short, Start, Wrong

_LIMIT = 64 << 10
_MEMORY = 64 << 20
_MOST = 1 << 30
_PACKED: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x78", "zlib", lambda: zlib.decompressobj()),  # noqa: PLW0108 - the others take arguments
    (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", lambda: lzma.LZMADecompressor(memlimit=_MEMORY)),
    (b"\x5d\0\0", "lzma", lambda: lzma.LZMADecompressor(memlimit=_MEMORY)),
)
_DAMAGED = (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError)


def packed_with(head: bytes) -> tuple[str, bytes] | None:
    """Return how a file is compressed as a whole, and the first 64 KiB at most of what is within; None where it is not.

    >>> packed_with(zlib.compress(b"x" * 9)), packed_with(b"plain")
    (('zlib', b'xxxxxxxxx'), None)
    """
    for magic, name, unpacker in _PACKED:
        if head.startswith(magic):
            try:
                return name, unpacker().decompress(head, _LIMIT)
            except _DAMAGED:
                return None
    return None


def unpack_whole(cursor: Cursor) -> bool:
    """Unpack a file to its end without keeping what is within, up to 1 GiB of it; False where it is not compressed.

    One that takes longer to unpack than its budget has is taken for whole.

    Raises `Short` where it ends too early, `Wrong` where it is damaged.
    """
    head = cursor.take(min(6, cursor.size))
    cursor.at = 0
    unpacker = next((made() for magic, _, made in _PACKED if head.startswith(magic)), None)
    if unpacker is None:
        return False
    given, total = b"", 0
    while not unpacker.eof and total < _MOST and _in_time():
        if not given and getattr(unpacker, "needs_input", True):
            if cursor.done:
                raise Short("what is compressed has no end")
            given = cursor.take(min(_LIMIT, cursor.size - cursor.at))
        try:
            total += len(unpacker.decompress(given, _LIMIT))
        except _DAMAGED as error:
            raise Wrong(f"it cannot be unpacked: {error}") from error
        given = getattr(unpacker, "unconsumed_tail", b"")
    return True


def _in_time() -> bool:
    try:
        charge(made=1 << 16)
    except TooCostly:
        return False
    return True


def _begins(magic: bytes) -> Callable[[Start], bool]:
    return lambda start: start.head.startswith(magic)


_UNPACK = "unpack it first"
KINDS = (
    *(
        OtherKind(f"compressed as a whole with {name}", _UNPACK, _begins(magic), unpack_whole)
        for magic, name, _ in _PACKED
        if name not in {"zlib", "lzma"}  # their beginnings are of two bytes, or are anything's
    ),
    OtherKind("compressed as a whole with zstd", _UNPACK, _begins(b"\x28\xb5\x2f\xfd")),
    OtherKind("compressed as a whole with lz4", _UNPACK, _begins(b"\x04\x22\x4d\x18")),
    OtherKind("compressed as a whole with 7-zip", _UNPACK, _begins(b"7z\xbc\xaf\x27\x1c")),
)
