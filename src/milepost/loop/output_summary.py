"""What the model gave: shape, range and sums of the first batch's scores, so that a wrong declaration shows.

Softmax outputs declared as logits give a plausible loss and no error; rows that all sum to 1 show it.
"""

import numpy as np

from milepost.core.types import Array, Json


def output_summary(scores: Array) -> dict[str, Json]:
    """Describe a batch of scores [rows, ...]: shape of a row, least and largest number, least and largest sum of a row.

    Numbers are those of the rows in which all are finite, `rows` is their count; sums are of scores [rows, classes].

    >>> output_summary(np.array([[0.25, 0.75], [1.0, 0.0], [np.nan, 1.0]]))
    {'shape': [2], 'rows': 2, 'least': 0.0, 'largest': 1.0, 'sums': [1.0, 1.0]}
    """
    fine = scores[np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)]
    found: dict[str, Json] = {"shape": list(scores.shape[1:]), "rows": len(fine)}
    if fine.size:
        found |= {"least": float(fine.min()), "largest": float(fine.max())}
    if fine.size and fine.ndim == 2:  # noqa: PLR2004 - rows and classes
        with np.errstate(over="ignore"):
            sums = fine.sum(axis=1)
        if np.isfinite(sums).all():  # JSON has no infinity
            found["sums"] = [float(sums.min()), float(sums.max())]
    return found
