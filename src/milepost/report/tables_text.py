"""A metric's tables (arrays by name) as lines: vectors of one length side by side, a small matrix as it is."""

from collections.abc import Mapping
from typing import Any

from milepost.report._align import align
from milepost.report._numbers import number

_FIRST = ("lower", "upper", "rows", "support")
_MOST_ROWS = 20
_MOST_SIDE = 12
_PLACES = 4
_PAIRS = 5


def table_lines(arrays: Mapping[str, Any]) -> list[str]:
    r"""Draw arrays by name; a long vector is cut and says so, a large matrix is told by its largest entries.

    >>> import numpy as np
    >>> print("\n".join(table_lines({"rows": np.array([3, 1]), "accuracy": np.array([1.0, np.nan])})))
    #  rows   accuracy
    0     3     1.0000
    1     1  undefined
    """
    arrays = {name: arrays[name] for name in sorted(arrays, key=_place)}
    lines: list[str] = []
    for length in dict.fromkeys(len(array) for array in arrays.values() if array.ndim == 1):
        lines += _side_by_side({k: v for k, v in arrays.items() if v.ndim == 1 and len(v) == length}, length)
    for name, array in arrays.items():
        if array.ndim == 2:  # noqa: PLR2004 - a matrix
            lines += _matrix(name, array)
        elif array.ndim != 1:
            lines.append(f"{name}: {array.dtype} of shape {tuple(array.shape)}")
    return lines


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _side_by_side(vectors: Mapping[str, Any], length: int) -> list[str]:
    shown = min(length, _MOST_ROWS)
    rows = [[str(i), *(_text(vector[i]) for vector in vectors.values())] for i in range(shown)]
    cut = [f"... {length - shown} more rows"] if shown < length else []
    return [*align(["#", *vectors], rows, [True] * (len(vectors) + 1)), *cut]


def _matrix(name: str, matrix: Any) -> list[str]:
    height, width = matrix.shape
    square = " [label, prediction]" if height == width else ""
    head = f"{name}: {height} x {width}{square}"
    if max(height, width) <= _MOST_SIDE:
        rows = [[str(i), *(_text(value) for value in matrix[i])] for i in range(height)]
        heads = ["#", *(str(i) for i in range(width))]
        return [head, *align(heads, rows, [True] * (width + 1))]
    return [head, *_largest(matrix)] if height == width else [head]


def _largest(matrix: Any) -> list[str]:
    """Name the most frequent confusions of a matrix too large to print."""
    rest = matrix.copy()
    side = len(rest)
    rest[range(side), range(side)] = 0
    order = rest.ravel().argsort(kind="stable")[::-1][:_PAIRS]
    found = [(int(place) // side, int(place) % side) for place in order]
    return [f"  label {i} predicted as {j}: {_text(rest[i, j])}" for i, j in found if rest[i, j] > 0]


def _text(value: Any) -> str:
    item = value.item()
    return number(item, _PLACES) if isinstance(item, float) else str(item)
