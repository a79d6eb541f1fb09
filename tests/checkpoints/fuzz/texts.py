"""Mutations of what is text with a grammar: JSON, and the header of a .npy array."""

import json
import re
from random import Random
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**400, 0.5, 1e300, float("nan"), float("inf")),
    *("", "x", "\ud800", "\x1b[2J\r\n", "a\0b", "é" * 3000, "../x", "/etc/passwd", "F4", "BF16", "1" * 5000),
    *([], {}, [[]], {"": {}}, [1, 2, 3], [2**62, 2**62], {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}),
)
_TYPES = ("<f4", ">f8", "<i8", "|O", "|V3", "<U7", "|S4", "<f2", "|b1", "<M8[s]", "<c8", "<f3", "f4,f4", "4294967296f4")
_NUMBER = re.compile(rb"-?\d+")


def json_mutated(draw: Random, content: bytes) -> tuple[bytes, str]:
    """Return a changed JSON text: another value, key or type somewhere, nesting, a key twice, or other numbers."""
    try:
        held = json.loads(content)
    except ValueError:
        held = None
    if not isinstance(held, dict | list) or draw.random() < 0.3:
        of_text = draw.choice((_numbers, _nested, _doubled))
        return of_text(draw, content), f"JSON {of_text.__name__.strip('_')}"
    what = draw.choice((_value, _value, _value, _key, _gone, _swapped))(draw, held)
    return json.dumps(held, ensure_ascii=draw.random() < 0.8).encode("utf-8", "surrogatepass"), f"JSON {what}"


def header_mutated(draw: Random, content: bytes) -> tuple[bytes, str]:
    """Return a .npy array whose header says something else, and its length fits or does not."""
    if content[:6] != b"\x93NUMPY":
        return content, "no header"
    end = 10 + int.from_bytes(content[8:10], "little")
    text = content[10:end]
    if draw.random() < 0.5:
        text = _numbers(draw, text)
    elif draw.random() < 0.6:
        text = re.sub(rb"'descr': '[^']*'", f"'descr': '{draw.choice(_TYPES)}'".encode(), text)
    else:
        old, new = draw.choice(_WORDS)
        text = text.replace(old, new)
    length = len(text) if draw.random() < 0.9 else draw.randrange(1 << 16)
    return content[:8] + length.to_bytes(2, "little") + text + content[end:], f"header {text[:60]!r}"


_WORDS = (
    (b"False", b"True"), (b"True", b"False"), (b"'shape'", b"'shapes'"), (b"}", b"}}"), (b"{", b"(" * 200 + b"{"),
    (b"(", b"[" * 300 + b"("), (b"False", b"False or 1"), (b"'<f4'", b"[('a', '<f4')]"), (b"(", b"(9**9**9**9, "),
    (b"'shape': (", b"'shape': (" + b"1," * 70), (b"False", b"'" + b"x" * 60_000 + b"'"), (b"{", b"{'shape': (), "),
)  # fmt: skip


def _places(held: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return container and key of every value below."""
    for key in held if isinstance(held, dict) else range(len(held)):
        found.append((held, key))
        if isinstance(held[key], dict | list):
            _places(held[key], found)
    return found


def _place(draw: Random, held: Any) -> tuple[Any, Any]:
    places = _places(held, [])
    return draw.choice(places) if places else (held, None)


def _value(draw: Random, held: Any) -> str:
    inside, key = _place(draw, held)
    if key is None:
        return "empty"
    old = inside[key]
    near = [old + 1, old - 1, 2 * old, -old] if type(old) is int else []
    inside[key] = draw.choice([*_VALUES, *near, *near])
    return f"{str(key)[:40]!r} from {str(old)[:40]} to {str(inside[key])[:40]!r}"


def _key(draw: Random, held: Any) -> str:
    inside, key = _place(draw, held)
    if not isinstance(inside, dict) or key is None:
        return _value(draw, held)
    new = draw.choice(("", "x", "\ud800", "__metadata__", "\x1b[2J", "a" * 5000, "global_step", f"{key} "))
    inside[new] = inside.pop(key)
    return f"key {key[:40]!r} to {new[:40]!r}"


def _gone(draw: Random, held: Any) -> str:
    inside, key = _place(draw, held)
    if key is not None:
        del inside[key]
    return f"without {str(key)[:40]!r}"


def _swapped(draw: Random, held: Any) -> str:
    (one, first), (two, second) = _place(draw, held), _place(draw, held)
    if first is None or isinstance(one[first], dict | list) or isinstance(two[second], dict | list):
        return _value(draw, held)
    one[first], two[second] = two[second], one[first]
    return f"{str(first)[:40]!r} and {str(second)[:40]!r} swapped"


def _numbers(draw: Random, text: bytes) -> bytes:
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    one = draw.choice(found)
    old = int(one[0][:18])
    new = draw.choice((0, 1, -1, old + 1, old - 1, 2 * old, 2**31, 2**62, 2**63, 2**64, 10**30, 9 * 10**4200))
    return text[: one.start()] + _decimal(new) + text[one.end() :]


def _decimal(number: int) -> bytes:
    return b"9" * 4201 if number > 10**4000 else str(number).encode()


def _nested(draw: Random, text: bytes) -> bytes:
    depth = draw.choice((10, 1000, 100_000))
    opened, closed = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    place = draw.choice([at for at, sign in enumerate(text) if sign in b":,["] or [0]) + 1
    return text[:place] + opened * depth + b"1" + closed * depth + b"," + text[place:]


def _doubled(draw: Random, text: bytes) -> bytes:
    """Return a text whose object is repeated within itself: keys stand twice."""
    begin = text.find(b"{") + 1
    end = text.rfind(b"}")
    return text[:begin] + text[begin:end] * draw.choice((1, 1, 500)) + b"," + text[begin:]
