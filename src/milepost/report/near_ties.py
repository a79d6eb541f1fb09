"""Rows whose two highest scores lie so near to each other that rounding could turn them over."""

import numpy as np

from milepost.report._model_check import NearTies
from milepost.scoring.columns import CHUNK
from milepost.store.columns import ColumnsReader


def near_ties(columns: ColumnsReader) -> NearTies | None:
    """Count the near ties of what is covered; None where a column is not kept, or no check measured the rounding."""
    checks = [item.get("model_check") or {} for item in columns.environments()]
    if not {"margin", "scale"} <= set(columns.names) or not all("relative" in check for check in checks):
        return None
    relative = max((float(check["relative"]) for check in checks), default=0.0)
    near = rows = 0
    for start, stop in columns.coverage:
        rows += stop - start
        for low in range(start, stop, CHUNK):
            margins, scales = (columns.slice(name, low, min(low + CHUNK, stop)) for name in ("margin", "scale"))
            near += int(np.count_nonzero(margins < 2.0 * relative * scales.astype(np.float64)))
    return NearTies(near, rows, relative, max(int(check["measured"]) for check in checks))
