"""A record as one flat row, for tables of other tools: nothing nested, a column for each fact."""

from collections.abc import Mapping
from typing import Any

from milepost.core.escaping import escaped, printable
from milepost.core.types import Json
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.records import number

FIELDS = (
    "run", "step", "path", "digest", "variant", "data", "slice", "metric", "estimator", "batch_size", "value",
    "numerator", "denominator", "n", "low", "high", "level", "method", "effective_n", "groups", "tied", "nonfinite",
    "status", "may_differ", "note", "also", "class", "class_name",
)  # fmt: skip
"""The columns of a flat row, in order."""

_NAMES = frozenset({"run", "path", "variant", "data", "slice", "metric", "class_name"})


def flat_record(record: Mapping[str, Json]) -> dict[str, Any]:
    """Return a record, or the failure of a checkpoint, as a row of `FIELDS`; what it does not say is None.

    The first interval is spread out as low, high, level, method, effective_n and groups, and its note is joined to the
    value's; `also` lists the other names of the same weights, `run:name:variant` each.  `may_differ` is the share of
    the rows that may differ at most (95 %) where a code check lets the value of earlier code stand.  `class` and
    `class_name` are those of a number by class.  A failure has no value: its `status` names the class and its `note`
    holds the message.  Names stand in their printed form, since what reads tables takes no other bytes;
    `escaping.unescaped` makes the exact name again.

    >>> row = flat_record({"checkpoint": {"step": 9, "path": "a.npz"}, "metric": "top1", "value": "inf"})
    >>> row["step"], row["value"], row["low"]
    (9, inf, None)
    >>> flat_record({"event": "failure", "path": "b.npz", "class": "torn", "message": "cut off"})["status"]
    'failed: torn'
    """
    if record.get("event") == "failure":
        spread = {**record, "status": f"failed: {record['class']}", "note": record["message"]}
    else:
        span: Mapping[str, Json] = next(iter(record.get("intervals") or ()), {})
        spread = {
            **record,
            **record["checkpoint"],
            **{key: span.get(key) for key in ("low", "high", "level", "method", "effective_n", "groups")},
        }
        spread["value"] = number(record.get("value"))
        checked = record.get("code_check")
        spread["may_differ"] = None if checked is None else CodeEquivalence.of(checked).share
        also = (f"{o['run']}:{escaped(o['name'])}:{o['variant']}" for o in record.get("also") or ())
        spread["also"] = ", ".join(also) or None
        spread["note"] = "; ".join(filter(None, (record.get("note"), span.get("note")))) or None
    return {name: _printed(name, spread.get(name)) for name in FIELDS}


def _printed(column: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return escaped(value) if column in _NAMES else printable(value)
