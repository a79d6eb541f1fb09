"""What the model was given, and how it did on slices of it: what `show` says of the data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.report._align import align
from milepost.report._numbers import count, decimals, interval, is_share, number, span_of
from milepost.report.table import Plain, rank
from milepost.store.records import number as as_number

_MOST = 40


def inputs_lines(data: Plain, environments: Sequence[Plain]) -> list[tuple[str, str]]:
    """Return labels and texts: the declared preset, and shape and range of the first batch and of its scores.

    >>> first = {"": {"dtype": "uint8", "shape": [28, 28], "rows": 256, "least": 0, "largest": 255, "mean": 33.3184}}
    >>> inputs_lines({}, [{"inputs": first}])
    [('first batch', 'uint8 [28, 28], 256 rows, from 0 to 255, mean 33.32')]
    >>> inputs_lines({}, [{"outputs": {"shape": [10], "rows": 9, "least": 0, "largest": 0.5, "sums": [1, 1]}}])
    [('its scores', '[10], 9 finite rows, from 0 to 0.5, rows sum to 1 to 1')]
    """
    lines = []
    if preset := (data.get("fingerprint") or {}).get("preset") or (data.get("described") or {}).get("preset"):
        lines.append(("preset", _preset(preset)))
    inputs: Mapping[str, Any] = next((item["inputs"] for item in environments if item.get("inputs")), {})
    for place, (name, first) in enumerate(sorted(inputs.items())):
        lines.append(("first batch" if place == 0 else "", (f"{name}: " if name else "") + _batch(first)))
    outputs = next((item["outputs"] for item in environments if item.get("outputs")), None)
    return lines if outputs is None else [*lines, ("its scores", _scores(outputs))]


def _preset(preset: Plain) -> str:
    rest = [f"{key} {_text(item)}" for key, item in preset.items() if key not in ("name", "version") and item]
    return ", ".join([str(preset.get("name") or "own"), *rest])


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_text(item) for item in value) + ")"
    return f"{value:g}" if isinstance(value, float) else "yes" if value is True else str(value)


def _batch(first: Mapping[str, Any]) -> str:
    if "dtype" not in first:
        return f"objects of type {first.get('type')}"
    texts = [f"{first['dtype']} {first['shape']}", f"{count(first['rows'])} rows"]
    if "least" in first:
        texts.append(f"from {first['least']:.4g} to {first['largest']:.4g}, mean {first['mean']:.4g}")
    if first.get("nonfinite"):
        texts.append(f"{count(first['nonfinite'])} numbers that are not finite")
    return ", ".join(texts)


def _scores(outputs: Mapping[str, Any]) -> str:
    texts = [f"{list(outputs['shape'])}, {count(outputs['rows'])} finite rows"]
    if "least" in outputs:
        texts.append(f"from {outputs['least']:.4g} to {outputs['largest']:.4g}")
    if "sums" in outputs:
        texts.append("rows sum to {:.4g} to {:.4g}".format(*outputs["sums"]))
    return ", ".join(texts)


def slice_lines(records: Sequence[Plain]) -> list[str]:
    """Return a table of one data set's slices: rows, and the exact value of each metric with its interval.

    Of more than 40 slices the first 40; `ls --slice` shows all.

    >>> slice_lines([{"slice": "site=1", "metric": "top1", "estimator": "exact", "value": 0.25, "n": 8}])
    ['slice   n  top1', 'site=1  8  0.2500']
    """
    exact = [item for item in records if item["estimator"] == "exact" and item.get("headline") is not False]
    ranked = sorted(exact, key=lambda item: rank(item["metric"], share=is_share(item)))
    names = dict.fromkeys(item["metric"] for item in ranked)
    rows = defaultdict[str, dict[str, Plain]](dict)
    for item in exact:
        rows[item["slice"]][item["metric"]] = item
    cells = [
        [name, count(max(int(item["n"]) for item in held.values())), *(_cell(held.get(metric)) for metric in names)]
        for name, held in list(rows.items())[:_MOST]
    ]
    lines = align(["slice", "n", *names], cells, [False, True, *(False for _ in names)]) if rows else []
    more = [f"and {len(rows) - _MOST} more: `milepost ls --slice NAME`"] if len(rows) > _MOST else []
    return lines + more


def _cell(record: Plain | None) -> str:
    if record is None:
        return "-"
    places = max(decimals(record.get("n")), 4)
    return f"{number(as_number(record['value']), places)} {interval(*span_of(record), places)}".rstrip()
