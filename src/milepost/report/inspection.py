"""What a checkpoint holds, as text: its tensors, the numbers and settings in it and beside it."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from milepost._internal.text import elided
from milepost.report._align import align
from milepost.report._numbers import count, size
from milepost.report._printed import printed

_ROLES = ("weights", "optimizer", "bookkeeping")
_HEADS = ("name", "role", "dtype", "shape", "bytes")
_SHOWN = 20
"""Numbers and settings of one file that are listed; `--json` has all."""
_LEAST = 16
"""Columns that a name keeps, however narrow the terminal is."""


def totals(tensors: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Sum tensors, elements and bytes by role.

    >>> totals([{"role": "weights", "shape": [2, 3], "bytes": 24}])
    {'weights': {'tensors': 1, 'elements': 6, 'bytes': 24}}
    """
    found: dict[str, dict[str, int]] = {role: {"tensors": 0, "elements": 0, "bytes": 0} for role in _ROLES}
    for tensor in tensors:
        sums = found.setdefault(str(tensor["role"]), {"tensors": 0, "elements": 0, "bytes": 0})
        sums["tensors"] += 1
        sums["elements"] += math.prod(tensor["shape"])
        sums["bytes"] += tensor["bytes"]
    return {role: sums for role, sums in found.items() if sums["tensors"]}


def described(held: Mapping[str, Any], width: int | None = None) -> list[str]:
    """Return the lines of text for what `milepost inspect --json` prints, in a terminal of so many columns.

    Without a width nothing is shortened.  Paths are never broken.
    """
    held = printed(held)
    step = "unknown" if held.get("step") is None else str(held["step"])
    source = f" (from {held['step_source']})" if held.get("step_source") else ""
    lines = [f"path    {held['path']}", f"format  {held.get('format')}", f"step    {step}{source}"]
    lines += [*_adapter(held, width), *_facts("in the file", held.get("facts") or {}, width)]
    for name, facts in (held.get("files_beside") or {}).items():
        lines += _facts(name, facts, width)
    lines += ["", *_tensors(held["tensors"], width), ""]
    for role, sums in totals(held["tensors"]).items():
        lines.append(f"{role}: {sums['tensors']} tensors, {count(sums['elements'])} elements, {size(sums['bytes'])}")
    notes = [f"names a class that was not imported: {name}" for name in held.get("foreign") or ()]
    notes += [f"note: {note}" for note in held.get("notes") or ()]
    return lines + [line for note in notes for line in _wrapped(note, width)]


def _tensors(tensors: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """Return the table of tensors; in a narrow terminal names lose their middle."""
    rows = [
        [
            f"{item['group']}: {item['name']}" if item.get("group") else str(item["name"]),
            item["role"],
            item["dtype"],
            " x ".join(map(str, item["shape"])) or "scalar",
            count(item["bytes"]),
        ]
        for item in tensors
    ]
    if not rows:
        return ["no tensors"]
    if width is not None:
        others = sum(2 + max(map(len, column)) for column in list(zip(_HEADS, *rows, strict=True))[1:])
        for row in rows:
            row[0] = elided(row[0], max(_LEAST, width - others))
    return align(_HEADS, rows)


def _adapter(held: Mapping[str, Any], width: int | None) -> list[str]:
    adapter = held.get("adapter")
    if not adapter:
        return []
    base = f"the base model {adapter['base']}" if adapter.get("base") else "a base that is not named"
    settings = {key: adapter["config"].get(key) for key in ("r", "lora_alpha", "target_modules", "task_type")}
    found = ", ".join(f"{key} {_text(value)}" for key, value in settings.items() if value not in (None, []))
    return _wrapped(f"adapter {adapter['kind']}, of {base}{f' ({found})' if found else ''}", width, 8)


def _facts(title: str, facts: Mapping[str, Any], width: int | None) -> list[str]:
    """Return a section of names and values, one a line."""
    if not facts:
        return []
    shown = list(facts.items())[:_SHOWN]
    longest = max(len(name) for name, _ in shown)
    longest = longest if width is None else min(longest, max(_LEAST, width // 2))
    lines = [f"  {elided(name, longest).ljust(longest)}  {_text(value)}" for name, value in shown]
    more = [f"  and {len(facts) - len(shown)} more: --json has all"] if len(facts) > len(shown) else []
    return ["", f"{title}:", *(line if width is None else elided(line, width) for line in lines), *more]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


def _wrapped(text: str, width: int | None, hanging: int = 2) -> list[str]:
    if width is None:
        return [text]
    indent = " " * hanging
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
