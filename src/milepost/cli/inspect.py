"""Show what a checkpoint file holds: format, step, tensors with role, dtype, shape and bytes, numbers and settings.

Numbers and settings are those in the file (epoch, best_prec1, hyper_parameters), and those in files beside it:
config.json and trainer_state.json of Hugging Face, hparams.yaml of Lightning, args.yaml of timm.

Without a file or folder at PATH, a checkpoint of the store is meant, named as for `show`.

Nothing of the file is executed or imported: a process that confined itself reads it.
"""

import argparse
import os
import shutil
import sys
from operator import attrgetter
from typing import Any

from milepost._internal.serialization import to_plain
from milepost.checkpoints._files.beside import settled_step
from milepost.cli._arguments import add_shared, path_of
from milepost.cli._output import answer
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import one_line
from milepost.core.types import Inspection
from milepost.errors import UsageError
from milepost.report.addresses import find
from milepost.report.inspection import described, totals
from milepost.report.table import base_name, each
from milepost.sandbox.confine import lacking

_TENSOR = ("group", "name", "role", "dtype", "shape")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        type=path_of,
        help="a checkpoint: file, folder or prefix, or what `ls` shows of one in the store",
    )
    add_shared(parser, "store", "json")


def execute(args: argparse.Namespace) -> int:
    from milepost.checkpoints._files.own import read_beside  # noqa: PLC0415 - the help needs no reader
    from milepost.checkpoints._files.shards import from_prefix, shards_of  # noqa: PLC0415 - the help needs no reader
    from milepost.checkpoints._files.side_files import side_files_of  # noqa: PLC0415 - the help needs no reader
    from milepost.engines.local import inspect  # noqa: PLC0415 - the help needs no reader

    path = from_prefix(args.path)
    if not os.path.lexists(path):  # said here: the confined reader may not look at the folder
        path = from_prefix(_in_store(args.path, args.store))
    inspection, measures = inspect(path, [*shards_of(path), *read_beside(path), *side_files_of(path)])
    if warning := lacking(measures):
        to_stderr(warning)
    held = plain(inspection)
    line = {"event": "inspect", **held, "totals": totals(held["tensors"])}
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    answer([line], described(held, width), as_json=args.json)
    return 0


def _in_store(address: str, place: str) -> str:
    """Return the path of a checkpoint that is known by an address; a UsageError where a store knows none."""
    from milepost.checkpoints._files.near import absent  # noqa: PLC0415 - the help needs no reader

    nothing = f"{address}: {absent(address)}"
    if not os.path.isfile(os.path.join(place, "store.json")):
        raise UsageError(nothing)
    try:
        row = find(open_store(place).listing().checkpoints(), address)
    except UsageError as error:
        raise UsageError(f"{nothing}; in the store {place}: {error}") from error
    # Of files that hold the same weights the one that is called so, then one that is still there.
    named = sorted(each(row, "path", current=True), key=lambda one: base_name(one).partition(".")[0] != address)
    path = next(filter(os.path.lexists, map(str, named)), None)
    if path is None:
        gone = ", ".join(map(str, named)) or "no file"
        raise UsageError(f"{address}: {gone}: gone; `milepost show` has what is on record of it")
    to_stderr(f"milepost: {address} is {path}")
    return path


def plain(inspection: Inspection) -> dict[str, Any]:
    """Return what a checkpoint holds as plain data: format, step and its source, tensors, numbers and settings."""
    path, table = inspection.files.path, inspection.table
    step, source = settled_step(path, table.step, table.step_source)
    named, failure = attrgetter(*_TENSOR), inspection.files.failure
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
        "facts": dict(inspection.facts),
        "files_beside": {name: dict(facts) for name, facts in inspection.beside.items()},
        "checksum": table.checksum,
        "adapter": None if table.adapter is None else to_plain(table.adapter),
        "tensors": tensors,
        "foreign": list(table.foreign),
        "notes": [*table.notes, *([failure[1].removeprefix(one_line(f"{path}: "))] if failure else [])],
    }
