"""A subset of a model's outputs, taken as if there were no others; labels and predictions keep the model's numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from milepost._internal.text import listed
from milepost.core.types import Array
from milepost.errors import DataError

_LEAST = 2


def checked_among(given: object) -> tuple[int, ...]:
    """Return the outputs' numbers in ascending order; DataError for fewer than two, and for what are none.

    >>> checked_among(np.array([6, 2, 11]))
    (2, 6, 11)
    """
    numbers = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    odd = next((item for item in numbers if isinstance(item, bool) or not isinstance(item, int | np.integer)), None)
    found = sorted({int(item) for item in numbers}) if odd is None else []
    if len(found) < _LEAST or len(found) < len(numbers) or found[0] < 0:
        raise DataError(
            f"Classification(among={given!r}): expected two or more numbers of outputs, each once, from 0 on, such as "
            "[6, 11, 13]"
        )
    return tuple(found)


def narrowed(xp: Any, scores: Any, labels: Array, among: Sequence[int]) -> tuple[Any, Array]:
    """Return the scores of these outputs, and the labels' places among them; DataError for a label that is none."""
    chosen, (rows, classes) = np.array(among, np.int64), scores.shape
    if chosen[-1] >= classes:
        raise DataError(
            f"Classification(among=...) names the output {chosen[-1]}, but the model has {classes} (0 to {classes - 1})"
        )
    places = np.minimum(np.searchsorted(chosen, labels), len(chosen) - 1)
    outside = np.flatnonzero(chosen[places] != labels)
    if outside.size:
        raise DataError(
            f"label {labels[outside[0]]} is not among the {len(chosen)} outputs of Classification(among=...), "
            f"{listed(list(map(str, among)))}; {outside.size} of {rows} labels of this batch are not: labels have the "
            f"model's numbers; if the data numbers its classes 0 to {len(chosen) - 1} as `among` lists them, give it "
            "label_map=dict(enumerate(among))"
        )
    if isinstance(scores, np.ndarray):
        return np.take(scores, chosen, axis=1), places
    return xp.take(scores, xp.asarray(chosen, device=array_api_compat.device(scores)), axis=1), places
