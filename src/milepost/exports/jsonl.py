"""JSON lines: one record a line, as `milepost ls --json` prints it."""

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

from milepost._internal.targets import text_target
from milepost.core.types import Json


class JsonLinesExport:
    """Writes records as lines of JSON, nested as they are; infinite values are the texts "inf" and "-inf".

    >>> JsonLinesExport().write([{"event": "record", "metric": "top1", "value": 0.5}], "-")
    {"event": "record", "metric": "top1", "value": 0.5}
    """

    name: ClassVar[str] = "jsonl"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write every record to a path, or to standard output for "-"."""
        with text_target(target) as stream:
            for record in records:
                stream.write(json.dumps(dict(record), allow_nan=False) + "\n")
