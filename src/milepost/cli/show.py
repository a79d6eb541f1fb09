"""Show all that is known of one checkpoint: provenance, values, gaps, model check, timings, tables, all its names.

ADDRESS is a step, run:step, a name, a path, or four digits of the digest or more; 6:ema is another set of weights than
the raw ones.  Evaluations of the current code are described whole; those of earlier code in one line each, or whole
with --all. --batch-size asks for the mean of batch means of another batch size, from kept outcomes, without the model.
"""

import argparse
from collections.abc import Iterator, Sequence

from milepost.cli._arguments import add_shared, positive
from milepost.cli._output import answer
from milepost.cli._store import failures, open_store
from milepost.cli._streams import to_stderr
from milepost.errors import UsageError
from milepost.report.addresses import find, overwritten
from milepost.report.show import drawn
from milepost.report.table import Plain, records_of
from milepost.store.store import Store


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="a step, run:step, a name, a path, or a digest")
    parser.add_argument(
        "--batch-size", metavar="B", type=positive, action="append", default=[], help="batch means for this size too"
    )
    parser.add_argument("--all", action="store_true", help="describe evaluations of earlier code whole, too")
    add_shared(parser, "variant", "store", "json")


def execute(args: argparse.Namespace) -> int:
    store = open_store(args.store)
    listing = store.listing()
    checkpoints = listing.checkpoints()
    checkpoint = find(checkpoints, args.address, args.variant)
    if before := overwritten(checkpoints, checkpoint):
        to_stderr(f"milepost: its file held other weights before: `milepost show {before[0]}` shows them")
    records = records_of(listing, checkpoint)
    if _keep_means(store, checkpoint, records, args.batch_size):
        records = records_of(store.listing(), checkpoint)
    answer([*records, *failures([checkpoint])], _lines(store, checkpoint, records, every=args.all), as_json=args.json)
    return 0


def _lines(store: Store, checkpoint: Plain, records: Sequence[Plain], *, every: bool) -> Iterator[str]:
    from milepost.report.described import class_names_of, described, tables_of  # noqa: PLC0415 - the help needs no NumPy
    from milepost.report.tables_text import table_lines  # noqa: PLC0415 - the same

    sections, evaluated = described(store, checkpoint, records, every=every)
    yield from drawn(sections)
    for one in evaluated:
        names = class_names_of(store, one)
        for name, arrays in tables_of(store, one.key):
            yield from ["", f"table {name}", *(f"  {line}" for line in table_lines(arrays, names))]


def _keep_means(store: Store, checkpoint: Plain, records: Sequence[Plain], sizes: Sequence[int]) -> bool:
    """Compute and keep batch means of sizes that are not on record; return whether there were any."""
    known = {record.get("batch_size") for record in records if record["estimator"] == "batch_mean"}
    missing = [size for size in dict.fromkeys(sizes) if size not in known]
    if missing and not checkpoint.get("digest"):
        raise UsageError("--batch-size: this checkpoint failed, so there are no outcomes to compute batch means from")
    if missing:
        from milepost.scoring.records import batch_means  # noqa: PLC0415 - NumPy only where there is something to score

        if not batch_means(store, checkpoint["digest"], missing):
            raise UsageError("--batch-size: no outcomes are kept of this checkpoint to compute batch means from")
    return bool(missing)
