"""Show all that is known of one checkpoint: provenance, values, gaps, model check, timings, tables, all its names.

ADDRESS is a step, run:step, a name, or at least four digits of the digest.  --batch-size asks for the mean of batch
means of another batch size, from kept outcomes, without the model.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from milepost.cli._arguments import add_json, add_store, positive
from milepost.cli._output import json_lines
from milepost.cli._store import failures, open_store
from milepost.errors import UsageError
from milepost.registry import resolve
from milepost.report.addresses import find
from milepost.report.show import Evaluated, describe, drawn
from milepost.report.table import Plain
from milepost.store.store import Store


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("address", metavar="ADDRESS", help="a step, run:step, a name, or a digest's first digits")
    parser.add_argument(
        "--batch-size", metavar="B", type=positive, action="append", default=[], help="batch means for this size too"
    )
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print what is known."""
    store = open_store(args.store)
    listing = store.listing()
    checkpoint = find(listing.checkpoints(), args.address)
    digest = checkpoint.get("digest")
    records = listing.records(digest=digest, slices=None) if digest else []
    if _keep_means(store, checkpoint, records, args.batch_size):
        records = store.listing().records(digest=digest, slices=None)
    if args.json:
        with json_lines() as out:
            out.write_all(records)
            out.write_all(failures([checkpoint]))
        return 0
    keys = _keys(store, checkpoint)
    sections = describe(checkpoint, records, [_evaluated(store, key) for key in keys], _notes(store, checkpoint))
    lines = drawn(sections)
    for key in keys:
        lines += _tables(store, key)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _keep_means(store: Store, checkpoint: Plain, records: Sequence[Plain], sizes: Sequence[int]) -> bool:
    """Compute and keep batch means of sizes that are not on record; tell whether there were any."""
    known = {record.get("batch_size") for record in records if record["estimator"] == "batch_mean"}
    missing = [size for size in dict.fromkeys(sizes) if size not in known]
    if missing and not checkpoint.get("digest"):
        raise UsageError("--batch-size: this checkpoint failed, so there are no outcomes to compute batch means from")
    if missing and not resolve("milepost.scoring.records:batch_means")(store, checkpoint["digest"], missing):
        raise UsageError(
            "--batch-size: no outcomes of this checkpoint are kept that batch means could be computed from"
        )
    return bool(missing)


def _keys(store: Store, checkpoint: Plain) -> list[str]:
    """Return the keys of the evaluations of the checkpoint's weights."""
    digest = checkpoint.get("digest")
    specs = ((key, store.evaluation(key).spec()) for key in store.evaluations())
    return [key for key, spec in specs if digest and spec and spec.get("weights") == digest]


def _notes(store: Store, row: Plain) -> dict[str, Any]:
    """Return what was noted when the row was restored: format, mapping of names, casts, origin of its step."""
    for checkpoint in store.checkpoints(row["run"]) if row.get("run") else ():
        seen = (checkpoint.path, checkpoint.variant, checkpoint.digest)
        if seen == (row["path"], row["variant"], row["digest"]):
            return {"step_source": checkpoint.step_source, **checkpoint.notes}
    return {}


def _evaluated(store: Store, key: str) -> Evaluated:
    folder = store.evaluation(key)
    environments = [item for name in folder.column_sets() for item in folder.parts(name).read().environments()]
    spec = folder.spec() or {}
    data = store.dataset(spec["data"]).spec() if spec.get("data") else None
    return Evaluated(key, spec, data or {}, environments, folder.failures.list())


def _tables(store: Store, key: str) -> Iterator[str]:
    """Yield the lines of every table of an evaluation: those of the largest coverage of each metric."""
    held = store.evaluation(key).results
    widest: dict[str, dict[str, Any]] = {}
    for payload in held.read():
        name = str(payload["metric"]["name"])
        if payload["estimator"] == "exact" and _rows(payload) >= _rows(widest.get(name, {})):
            widest[name] = payload
    for name, payload in widest.items():
        arrays = held.tables(payload)
        if arrays:
            yield from ["", f"table {name}", *(f"  {line}" for line in resolve(_TABLE_LINES)(arrays))]


_TABLE_LINES = "milepost.report.tables_text:table_lines"


def _rows(payload: Mapping[str, Any]) -> int:
    return sum(stop - start for start, stop in payload.get("coverage", ()))
