"""Compare two checkpoints on the same rows: how many only one of them gets right, from kept outcomes.

A and B are addresses: a step, run:step, a name, or at least four digits of the digest; 6:ema is another set of weights
than the raw ones.  The exact difference comes with
its standard error, interval and test: McNemar's, of the rows on which the two disagree, or the paired t test for other
means and for rows that have weights or belong to groups.
"""

import argparse

from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import open_store


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="one checkpoint")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument("--metric", metavar="NAME", default="top1", help="a mean over rows (default: top1)")
    add_shared(parser, "variant", "data", "slice", "store", "json")


def execute(args: argparse.Namespace) -> int:
    from milepost.report.compare import compare_two  # noqa: PLC0415 - the help needs no NumPy

    found = compare_two(open_store(args.store), args.a, args.b, args.metric, args.data, args.slice, args.variant)
    answer([found.plain()], found.lines(), as_json=args.json)
    return 0
