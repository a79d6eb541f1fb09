"""Tables of results as pandas' DataFrames: the one file that imports pandas."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from milepost.errors import MissingExtra
from milepost.report._printed import printed
from milepost.report.table import Plain, Results
from milepost.report.table_columns import TEXT, WHOLE, column, names_of
from milepost.scoring.flat_record import FIELDS, flat_record

_LONG = dict.fromkeys(("step", "batch_size", "n", "groups", "tied", "nonfinite"), "Int64")
_LONG |= dict.fromkeys(("value", "low", "high", "level", "may_differ", "effective_n"), "float64")


def wide(results: Results) -> Any:
    """Return a DataFrame with a row a checkpoint and data set, and a column a metric; undefined values are NaN.

    Whole numbers are Int64.  Raises MissingExtra where pandas is not installed.
    """
    dtypes = {name: "Int64" if name in WHOLE else "float64" for name in names_of(results) if name not in TEXT}
    return _frame({name: column(results, name) for name in names_of(results)}, dtypes)


def long(records: Iterable[Plain]) -> Any:
    """Return a DataFrame with a row a value, and a column for each fact of it; see `flat_record`."""
    rows = [flat_record(record) for record in records]
    return _frame({name: [row[name] for row in rows] for name in FIELDS}, _LONG)


def by_class(rows: Sequence[Plain]) -> Any:
    """Return a DataFrame with a row a checkpoint and class."""
    shown = list(map(printed, rows))
    names = list(dict.fromkeys(name for row in shown for name in row))
    return _frame({name: [row.get(name) for row in shown] for name in names}, {"step": "Int64"} if rows else {})


def _frame(columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtra("pandas", "pandas") from error
    return pandas.DataFrame({name: pandas.Series(values, dtype=dtypes.get(name)) for name, values in columns.items()})
