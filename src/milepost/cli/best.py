"""Name the best checkpoint by one metric's exact value, those that are tied with it, and a file that holds it.

Tied is what is not significantly worse on the same rows, corrected for all pairs.  An undefined value never wins, and
one over part of the rows is not compared with one over all.
"""

import argparse

from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import open_store


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metric", metavar="NAME", required=True, help="the value's name, such as top1")
    add_shared(parser, "data", "run", "variant", "slice", "store", "json")


def execute(args: argparse.Namespace) -> int:
    from milepost.report.best import best_of  # noqa: PLC0415 - the help needs no NumPy

    found = best_of(open_store(args.store), args.metric, args.data, args.run, args.slice, args.variant)
    answer([found.plain()], str(found).splitlines(), as_json=args.json)
    return 0
