"""Show what a checkpoint file holds: format, step, tensors with role, dtype, shape and bytes.

Nothing of the file is executed or imported: a process that confined itself reads it.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from milepost.checkpoints.names import step_of_name
from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.core.types import Inspection
from milepost.report._align import align
from milepost.report._numbers import count, size
from milepost.sandbox.confine import lacking

_TENSOR = ("group", "name", "role", "dtype", "shape")
_ROLES = ("weights", "optimizer", "bookkeeping")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a checkpoint: file, folder or prefix")
    add_shared(parser, "json")


def execute(args: argparse.Namespace) -> int:
    # The help needs no reader.
    from milepost.checkpoints._files.shards import from_prefix, shards_of  # noqa: PLC0415
    from milepost.engines.local import inspect  # noqa: PLC0415

    path = from_prefix(args.path)
    inspection, measures = inspect(path, shards_of(path))
    if warning := lacking(measures):
        sys.stderr.write(f"{warning}\n")
    held = plain(inspection)
    line = {"event": "inspect", **held, "totals": totals(held["tensors"])}
    answer([line], described(held), as_json=args.json)
    return 0


def plain(inspection: Inspection) -> dict[str, Any]:
    """Return what a checkpoint holds as plain data: format, step and its source, tensors."""
    path, table = inspection.files.path, inspection.table
    step, source = table.step, table.step_source
    if step is None and (step := step_of_name(path)) is not None:
        source = "name"
    named = attrgetter(*_TENSOR)
    tensors = [
        dict(zip(_TENSOR, named(item), strict=True)) | {"bytes": item.where.nbytes, "encoding": item.where.encoding}
        for item in table.tensors
    ]
    return {
        "path": path,
        "state": inspection.files.state,
        "format": table.format,
        "step": step,
        "step_source": source,
        "tensors": tensors,
        "foreign": list(table.foreign),
        "notes": list(table.notes),
    }


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


def described(held: Mapping[str, Any]) -> list[str]:
    """Return the lines of text for what `plain` returns."""
    step = "unknown" if held.get("step") is None else str(held["step"])
    source = f" (from {held['step_source']})" if held.get("step_source") else ""
    lines = [f"path    {held['path']}", f"format  {held.get('format')}", f"step    {step}{source}", ""]
    rows = [
        [
            f"{item['group']}: {item['name']}" if item.get("group") else str(item["name"]),
            item["role"],
            item["dtype"],
            " x ".join(map(str, item["shape"])) or "scalar",
            count(item["bytes"]),
        ]
        for item in held["tensors"]
    ]
    lines += align(("name", "role", "dtype", "shape", "bytes"), rows) if rows else ["no tensors"]
    lines.append("")
    for role, sums in totals(held["tensors"]).items():
        lines.append(f"{role}: {sums['tensors']} tensors, {count(sums['elements'])} elements, {size(sums['bytes'])}")
    lines += [f"names a class that was not imported: {name}" for name in held.get("foreign") or ()]
    lines += [f"note: {note}" for note in held.get("notes") or ()]
    return lines
