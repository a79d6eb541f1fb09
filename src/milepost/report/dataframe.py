"""Records as a pandas DataFrame: one row a value, nothing nested."""

import importlib
from collections.abc import Iterable
from typing import Any

from milepost.errors import MissingExtra
from milepost.report.table import Plain
from milepost.scoring.flat_record import FIELDS, flat_record

_WHOLE = ("step", "batch_size", "n", "tied", "nonfinite")


def frame(records: Iterable[Plain]) -> Any:
    """Return a DataFrame of records; whole numbers that may be missing are of dtype Int64, undefined values NaN.

    Raises MissingExtra where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtra("pandas", "pandas") from error
    made = pandas.DataFrame([flat_record(record) for record in records], columns=list(FIELDS))
    return made.astype(
        {**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(("value", "low", "high", "level"), "float64")}
    )
