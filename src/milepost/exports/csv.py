"""Comma-separated values: one row a value, a header line, floats that read back to the same bits."""

import csv
from collections.abc import Iterable, Mapping
from typing import ClassVar

from milepost._internal.targets import text_target
from milepost.core.types import Json
from milepost.scoring.flat_record import FIELDS, flat_record


class CsvExport:
    """Writes records as RFC 4180 text with lines that end in a line feed; an empty cell is a value that is not there.

    >>> CsvExport().write([{"run": "lenet", "checkpoint": {"step": 9}, "metric": "top1", "value": 0.5}], "-")
    run,step,path,digest,variant,data,slice,metric,estimator,batch_size,value,...
    lenet,9,,,,,,top1,,,0.5,...
    """

    name: ClassVar[str] = "csv"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write every record to a path, or to standard output for "-"."""
        with text_target(target) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(FIELDS)
            for record in records:
                # `repr` keeps every bit of a float.
                writer.writerow([repr(v) if isinstance(v, float) else v for v in flat_record(record).values()])
