"""List every checkpoint: step, names, rows, metrics with intervals, batch mean beside exact, status.

In a terminal the newest 50 and a count; piped, or with --all, all of them.  With --sort METRIC the best come first,
with --slice NAME one line a checkpoint and value of the slice, with --classes METRIC one a checkpoint and class.
"""

import argparse
import gc
from collections.abc import Sequence
from functools import partial

from milepost.cli._arguments import add_shared
from milepost.cli._output import answer, json_lines, print_checkpoints
from milepost.cli._store import failures, open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.report._metrics_on_record import check_slice, direction_of, recorded
from milepost.report.addresses import run_id
from milepost.report.table import Plain, Results
from milepost.report.table_order import best_first, only, records_best_first
from milepost.store.listing import Listing
from milepost.store.store import Store


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="show every checkpoint, also in a terminal")
    parser.add_argument("--metric", metavar="NAME", action="append", default=[], help="only this value (several times)")
    parser.add_argument("--sort", metavar="METRIC", help="the best value first, as the metric says which is better")
    parser.add_argument("--classes", metavar="METRIC", help="what this metric gives by class, such as recall")
    add_shared(parser, "run", "variant", "slice", "store", "json")


def execute(args: argparse.Namespace) -> int:
    gc.disable()  # thousands of small dicts, none of them in a cycle: looking for cycles is a tenth of the time
    try:
        return _list(args)
    finally:
        gc.enable()


def _list(args: argparse.Namespace) -> int:
    store = open_store(args.store)
    listing = store.listing()
    check_slice(listing, args.slice)
    for metric in args.metric:
        recorded(store, metric)
    higher = bool(args.sort) and direction_of(recorded(store, args.sort)) == "higher"
    run = run_id(store, args.run)
    checkpoints = [row for row in listing.checkpoints(run) if args.variant in (None, row["variant"])]
    if not args.json:
        to_stderr(f"store {escaped(args.store)}")
    if args.classes:
        _list_classes(store, listing, checkpoints, args)
    elif args.json:
        _write_lines(listing, run, checkpoints, args, higher=higher)
    else:
        arranged = partial(_arranged, args=args, higher=higher)
        print_checkpoints(
            listing, checkpoints, limited=not args.all, slices=args.slice, arranged=arranged, best=bool(args.sort)
        )
    return 0


def _arranged(results: Results, args: argparse.Namespace, *, higher: bool) -> Results:
    chosen = best_first(results, args.sort, higher=higher) if args.sort else results
    return only(chosen, args.metric)


def _write_lines(
    listing: Listing, run: str | None, checkpoints: Sequence[Plain], args: argparse.Namespace, *, higher: bool
) -> None:
    with json_lines() as out:
        if args.metric or args.sort:
            found: list[Plain] = list(listing.records(run=run, variant=args.variant, slices=args.slice))
            if args.sort:
                found = records_best_first(found, args.sort, higher=higher)
            out.write(*(record for record in found if not args.metric or record["metric"] in args.metric))
        else:
            out.write_texts(listing.lines(run=run, variant=args.variant, slices=args.slice))
        out.write(*failures(checkpoints))


def _list_classes(store: Store, listing: Listing, checkpoints: Sequence[Plain], args: argparse.Namespace) -> None:
    from milepost.report.class_rows import class_lines, class_rows  # noqa: PLC0415 - NumPy only where it is asked for

    rows = class_rows(store, listing, checkpoints, args.classes)
    events = ({"event": "class", "metric": args.classes, **row} for row in rows)
    answer(events, class_lines(rows), as_json=args.json)
