"""Mutations that know a file's layout: what is changed lies within, and the checksums around it are made again."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tests.checkpoints.fuzz import blind
from tests.checkpoints.fuzz.messages import table_mutated
from tests.checkpoints.fuzz.pickles import pickle_mutated
from tests.checkpoints.fuzz.texts import header_mutated, json_mutated
from tests.sixty.pieces import Part, archive

_TABLE = bytes.fromhex("57fb808b247547db")
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_UTF8 = 0x800


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed file: what was done, and whether its checksums were made again."""

    content: bytes
    what: str
    sealed: bool


def mutated(draw: Random, content: bytes) -> Changed | None:
    """Return a file with something of its layout changed; None where no layout is known."""
    found = next((change for knows, change in _KINDS if knows(content)), None)
    return found(draw, content) if found else None


def _zip(draw: Random, content: bytes) -> Changed:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        parts = [_part(info, file.read(info)) for info in file.infolist()]
    place = draw.randrange(len(parts))
    if draw.random() < 0.3:
        what = _listing(draw, parts, place)
        return Changed(archive([_packed(part) for part in parts]), f"zip {what}", sealed=True)
    names = [number for number, part in enumerate(parts) if part.name.endswith((".npy", ".pkl", ".json", ".h5"))]
    place = draw.choice([*names, *names, place])
    data, what = _inner(draw, parts[place])
    parts[place] = replace(parts[place], data=data)
    return Changed(archive([_packed(part) for part in parts]), f"entry {parts[place].name!r}: {what}", sealed=True)


def _part(info: zipfile.ZipInfo, data: bytes) -> Part:
    """Return an entry unpacked, its method kept for `_packed`."""
    return Part(info.filename, data, method=info.compress_type, flags=0 if info.filename.isascii() else _UTF8)


def _packed(part: Part) -> Part:
    if part.method != zipfile.ZIP_DEFLATED:
        return part
    crc = zlib.crc32(part.data) if part.crc is None else part.crc
    size = len(part.data) if part.size is None else part.size
    return replace(part, data=zlib.compress(part.data, wbits=-15), crc=crc, size=size)


def _listing(draw: Random, parts: list[Part], place: int) -> str:
    """Change what the archive's directory says, or which entries there are."""
    part = parts[place]
    kind = draw.choice((*_OF_A_PART, "twice", "gone", "order", "many"))
    if kind in _OF_A_PART:
        parts[place] = _OF_A_PART[kind](draw, part)
    elif kind == "twice":
        parts.append(replace(part, name=draw.choice((part.name, f"{part.name}2"))))
    elif kind == "gone":
        del parts[place]
    elif kind == "order":
        draw.shuffle(parts)
    else:
        parts.extend(replace(part, name=f"{number}{part.name}") for number in range(draw.choice((100, 5000))))
    return f"{kind} of {part.name[:40]!r}"


def _named(draw: Random, part: Part) -> Part:
    odd = ("../x.npy", "/x", "", "a" * 5000 + ".npy", part.name + ".npy", part.name[1:], "code/x", "é\n")
    return replace(part, name=draw.choice(odd), flags=_UTF8)


def _sized(draw: Random, part: Part) -> Part:
    near = (0, 1, len(part.data) + 1, 1032 * len(part.data), (1 << 32) - 1, (1 << 32) - 2, 1 << 31)
    return replace(part, size=draw.choice(near) & 0xFFFFFFFF)


def _bomb(draw: Random, part: Part) -> Part:
    repeated = draw.choice((b"\0", part.data[-8:] or b"x", b"(", b"["))
    data = part.data[:128] + repeated * draw.choice((1 << 20, 1 << 24))
    return replace(part, data=data, method=zipfile.ZIP_DEFLATED)


_OF_A_PART: dict[str, Callable[[Random, Part], Part]] = {
    "name": _named,
    "size": _sized,
    "bomb": _bomb,
    "method": lambda draw, part: replace(part, method=draw.choice((0, 8, 12, 14, 93, 65535))),
    "crc": lambda draw, part: replace(part, crc=draw.choice((0, 0xFFFFFFFF, zlib.crc32(part.data) ^ 1))),
    "packed": lambda _, part: replace(part, method=8 - part.method if part.method in (0, 8) else 0),
    "flags": lambda draw, part: replace(part, flags=draw.choice((1, 8, 0x40, _UTF8, 0x2000))),
}


def _inner(draw: Random, part: Part) -> tuple[bytes, str]:
    """Return the content of an entry, changed as what its name says that it is."""
    if draw.random() < 0.15:
        return blind.mutated(draw, part.data, blind.outside(len(part.data), []), part.data)
    if part.name.endswith(".npy"):
        return header_mutated(draw, part.data)
    if part.name.endswith(".pkl"):
        return pickle_mutated(draw, part.data)
    if part.name.endswith(".json"):
        return json_mutated(draw, part.data)
    found = mutated(draw, part.data)
    if found is not None:
        return found.content, found.what
    return blind.mutated(draw, part.data, blind.outside(len(part.data), []), part.data)


def _safetensors(draw: Random, content: bytes) -> Changed:
    end = 8 + int.from_bytes(content[:8], "little")
    header, what = json_mutated(draw, content[8:end])
    return Changed(len(header).to_bytes(8, "little") + header + content[end:], what, sealed=False)


def _is_safetensors(content: bytes) -> bool:
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:9] == b"{" and end <= len(content) and content[end - 1 : end] in (b"}", b" ")


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _unsealed(change: Callable[[Random, bytes], tuple[bytes, str]]) -> Callable[[Random, bytes], Changed]:
    return lambda draw, content: Changed(*change(draw, content), sealed=False)


def _sstable(draw: Random, content: bytes) -> Changed:
    return Changed(*table_mutated(draw, content), sealed=True)


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[Random, bytes], Changed]], ...] = (
    (lambda content: content.startswith(b"PK\x03\x04"), _zip),
    (lambda content: content.endswith(_TABLE), _sstable),
    (lambda content: content.startswith(_LEGACY), _unsealed(lambda draw, content: pickle_mutated(draw, content, 5))),
    (_is_safetensors, _safetensors),
    (_is_json, _unsealed(json_mutated)),
    (lambda content: content.startswith(b"\x93NUMPY"), _unsealed(header_mutated)),
    (lambda content: content[:1] in (b"\x80", b"(", b"]") and content.endswith(b"."), _unsealed(pickle_mutated)),
)
