"""Parquet: one row a value, for pandas, Polars, DuckDB and Arrow; floats keep every bit."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from milepost._internal.targets import file_target
from milepost.core.types import Json
from milepost.errors import MissingExtra, UsageError
from milepost.scoring.flat_record import FIELDS, flat_record

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "parquet") from error

_WHOLE = frozenset({"step", "batch_size", "n", "groups", "tied", "nonfinite"})
_REAL = frozenset({"value", "numerator", "denominator", "low", "high", "level", "effective_n", "may_differ"})


class ParquetExport:
    """Writes records as a Parquet file with the columns of the CSV export; null is a value that is not there."""

    name: ClassVar[str] = "parquet"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write every record to a path; raise UsageError for standard output, and where it cannot be written."""
        if target == "-":
            raise UsageError("parquet: expected a file to write, such as: milepost export parquet results.parquet")
        if target.lower().endswith((".csv", ".json", ".jsonl")):
            raise UsageError(f"{target}: its name says another kind; name a file that ends in .parquet")
        rows = [flat_record(record) for record in records]
        kinds = {name: _kind(name) for name in FIELDS}
        columns = {name: pa.array([row[name] for row in rows], kinds[name]) for name in FIELDS}
        with file_target(target) as path:
            pq.write_table(pa.table(columns), path, compression="zstd")


def _kind(name: str) -> Any:
    return pa.int64() if name in _WHOLE else pa.float64() if name in _REAL else pa.string()
