"""Compare two checkpoints on the same rows: how many only one of them gets right, from kept outcomes.

A and B are addresses: a step, run:step, a name, or at least four digits of the digest.  McNemar's tests look at the
rows on which the two disagree; for other means the exact difference and the rows that are better or worse are told.
"""

import argparse
import sys

from milepost.cli._arguments import add_json, add_slice, add_store
from milepost.cli._output import json_lines
from milepost.cli._store import open_store
from milepost.registry import resolve


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="A", help="one checkpoint")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument("--metric", metavar="NAME", default="top1", help="a mean over rows (default: top1)")
    parser.add_argument("--data", metavar="NAME", help="the data set, where several are on record")
    add_slice(parser)
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the comparison."""
    store = open_store(args.store)
    asked = (args.a, args.b, args.metric, args.data, args.slice)
    found = resolve("milepost.report.compare:compare_two")(store, *asked)
    if args.json:
        with json_lines() as out:
            out.write(found.plain())
        return 0
    sys.stdout.write(f"{found}\n")
    return 0
