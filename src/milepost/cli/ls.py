"""List every checkpoint: step, names, rows, metrics with intervals, batch mean beside exact, status.

In a terminal the newest 50 and a count; piped, or with --all, all of them.  With --slice NAME one line a checkpoint and
value of the slice.
"""

import argparse
import gc
import sys

from milepost.cli._arguments import add_shared
from milepost.cli._output import json_lines, print_checkpoints
from milepost.cli._store import failures, open_store
from milepost.report._metrics_on_record import check_slice


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="show every checkpoint, also in a terminal")
    add_shared(parser, "slice", "store", "json")


def execute(args: argparse.Namespace) -> int:
    gc.disable()  # thousands of small dicts, none of them in a cycle: looking for cycles is a tenth of the time
    try:
        return _list(args)
    finally:
        gc.enable()


def _list(args: argparse.Namespace) -> int:
    listing = open_store(args.store).listing()
    check_slice(listing, args.slice)
    if args.json:
        with json_lines() as out:
            out.write_texts(listing.lines(slices=args.slice))
            out.write(*failures(listing.checkpoints()))
        return 0
    sys.stderr.write(f"store {args.store}\n")
    print_checkpoints(listing, listing.checkpoints(), limited=not args.all, slices=args.slice)
    return 0
