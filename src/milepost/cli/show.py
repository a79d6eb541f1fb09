"""Show all that is known of one checkpoint: provenance, values, gaps, model check, timings, tables, all its names.

ADDRESS is a step, run:step, a name, a path, or four digits of the digest or more; 6:ema is another set of weights than
the raw ones.  Evaluations of the current code are described whole; those of earlier code in one line each, or whole
with --all. --batch-size asks for the mean of batch means of another batch size, from kept outcomes, without the model.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from milepost._internal.text import listed
from milepost.cli._arguments import add_shared, positive
from milepost.cli._output import answer
from milepost.cli._store import failures, open_store
from milepost.errors import UsageError
from milepost.report._folding import chosen, folded_lines
from milepost.report._metrics_on_record import evaluations_of
from milepost.report.addresses import find, overwritten
from milepost.report.show import Evaluated, describe, drawn
from milepost.report.table import Plain, records_of
from milepost.store.code_standing import Standing
from milepost.store.store import Store

_NAMED = 8


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
        sys.stderr.write(f"milepost: its file held other weights before: `milepost show {before[0]}` shows them\n")
    records = records_of(listing, checkpoint)
    if _keep_means(store, checkpoint, records, args.batch_size):
        records = records_of(store.listing(), checkpoint)
    answer([*records, *failures([checkpoint])], _lines(store, checkpoint, records, every=args.all), as_json=args.json)
    return 0


def _lines(store: Store, checkpoint: Plain, records: Sequence[Plain], *, every: bool) -> Iterator[str]:
    specs, code = evaluations_of(store, checkpoint.get("digest")), store.codes.standing()
    standings = {key: code.of(spec) for key, spec in specs.items()}
    data = list(dict.fromkeys(str(record["data"]) for record in records))
    keys = [*specs] if every else chosen(specs, standings, data)
    evaluated = [_evaluated(store, key, specs[key], standings[key]) for key in keys]
    folded = folded_lines({key: spec for key, spec in specs.items() if key not in keys}, standings)
    yield from drawn(describe(checkpoint, records, evaluated, _notes(store, checkpoint), folded))
    for one in evaluated:
        names = store.dataset(one.spec["data"]).class_names.read() if one.spec.get("data") else {}
        yield from _tables(store, one.key, names)


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


def _notes(store: Store, row: Plain) -> dict[str, Any]:
    """Return what was noted when the row was restored: format, mapping of names, casts, origin of its step."""
    for checkpoint in store.checkpoints(row["run"]) if row.get("run") else ():
        if (checkpoint.path, checkpoint.variant, checkpoint.digest) == (row["path"], row["variant"], row["digest"]):
            return {"step_source": checkpoint.step_source, **checkpoint.notes}
    return {}


def _evaluated(store: Store, key: str, spec: Plain, standing: Standing) -> Evaluated:
    from milepost.report.near_ties import near_ties  # noqa: PLC0415 - the help needs no NumPy
    from milepost.store.doubled_rows import doubled_rows  # noqa: PLC0415 - the same

    folder = store.evaluation(key)
    kept = [folder.parts(name).read() for name in folder.column_sets()]
    environments = [item for columns in kept for item in columns.environments()]
    ties = max(filter(None, map(near_ties, kept)), key=lambda found: found.rows, default=None)
    dataset = store.dataset(spec["data"]) if spec.get("data") else None
    data = (dataset.spec() if dataset else None) or {}
    if dataset and (names := dataset.class_names.read()):
        data = {**data, "classes": f"{len(names):,}: {listed(list(names.values()), _NAMED)}"}
    doubled = doubled_rows(dataset, int(data["size"])) if dataset and data.get("size") else None
    return Evaluated(key, spec, data, environments, folder.failures.list(), ties, doubled, standing)


def _tables(store: Store, key: str, class_names: Mapping[int, str]) -> Iterator[str]:
    """Yield the lines of every table of an evaluation: those of the largest coverage of each metric."""
    from milepost.report.tables_text import table_lines  # noqa: PLC0415 - the help needs no NumPy

    held = store.evaluation(key).results
    widest: dict[str, tuple[int, dict[str, Any]]] = {}
    for payload in held.read():
        name, rows = str(payload["metric"]["name"]), sum(stop - start for start, stop in payload.get("coverage", ()))
        if payload["estimator"] == "exact" and rows >= widest.get(name, (0, {}))[0]:
            widest[name] = (rows, payload)
    for name, (_, payload) in widest.items():
        if arrays := held.tables(payload):
            yield from ["", f"table {name}", *(f"  {line}" for line in table_lines(arrays, class_names))]
