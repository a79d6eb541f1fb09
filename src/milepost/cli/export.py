"""Write the records of a store for another tool: milepost export csv results.csv.

NAME is a registered export, by file or by a plugin.  TARGET is a file; without one the text goes to
standard output.  A file is replaced whole or not at all.  A checkpoint that failed is a row, too.

With --classes METRIC the records are what this metric gives by class: one a checkpoint, class and number.
"""

import argparse
from itertools import chain

from milepost._internal.text import counted
from milepost.cli._arguments import add_shared
from milepost.cli._store import failures, open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.core.protocols import Export
from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.registry import files, load
from milepost.report._metrics_on_record import check_slice, recorded
from milepost.report.addresses import run_id
from milepost.store.records import ALL
from milepost.store.store import Store


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(files('exports'))}, or a plugin's")
    parser.add_argument("target", metavar="TARGET", nargs="?", default="-", help="a file (default: standard output)")
    add_shared(parser, "run")
    parser.add_argument("--data", metavar="NAME", help="only this data set, such as test or clean/test")
    parser.add_argument("--metric", metavar="NAME", help="only this value, such as top1")
    parser.add_argument("--slice", metavar="NAME[=VALUE]", help="only these slices; all: the values over all rows")
    parser.add_argument("--classes", metavar="METRIC", help="what this metric gives by class, such as recall")
    add_shared(parser, "store")


def execute(args: argparse.Namespace) -> int:
    from milepost.report._ranking import one_data  # noqa: PLC0415 - NumPy only for the verb that is asked for
    from milepost.report.reader import StoreReader  # noqa: PLC0415 - NumPy only for the verb that is asked for

    export: Export = load("exports", args.name)()
    opened = open_store(args.store)
    check_slice(opened.listing(), args.slice or ALL)
    if args.metric:
        recorded(opened, args.metric)
    store = StoreReader(opened)
    if args.classes and (args.metric or args.slice):
        raise UsageError("--classes METRIC names the values itself, over all rows: leave out --metric and --slice")
    records = _by_class(opened, args) if args.classes else store.records(args.run, None, args.metric, args.slice)
    if args.data:
        name = one_data(sorted({record["data"] for record in records}), args.data)
        records = [record for record in records if record["data"] == name]
    failed = list(failures(store.checkpoints(args.run)))
    export.write(chain(records, failed), args.target)
    where = "standard output" if args.target == "-" else escaped(args.target)
    to_stderr(f"wrote {counted(len(records), 'record')} and {counted(len(failed), 'failure')} to {where}")
    return 0


def _by_class(store: Store, args: argparse.Namespace) -> list[dict[str, Json]]:
    from milepost.report.class_rows import class_records  # noqa: PLC0415 - NumPy only for the verb that is asked for

    listing = store.listing()
    return list(class_records(store, listing, listing.checkpoints(run_id(store, args.run)), args.classes))
