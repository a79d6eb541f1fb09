"""The table of results by column: what a plot or a data frame takes."""

import numpy as np

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report.table import Results, Row

TEXT = ("run", "name", "variant", "data", "slice", "status")
WHOLE = ("step", "n")
_DESCRIBED = ("run", "step", "name", "variant", "data", "slice", "n", "status")


def names_of(results: Results) -> list[str]:
    """Return the names of all columns: what describes a row, then the metrics."""
    return [*_DESCRIBED, *results.metrics]


def column(results: Results, name: str) -> Array:
    """Return one column, an entry a row of the table: text, or numbers (float64, NaN where there is none).

    `step` and `n` are int64 where each row has one.  Raises UsageError for a name that is no column.

    >>> row = Row("lenet", 9, ("last",), "d1", "raw", "test", "all", 10, "ok")
    >>> column(Results((), (row,)), "step"), column(Results((), (row,)), "name")
    (array([9]), array(['last'], dtype=object))
    """
    if name in TEXT:
        return np.array([_text(row, name) for row in results.rows], dtype=object)
    if name in WHOLE:
        whole = [getattr(row, name) for row in results.rows]
        kind = np.float64 if None in whole else np.int64
        return np.array([np.nan if number is None else number for number in whole], dtype=kind)
    if name not in results.metrics:
        raise UsageError(f"no column {name!r}; there are: {', '.join(names_of(results))}")
    cells = (row.cells.get(name) for row in results.rows)
    return np.array([np.nan if cell is None or cell.value is None else cell.value for cell in cells], np.float64)


def _text(row: Row, name: str) -> str:
    return next(iter(row.names), "") if name == "name" else str(getattr(row, name))
