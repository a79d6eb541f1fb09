"""OpenMetrics: text that Prometheus' node exporter and others read from a file; one sample a value.

The format: OpenMetrics 1.0 (https://github.com/prometheus/OpenMetrics).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from milepost._internal.targets import text_target
from milepost.core.types import Json
from milepost.scoring.flat_record import flat_record

_LABELS = ("run", "step", "path", "variant", "data", "slice", "metric", "estimator", "batch_size", "status")
_FAMILIES = {
    "milepost_value": "A metric's value on a data set; NaN where it is undefined.",
    "milepost_interval_low": "The lower bound of the value's 95 % interval.",
    "milepost_interval_high": "The upper bound of the value's 95 % interval.",
    "milepost_rows": "The rows behind the value.",
    "milepost_failed": "1 for a checkpoint that failed.",
}


class OpenMetricsExport:
    """Writes every value as a sample of `milepost_value`, with its interval, its rows, and failures as families beside.

    >>> OpenMetricsExport().write([{"run": "a", "checkpoint": {"step": 9}, "metric": "top1", "value": 0.5}], "-")
    # HELP milepost_value A metric's value on a data set; NaN where it is undefined.
    # TYPE milepost_value gauge
    milepost_value{run="a",step="9",metric="top1"} 0.5
    # EOF
    """

    name: ClassVar[str] = "openmetrics"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write every record to a path, or to standard output for "-"."""
        text, _ = openmetrics(records)
        with text_target(target) as stream:
            stream.write(text)


def openmetrics(records: Iterable[Mapping[str, Json]]) -> tuple[str, str]:
    """Return records as text, and its media type."""
    samples: dict[str, list[str]] = {family: [] for family in _FAMILIES}
    for record in records:
        for family, line in _samples(record):
            samples[family].append(f"{family}{line}\n")
    heads = {family: f"# HELP {family} {about}\n# TYPE {family} gauge\n" for family, about in _FAMILIES.items()}
    held = "".join(heads[family] + "".join(lines) for family, lines in samples.items() if lines)
    return held + "# EOF\n", "application/openmetrics-text; version=1.0.0; charset=utf-8"


def _samples(record: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    row = flat_record(record)
    labels = _labels(row)
    if record.get("event") == "failure":
        yield "milepost_failed", f"{labels} 1"
        return
    yield "milepost_value", f"{labels} {_number(row['value'])}"
    held = (("milepost_interval_low", "low"), ("milepost_interval_high", "high"), ("milepost_rows", "n"))
    yield from ((family, f"{labels} {_number(row[name])}") for family, name in held if row[name] is not None)


def _labels(row: Mapping[str, Any]) -> str:
    shown = (f'{name}="{_escaped(str(row[name]))}"' for name in _LABELS if row[name] is not None)
    return f"{{{','.join(shown)}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


def _number(value: Any) -> str:
    if value is None or math.isnan(value):
        return "NaN"
    return f"{'+' if value > 0 else '-'}Inf" if math.isinf(value) else repr(value)
