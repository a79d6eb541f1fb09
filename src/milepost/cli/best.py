"""Name the best checkpoint by one metric's exact value, and those whose intervals meet its own.

An undefined value never wins, and one over part of the rows is not compared with one over all.  That intervals meet is
not yet a paired test: `compare` counts two checkpoints on the same rows.
"""

import argparse
import sys

from milepost.cli._arguments import add_json, add_run, add_slice, add_store
from milepost.cli._output import json_lines
from milepost.cli._store import open_store
from milepost.report.best import best_of


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--metric", metavar="NAME", required=True, help="the value's name, such as top1")
    parser.add_argument("--data", metavar="NAME", help="the data set, where several are on record")
    add_run(parser)
    add_slice(parser)
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the best and its rivals."""
    found = best_of(open_store(args.store), args.metric, args.data, args.run, args.slice)
    if args.json:
        with json_lines() as out:
            out.write(found.plain())
        return 0
    sys.stdout.write(f"{found}\n")
    return 0
