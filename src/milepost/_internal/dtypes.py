"""Kinds of numbers, those of ml_dtypes among them, which NumPy does not count as floating."""

from typing import Any

import numpy as np


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is of floating numbers, bfloat16 and the float8 kinds included.

    >>> is_float(np.dtype("float16")), is_float(np.dtype("int16"))
    (True, False)
    """
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))
