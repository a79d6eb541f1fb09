"""List every checkpoint: step, names, rows, metrics with intervals, batch mean beside exact, status.

In a terminal the newest 50 and a count; piped, or with --all, all of them.
"""

import argparse
import sys

from milepost.cli._arguments import add_json, add_store
from milepost.cli._output import json_lines, print_results
from milepost.cli._store import failures, open_index
from milepost.report.table import build

_NEWEST = 50


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--all", action="store_true", help="show every checkpoint, also in a terminal")
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the table, or its records."""
    index = open_index(args.store)
    if args.json:
        with json_lines() as out:
            out.write_all(index.records())
            out.write_all(failures(index.checkpoints()))
        return 0
    results = build(index.records(), index.checkpoints())
    sys.stderr.write(f"store {args.store}\n")
    print_results(results, newest=None if args.all else _NEWEST)
    return 0
