"""Text for people: natural order, lists with a limit."""

import re
from collections.abc import Mapping, Sequence


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key in which numbers count as numbers.

    >>> sorted(["step-10", "step-9", "step-010"], key=natural)
    ['step-9', 'step-010', 'step-10']
    """
    pieces = re.split(r"([0-9]{1,18})", text)
    key = [(0, int(piece), "") if index % 2 else (1, 0, piece) for index, piece in enumerate(pieces)]
    return (*key, (2, 0, text))


def counted(count: int, thing: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def elided(text: str, width: int) -> str:
    """Return a text of at most so many columns, without its middle where it is longer.

    >>> elided("encoder.layer.11.attention.weight", 16), elided("fc.weight", 16)
    ('encoder.….weight', 'fc.weight')
    """
    if len(text) <= width:
        return text
    tail = width // 2 - 1
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"


def listed(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Join the first items, and count the others.

    >>> listed(["a", "b", "c"], 2), listed(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    others = len(items) - most
    return separator.join(items[:most]) + (f" and {others:,} more" if others > 0 else "")


def numbered(names: Mapping[int, str], most: int = 8) -> str:
    """Return the first names with their numbers before them, and count the others.

    >>> numbered({1: "dog", 0: "cat"}), numbered({0: "cat", 1: "dog"}, 1)
    ('0 cat, 1 dog', '0 cat and 1 more')
    """
    return listed([f"{number} {names[number]}" for number in sorted(names)], most)
