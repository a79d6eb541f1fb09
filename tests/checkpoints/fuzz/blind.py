"""Mutations of bytes, whatever they mean: flips, cuts, splices, blocks, numbers that look like lengths."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

Places = Sequence[tuple[int, int]]
Mutation = Callable[[Random, bytearray, Places, bytes], str]

_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    1 << 31,
    (1 << 31) - 1,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_TRIES = 40


def outside(size: int, data: Places) -> list[tuple[int, int]]:
    """Return the runs of a file of so many bytes in which no tensor lies; its ends where tensors fill all."""
    runs, at = [], 0
    for begin, end in sorted(data):
        if begin > at:
            runs.append((at, begin))
        at = max(at, end)
    if at < size:
        runs.append((at, size))
    return runs or [(0, min(size, 64))]


def mutated(draw: Random, content: bytes, structure: Places, other: bytes) -> tuple[bytes, str]:
    """Return changed bytes, and what was done; `structure` is where most of it is done, `other` what is spliced in."""
    made = bytearray(content)
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        mutation = draw.choice(_MUTATIONS)
        done.append(f"{mutation.__name__.strip('_')} {mutation(draw, made, structure, other)}")
    return bytes(made), ", ".join(done)


def _flip(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    places = [_place(draw, made, structure) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
    for place in places if made else ():
        made[place] ^= 1 << draw.randrange(8)
    return f"{places}"


def _set(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    place, value = _place(draw, made, structure), draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    made[place : place + 1] = bytes([value])
    return f"{place} to {value}"


def _cut(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    place = _place(draw, made, structure)
    del made[place:]
    return f"after {place}"


def _drop(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    begin, length = _block(draw, made, structure)
    del made[begin : begin + length]
    return f"{length} at {begin}"


def _zero(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    begin, length = _block(draw, made, structure)
    made[begin : begin + length] = draw.choice((b"\0", b"\xff")) * length
    return f"{length} at {begin}"


def _twice(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    begin, length = _block(draw, made, structure)
    place = draw.choice((begin + length, _place(draw, made, structure)))
    over = draw.random() < 0.5
    made[place : place + (length if over else 0)] = made[begin : begin + length]
    return f"{length} of {begin} {'over' if over else 'before'} {place}"


def _insert(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    place, length = _place(draw, made, structure), draw.choice((1, 2, 4, 8, 100))
    made[place:place] = draw.randbytes(length)
    return f"{length} at {place}"


def _splice(draw: Random, made: bytearray, structure: Places, other: bytes) -> str:
    place = _place(draw, made, structure)
    begin = place if draw.random() < 0.7 else draw.randrange(len(other) + 1)
    length = draw.choice((len(other), 4, 16, 64, 512))
    if length == len(other):
        del made[place:]
    made[place : place + length] = other[begin : begin + length]
    return f"{length} of another's {begin} at {place}"


def _length(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    """Change a number that may be a length or an offset: it is not above the file's size, or near the bytes left."""
    for _tried in range(_TRIES):
        place, width = _place(draw, made, structure), draw.choice((1, 2, 2, 4, 4, 4, 8, 8))
        order: Literal["little", "big"] = "little" if draw.random() < 0.75 else "big"
        value = int.from_bytes(made[place : place + width], order)
        if 0 < value <= len(made) + 1:
            break
    near = (value + 1, max(value - 1, 0), 2 * value, len(made), len(made) - place, value + draw.randrange(1 << 12))
    new = draw.choice((*_EXTREMES, *near)) % (1 << 8 * width)
    made[place : place + width] = new.to_bytes(width, order)
    return f"{width} bytes {order} at {place}: {value} to {new}"


def _swap(draw: Random, made: bytearray, structure: Places, _: bytes) -> str:
    first, second, length = _place(draw, made, structure), _place(draw, made, structure), draw.choice((1, 4, 8, 32))
    one, two = bytes(made[first : first + length]), bytes(made[second : second + length])
    made[first : first + length], made[second : second + length] = two, one
    return f"{length} of {first} and {second}"


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _flip, _set, _cut, _drop, _zero, _twice, _insert, _splice, _splice),
    *(_length, _length, _length, _swap),
)


def _place(draw: Random, made: bytearray, structure: Places) -> int:
    """Return a place in the file: most lie where no tensor does, many of these near the ends."""
    if not made:
        return 0
    if draw.random() < 0.25:
        return draw.randrange(len(made))
    begin, end = draw.choice(structure)
    if end - begin > 256 and draw.random() < 0.4:
        begin, end = draw.choice(((begin, begin + 128), (end - 128, end)))
    return min(draw.randrange(begin, max(end, begin + 1)), len(made) - 1)


def _block(draw: Random, made: bytearray, structure: Places) -> tuple[int, int]:
    begin = _place(draw, made, structure)
    return begin, min(draw.choice((1, 4, 8, 16, 64, 512, 4096)), len(made) - begin)
