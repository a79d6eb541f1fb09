"""Records as a pandas DataFrame: one row a value, nothing nested."""

import importlib
from collections.abc import Iterable
from typing import Any

from milepost.errors import MissingExtra
from milepost.report.table import Plain, as_number

_WHOLE = ("step", "batch_size", "n", "tied", "nonfinite")
_COLUMNS = (
    "run", "step", "path", "digest", "variant", "data", "slice", "metric", "estimator", "batch_size", "value",
    "numerator", "denominator", "n", "low", "high", "level", "method", "tied", "nonfinite", "status", "note",
)  # fmt: skip


def frame(records: Iterable[Plain]) -> Any:
    """Return a DataFrame of records; whole numbers that may be missing are of dtype Int64, undefined values NaN.

    Raises MissingExtra where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtra("pandas", "pandas") from error
    made = pandas.DataFrame([flat(record) for record in records], columns=list(_COLUMNS))
    return made.astype(
        {**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(("value", "low", "high", "level"), "float64")}
    )


def flat(record: Plain) -> dict[str, Any]:
    """Return a record with its checkpoint and its first interval spread out.

    >>> record = {"run": "lenet", "checkpoint": {"step": 9, "path": "a.npz"}, "metric": "top1", "value": "inf"}
    >>> found = flat(record)
    >>> found["step"], found["value"], found["low"]
    (9, inf, None)
    """
    span: Plain = next(iter(record.get("intervals") or ()), {})
    spread = {**record, **record["checkpoint"], **{key: span.get(key) for key in ("low", "high", "level", "method")}}
    spread["value"] = as_number(record.get("value"))
    return {name: spread.get(name) for name in _COLUMNS}
