"""A metric's tables (arrays by name) as lines: vectors of one length side by side, a small matrix as it is.

Tables with a `support` have a row a class, which is called by its name where it has one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from milepost.core.types import Array
from milepost.report._align import align
from milepost.report._numbers import number

_FIRST = ("lower", "upper", "rows", "support")
_MOST_ROWS = 20
_MOST_SIDE = 12
_PLACES = 4
_PAIRS = 5


def table_lines(arrays: Mapping[str, Array], class_names: Mapping[int, str] | None = None) -> list[str]:
    r"""Draw arrays by name; a long vector is cut and says so, of a large matrix the largest entries are shown.

    >>> import numpy as np
    >>> print("\n".join(table_lines({"rows": np.array([3, 1]), "accuracy": np.array([1.0, np.nan])})))
    #  rows   accuracy
    0     3     1.0000
    1     1  undefined
    >>> print("\n".join(table_lines({"support": np.array([3, 1])}, {0: "ant", 1: "bee"})))
    #  class  support
    0  ant          3
    1  bee          1
    """
    names = class_names if class_names and "support" in arrays else {}
    arrays = {name: arrays[name] for name in sorted(arrays, key=_place)}
    lines: list[str] = []
    for length in dict.fromkeys(len(array) for array in arrays.values() if array.ndim == 1):
        lines += _side_by_side({k: v for k, v in arrays.items() if v.ndim == 1 and len(v) == length}, length, names)
    for name, array in arrays.items():
        if array.ndim == 2:  # noqa: PLR2004 - a matrix
            lines += _matrix(name, array, names)
        elif array.ndim != 1:
            lines.append(f"{name}: {array.dtype} of shape {tuple(array.shape)}")
    return lines


def vectors_table(
    arrays: Mapping[str, Array], class_names: Mapping[int, str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of text of the vectors of a table that have its most usual length, numbered; or nothing.

    >>> import numpy as np
    >>> vectors_table({"support": np.array([3, 1])}, {0: "ant"})
    (['#', 'class', 'support'], [['0', 'ant', '3'], ['1', '-', '1']])
    """
    vectors = {name: arrays[name] for name in sorted(arrays, key=_place) if arrays[name].ndim == 1}
    lengths = Counter(len(vector) for vector in vectors.values())
    if not lengths:
        return [], []
    length = max(lengths, key=lambda one: lengths[one])
    vectors = {name: vector for name, vector in vectors.items() if len(vector) == length}
    names = class_names if class_names and "support" in vectors else {}
    rows = [
        [
            str(place),
            *([names.get(place, "-")] if names else []),
            *(_text(vector[place]) for vector in vectors.values()),
        ]
        for place in range(length)
    ]
    return ["#", *(["class"] if names else []), *vectors], rows


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _side_by_side(vectors: Mapping[str, Array], length: int, names: Mapping[int, str]) -> list[str]:
    shown = min(length, _MOST_ROWS)
    cut = [f"... {length - shown} more rows"] if shown < length else []
    rows = zip(*(vector[:shown] for vector in vectors.values()), strict=True)
    return [*_numbered(vectors, rows, names), *cut]


def _matrix(name: str, matrix: Array, names: Mapping[int, str]) -> list[str]:
    height, width = matrix.shape
    head = f"{name}: {height} x {width}{' [label, prediction]' if height == width else ''}"
    if max(height, width) <= _MOST_SIDE:
        return [head, *_numbered(map(str, range(width)), matrix, names)]
    return [head, *_largest(matrix, names)] if height == width else [head]


def _numbered(heads: Iterable[str], rows: Iterable[Iterable[Any]], names: Mapping[int, str]) -> list[str]:
    """Align rows behind their numbers, and the names of these where there are any."""
    cells = [
        [str(place), *([names.get(place, "-")] if names else []), *map(_text, row)] for place, row in enumerate(rows)
    ]
    heads = ["#", *(["class"] if names else []), *heads]
    return align(heads, cells, [head != "class" for head in heads])


def _largest(matrix: Array, names: Mapping[int, str]) -> list[str]:
    """Name the most frequent confusions of a matrix too large to print."""
    rest, side = matrix.copy(), len(matrix)
    rest[range(side), range(side)] = 0
    order = rest.ravel().argsort(kind="stable")[::-1][:_PAIRS]
    pairs = (divmod(int(place), side) for place in order)
    called = {place: f"{place} ({names[place]})" if place in names else str(place) for place in range(side)}
    return [f"  label {called[i]} predicted as {called[j]}: {_text(rest[i, j])}" for i, j in pairs if rest[i, j] > 0]


def _text(value: Any) -> str:
    item = value.item()
    return number(item, _PLACES) if isinstance(item, float) else str(item)
