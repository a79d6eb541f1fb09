"""Records: the values of one metric for one evaluation, by estimator and coverage, as plain data.

A record holds no time and no place, so that a store that was killed and resumed equals one that was not.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.errors import StoreError

ALL = "all"
"""The slice of a value over all rows."""

OPTIONAL = ("gap", "note", "headline", "warnings")
"""What a value of a record may have besides; left out where there is nothing to say."""

_ALWAYS = ("value", "numerator", "denominator", "n", "intervals", "tied", "nonfinite")
_NONFINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode


@dataclass(frozen=True, slots=True)
class RecordKey:
    """What a record is of: a metric by the digest of its spec, an estimator, a slice's name or "all", the rows."""

    metric: str
    estimator: str
    batch_size: int | None
    slice: str
    coverage: tuple[tuple[int, int], ...]


def record_key(payload: Mapping[str, Json], digests: dict[int, str] | None = None) -> RecordKey:
    """Return what a record's payload is of; a `StoreError` where it does not say so.

    `digests` remembers those of metrics' specs by the specs' `id`, for payloads that are all held meanwhile.
    """
    known = {} if digests is None else digests
    try:
        spec = payload["metric"]
        if id(spec) not in known:
            known[id(spec)] = digest(plain(spec))
        rows = tuple((int(start), int(stop)) for start, stop in payload["coverage"])
        estimator = str(payload["estimator"])
        size = None if estimator == "exact" else int(payload["batch_size"])
        return RecordKey(known[id(spec)], estimator, size, payload.get("slice", ALL), rows)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a record without metric, estimator, batch_size or coverage: {error!r}") from None


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: tuples as lists, NumPy scalars as numbers, nonfinite numbers as text.

    >>> plain({"value": float("inf"), "n": (1, 2)})
    {'value': 'inf', 'n': [1, 2]}
    """
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, (str, int, float)) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def number(value: float | str | None) -> float | None:
    """Return a number of a record as a number: undoes `plain`.

    >>> number("-inf"), number(3), number(None)
    (-inf, 3, None)
    """
    return _NONFINITE[value] if isinstance(value, str) else value


def by_slice(payload: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (slice, value) of a record: of all rows, or of each slice that it holds.

    >>> list(by_slice({"slice": "day", "values": [], "slices": {"day=mo": [{"value": 1}], "day=tu": [{"value": 0}]}}))
    [('day=mo', {'value': 1}), ('day=tu', {'value': 0})]
    """
    yield from ((payload["slice"], value) for value in payload["values"])
    for name, values in payload.get("slices", {}).items():
        yield from ((name, value) for value in values)


def line_of(payload: Mapping[str, Json], slice_name: str, value: Mapping[str, Json]) -> str:
    """Return one value as a line of JSON, as `--json` prints it but for the checkpoint."""
    shown = {"data": payload["data"], "slice": slice_name, "metric": value["metric"]}
    shown["estimator"] = payload["estimator"]
    if payload["estimator"] != "exact":
        shown["batch_size"] = payload["batch_size"]
    for key in _ALWAYS:
        shown[key] = value.get(key)
    shown["intervals"] = shown["intervals"] or []
    shown["status"] = payload["status"]
    for key in OPTIONAL:
        if value.get(key) is not None:
            shown[key] = value[key]
    try:
        return _encode(shown)
    except (TypeError, ValueError):  # NumPy's scalars, nonfinite numbers: the few
        return _encode(plain(shown))


def value_of(line: str) -> dict[str, Json]:
    """Return the value of a record that `line_of` made a line of."""
    shown = json.loads(line)
    value = {key: shown[key] for key in ("metric", *_ALWAYS)}
    optional = {key: shown[key] for key in OPTIONAL if key in shown}
    return {**value, "gap": None, "note": None, **optional}
