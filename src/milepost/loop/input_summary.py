"""What the model was given: dtype, shape and range of the first batch, so that wrong preprocessing shows.

Pixels of 0 to 255 where training had 0 to 1 give a plausible number and no error; their range shows it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from milepost._internal.dtypes import is_float
from milepost.core.types import Json


def summary_of(inputs: Any) -> dict[str, Json]:
    """Describe a batch of inputs by name ("" for a single array): dtype, shape of a row, least and largest number.

    Numbers are over the whole batch, those that are not finite aside; text has no range.

    >>> summary_of(np.array([[0, 255]], np.uint8))
    {'': {'dtype': 'uint8', 'shape': [2], 'rows': 1, 'least': 0.0, 'largest': 255.0, 'mean': 127.5}}
    """
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    return {str(name): _described(item) for name, item in named.items()}


def _described(item: Any) -> dict[str, Json]:
    if not isinstance(item, np.ndarray):
        return {"type": type(item).__name__}
    found: dict[str, Json] = {"dtype": item.dtype.name, "shape": list(item.shape[1:]), "rows": len(item)}
    if item.dtype.kind in "OSUV" and not is_float(item.dtype):
        return found
    numbers = item.astype(np.float64) if item.dtype.kind != "c" else np.abs(item)
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        found |= {"least": float(finite.min()), "largest": float(finite.max()), "mean": float(finite.mean())}
    if finite.size < numbers.size:
        found["nonfinite"] = numbers.size - finite.size
    return found
