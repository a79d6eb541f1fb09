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
from milepost.cli._arguments import add_json
from milepost.cli._output import json_lines
from milepost.core.types import Inspection
from milepost.errors import printable
from milepost.report._align import align
from milepost.report._numbers import count, size
from milepost.sandbox.confine import lacking

_TENSOR = ("group", "name", "role", "dtype", "shape")
_ROLES = ("weights", "optimizer", "bookkeeping")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", metavar="PATH", help="a checkpoint: file, folder or prefix")
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the table of tensors."""
    # The help needs no reader.
    from milepost.checkpoints._files.shards import from_prefix, shards_of  # noqa: PLC0415
    from milepost.engines.local import inspect  # noqa: PLC0415

    path = from_prefix(args.path)
    inspection, measures = inspect(path, shards_of(path))
    if warning := lacking(measures):
        sys.stderr.write(f"{warning}\n")
    held = plain(inspection)
    if args.json:
        with json_lines() as out:
            out.write({"event": "inspect", **held, "totals": totals(held["tensors"])})
        return 0
    sys.stdout.write("\n".join(printable(line) for line in described(held)) + "\n")
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
    found: dict[str, dict[str, int]] = {}
    for role in dict.fromkeys([*_ROLES, *(str(tensor["role"]) for tensor in tensors)]):
        chosen = [tensor for tensor in tensors if tensor["role"] == role]
        if chosen:
            found[role] = {
                "tensors": len(chosen),
                "elements": sum(math.prod(tensor["shape"]) for tensor in chosen),
                "bytes": sum(tensor["bytes"] for tensor in chosen),
            }
    return found


def described(held: Mapping[str, Any]) -> list[str]:
    """Return the lines that describe a checkpoint."""
    step = "unknown" if held.get("step") is None else str(held["step"])
    source = f" (from {held['step_source']})" if held.get("step_source") else ""
    lines = [f"path    {held['path']}", f"format  {held.get('format')}", f"step    {step}{source}", ""]
    tensors = held["tensors"]
    heads = ("name", "role", "dtype", "shape", "bytes")
    rows = [[_full_name(t), t["role"], t["dtype"], _shape(t["shape"]), count(t["bytes"])] for t in tensors]
    lines += align(heads, rows, (False, False, False, False, True)) if rows else ["no tensors"]
    lines.append("")
    for role, sums in totals(tensors).items():
        lines.append(f"{role}: {sums['tensors']} tensors, {count(sums['elements'])} elements, {size(sums['bytes'])}")
    lines += [f"names a class that was not imported: {name}" for name in held.get("foreign") or ()]
    lines += [f"note: {note}" for note in held.get("notes") or ()]
    return lines


def _full_name(tensor: Mapping[str, Any]) -> str:
    return f"{tensor['group']}: {tensor['name']}" if tensor.get("group") else str(tensor["name"])


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape) if shape else "scalar"
