"""List the checkpoints that failed: what was expected, what was found, how often it was tried.

The exit code is 0 also where there are some: the listing itself is complete.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from milepost.cli._arguments import add_json, add_run, add_store
from milepost.cli._output import json_lines
from milepost.cli._store import failures, open_store
from milepost.errors import printable
from milepost.report.address import run_id
from milepost.report.numbers import count
from milepost.report.text import align

_KEYS = ("event", "run", "path", "step", "class", "message", "attempts")
_HEADS = ("run", "step", "class", "attempts", "path")
_RIGHT = (False, True, False, True, False)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print one line a failed checkpoint, or a table with the messages below it."""
    store = open_store(args.store)
    run = run_id(store, args.run) if args.run else None
    found = list(failures(store.index().checkpoints(run)))
    if args.json:
        with json_lines() as out:
            out.write_all({key: failure[key] for key in _KEYS} for failure in found)
        return 0
    sys.stderr.write(f"store {args.store}\n")
    sys.stdout.write("\n".join(_lines(found) if found else ["no failures"]) + "\n")
    return 0


def _lines(found: list[dict[str, Any]]) -> list[str]:
    lines = align(_HEADS, [_cells(failure) for failure in found], _RIGHT)
    for failure in found:
        text = [f"  {line}".rstrip() for line in failure["message"].strip().splitlines()]
        lines += ["", f"{failure['path']}: {failure['class']}", *text]
    return [printable(line) for line in lines]


def _cells(failure: Mapping[str, Any]) -> list[str]:
    step = "-" if failure["step"] is None else str(failure["step"])
    return [str(failure["run"]), step, failure["class"], count(failure["attempts"]), failure["path"]]
