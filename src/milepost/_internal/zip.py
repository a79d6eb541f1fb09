"""A bounded reader of zip directories: where each entry's bytes lie; nothing is unpacked, everything checked.

Layout: local headers and data, then the central directory, then the end record (PKWARE APPNOTE 4.3).  A writer adds the
directory last, so a file without it is still being written or was cut off.
"""

import struct
import zlib
from operator import attrgetter
from typing import NamedTuple

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT, HEADER_LIMIT, OpenFile
from milepost._internal.budget import charge
from milepost.errors import Corrupt, Torn, Unsupported

MAGIC = b"PK\x03\x04"
STORED, DEFLATED = 0, 8

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_SECTOR = 512
_ENTRY = 600  # bytes of what one becomes
_MASK32 = 0xFFFFFFFF
_MASK16 = 0xFFFF
_DEFLATE_MOST = 1032  # deflate cannot expand by more (RFC 1951: 258 bytes from two bits)


class ZipEntry(NamedTuple):
    """An entry, its name as text and as bytes: data begins at `offset`, `packed` bytes long, `size` once unpacked."""

    name: str
    raw: bytes
    method: int
    crc: int
    packed: int
    size: int
    header: int
    offset: int = 0


def first_name(head: bytes) -> str | None:
    """Return the name of a zip's first entry from its first bytes, None where they are too few or no zip's."""
    if len(head) < _LOCAL.size or not head.startswith(MAGIC):
        return None
    length = _LOCAL.unpack_from(head)[9]
    name = head[_LOCAL.size : _LOCAL.size + length]
    return name.decode("utf-8", "replace") if len(name) == length else None


def names(file: OpenFile) -> list[str]:
    """Return the entries' names from the directory alone; errors as `members`."""
    return [item.name for item in _listed(file)[0]]


def members(file: OpenFile) -> dict[str, ZipEntry]:
    """Return every entry by name.

    Raises `Torn` where the directory is absent, `Corrupt` where headers disagree, entries overlap or repeat, or sizes
    cannot be, and `Unsupported` for encrypted or spanned archives.
    """
    listed, start = _listed(file)
    found: dict[str, ZipEntry] = {}
    end = 0
    for item in sorted(listed, key=attrgetter("header")):
        if item.header < end:
            raise Corrupt(f"{file.path}: entry {item.name!r} overlaps the entry before it")
        placed = _place(file, item)
        end = placed.offset + placed.packed
        if end > start:
            raise Corrupt(
                f"{file.path}: entry {item.name!r} ends at {end:,}, but the archive's directory starts at {start:,}"
            )
        if item.name in found:
            raise Corrupt(f"{file.path}: two entries are named {item.name!r}")
        found[item.name] = placed
    return found


def verify(file: OpenFile, item: ZipEntry) -> None:
    """Compare a stored entry's CRC-32 with its bytes; `Corrupt` names the entry, the stored and the computed value."""
    crc = file.crc32(item.offset, item.packed, f"entry {item.name!r}")
    if crc != item.crc:
        raise damaged(file, item, crc)


def damaged(file: OpenFile, item: ZipEntry, crc: int, holds: str = "") -> Corrupt:
    """Return the error for an entry whose bytes are not those that were written; `holds` names what it is."""
    return Corrupt(
        f"{file.path}: damaged: entry {item.name!r}{holds}: CRC-32 stored {item.crc:08x}, computed {crc:08x} "
        f"over {item.size:,} bytes; restore the file from another copy"
    )


def peek(file: OpenFile, item: ZipEntry, limit: int) -> bytes:
    """Return the first bytes of an entry, at most `limit`, unpacked but not yet compared with its CRC-32."""
    if item.method == STORED:
        return file.at(item.offset, min(item.packed, limit), item.name)
    # Deflate stores at worst about five bytes more in 16 KiB than it holds.
    packed = file.at(item.offset, min(item.packed, limit + limit // 1000 + 64), item.name)
    return _inflated(file, item, packed, limit)


def unpack(file: OpenFile, item: ZipEntry) -> bytes:
    """Return all bytes of an entry; `Corrupt` where they are not as many as declared, or fail their CRC-32."""
    data = file.at(item.offset, item.packed, f"entry {item.name!r}")
    if item.method != STORED:
        data = _inflated(file, item, data, item.size + 1)
    if len(data) != item.size:
        found = f"{len(data):,}" if len(data) < item.size else f"more than {item.size:,}"
        raise Corrupt(f"{file.path}: damaged: entry {item.name!r} declares {item.size:,} bytes and unpacks to {found}")
    crc = zlib.crc32(data)
    if crc != item.crc:
        raise damaged(file, item, crc)
    return data


def _inflated(file: OpenFile, item: ZipEntry, packed: bytes, limit: int) -> bytes:
    if item.method != DEFLATED:
        what = f"entry {item.name!r} is compressed by method {item.method}"
        raise Unsupported(f"{file.path}: {what}: only deflate is read")
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit)
    except zlib.error as error:
        raise Corrupt(f"{file.path}: damaged: entry {item.name!r} cannot be unpacked: {error}") from error


def _listed(file: OpenFile) -> tuple[list[ZipEntry], int]:
    count, size, start = _end(file)
    charge(made=size + _ENTRY * count, nodes=count)
    raw = file.at(start, size, "the archive's directory")
    found = []
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > size:
            raise Corrupt(f"{file.path}: the archive declares {count:,} entries, but its directory lists fewer")
        item, position = _central(file, raw, position)
        found.append(item)
    if position != size:
        raise Corrupt(f"{file.path}: the archive's directory has {size - position:,} bytes too many")
    return found, start


def _end(file: OpenFile) -> tuple[int, int, int]:
    tail_size = min(file.size, _END.size + _MASK16 + _LOCATOR.size)
    base = file.size - tail_size
    tail = file.at(base, tail_size, "the end of the archive")
    place = tail.rfind(b"PK\x05\x06")
    while place >= 0:
        if place + _END.size <= tail_size:
            record = _END.unpack_from(tail, place)
            if place + _END.size + record[7] == tail_size:
                return _bounds(file, tail, place, base + place)
        place = tail.rfind(b"PK\x05\x06", 0, place)
    _no_junk(file, tail, base)
    empty = len(tail) - len(tail.rstrip(b"\0"))
    zeros = f"; its last {empty:,} bytes are all zero, as after a crash of the machine" if empty >= _SECTOR else ""
    raise Torn(
        f"{file.path}: {CUT}: the zip archive ends after {file.size:,} bytes without its directory, which is written "
        f"last{zeros}{AGAIN}"
    )


def _no_junk(file: OpenFile, tail: bytes, base: int) -> None:
    """Raise `Corrupt` where the archive is whole and something follows it: waiting would not help."""
    place = tail.rfind(b"PK\x05\x06")
    if 0 <= place <= len(tail) - _END.size:
        record = _END.unpack_from(tail, place)
        if record[5] + record[6] == base + place:
            after = len(tail) - place - _END.size - record[7]
            what = f"{after:,} bytes follow the end of the zip archive"
            raise Corrupt(f"{file.path}: {what}; cut them off, or copy it again")


def _bounds(file: OpenFile, tail: bytes, place: int, absolute: int) -> tuple[int, int, int]:
    _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, place)
    if place >= _LOCATOR.size and tail[place - _LOCATOR.size : place].startswith(b"PK\x06\x07"):
        record = _LOCATOR.unpack_from(tail, place - _LOCATOR.size)[2]
        raw = file.at(record, _END64.size, "the zip64 end record")
        magic, length, _, _, disk, first_disk, here, count, size, start = _END64.unpack(raw)
        absolute = absolute - _LOCATOR.size - 12 - length
        if magic != b"PK\x06\x06" or record != absolute:
            raise Corrupt(f"{file.path}: the zip64 end record is not where its locator says")
    if disk or first_disk or here != count:
        raise Unsupported(f"{file.path}: a zip archive in several volumes; join them into one file")
    if start + size != absolute or count > COUNT_LIMIT or size > 2 * HEADER_LIMIT:
        raise Corrupt(
            f"{file.path}: the archive's directory should take bytes {start:,} to {start + size:,} with {count:,} "
            f"entries, but its end record is at {absolute:,}"
        )
    return count, size, start


def _central(file: OpenFile, raw: bytes, position: int) -> tuple[ZipEntry, int]:
    magic, _, _, flags, method, _, _, crc, packed, size, named, widened, commented, _, _, _, header = (
        _CENTRAL.unpack_from(raw, position)
    )
    begin = position + _CENTRAL.size
    end = begin + named + widened + commented
    if magic != b"PK\x01\x02" or end > len(raw):
        raise Corrupt(f"{file.path}: the archive's directory is damaged at its byte {position:,}")
    called = raw[begin : begin + named]
    try:
        name = called.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError as error:
        raise Corrupt(f"{file.path}: an entry's name is not text: {called[:40]!r}") from error
    if flags & 1:
        raise Unsupported(f"{file.path}: entry {name!r} is encrypted; save the file without a password")
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        what = f"entry {name!r}: the name leaves the archive, as no writer of checkpoints does"
        raise Corrupt(f"{file.path}: {what}; nothing was unpacked")
    if widened:
        extra = raw[begin + named : begin + named + widened]
        size, packed, header = _wide(file, extra, [size, packed, header])
    if (method == STORED and packed != size) or size > packed * _DEFLATE_MOST + _DEFLATE_MOST:
        raise Corrupt(f"{file.path}: entry {name!r} declares {size:,} bytes from {packed:,}: that cannot be")
    return ZipEntry(name, called, method, crc, packed, size, header), end


def _wide(file: OpenFile, extra: bytes, values: list[int]) -> list[int]:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            field = extra[position + 4 : position + 4 + length]
            for index, value in enumerate(values):
                if value == _MASK32:
                    if len(field) < 8:  # noqa: PLR2004 - a 64-bit number
                        raise Corrupt(f"{file.path}: a zip64 field is too short")
                    values[index], field = int.from_bytes(field[:8], "little"), field[8:]
            break
        position += 4 + length
    return values


def _place(file: OpenFile, item: ZipEntry) -> ZipEntry:
    raw = file.at(item.header, _LOCAL.size + len(item.raw), "an entry's header")
    magic, _, _, method, _, _, _, _, _, length, extra = _LOCAL.unpack_from(raw)
    if magic != MAGIC or method != item.method or length != len(item.raw) or raw[_LOCAL.size :] != item.raw:
        raise Corrupt(f"{file.path}: entry {item.name!r}: its header disagrees with the archive's directory")
    return ZipEntry(*item[:-1], item.header + len(raw) + extra)
