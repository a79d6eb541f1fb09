"""Compute new metrics from kept outcomes, without the model: milepost score 900 --metric 'top_k(k=3)'.

ADDRESS is a step, run:step, a name, or at least four digits of the digest.  What is computed is kept in the store, on
every data set of the checkpoint, by both estimators; asking again changes nothing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.cli import FAILED
from milepost.cli._arguments import add_json, add_store
from milepost.cli._metric_spec import metric_from
from milepost.cli._output import json_lines, print_checkpoints
from milepost.cli._store import open_store
from milepost.errors import UsageError
from milepost.report.addresses import find
from milepost.report.table import Plain
from milepost.store.listing import Listing
from milepost.store.store import Store

_METRIC_HELP = "a registered metric, NAME or NAME(KEY=VALUE, ...), quoted for the shell; may be given several times"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*", help="a step, run:step, a name, or a digest")
    parser.add_argument("--all", action="store_true", help="every checkpoint that was evaluated")
    parser.add_argument("--metric", metavar="METRIC", action="append", required=True, help=_METRIC_HELP)
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Compute, keep and print."""
    if bool(args.addresses) == args.all:
        raise UsageError("score: name the checkpoints, or say --all for every one that was evaluated")
    metrics = [metric_from(text) for text in args.metric]
    _check_distinct(metrics)
    store = open_store(args.store)
    chosen = _chosen(store, args)
    from milepost.scoring.records import score_kept  # noqa: PLC0415 - NumPy only once there is something to score

    names: set[str] = set()
    lacking: list[str] = []
    for row in chosen:
        try:
            payloads = score_kept(store, row["digest"], metrics)
            names |= {entry["metric"] for payload in payloads for entry in payload["values"]}
        except UsageError as error:
            # One that was named must do; among all, the others are worth having.
            if not args.all or len(chosen) == 1:
                raise
            lacking.append(f"{row['run']}:{row['name']}: {error}")
    if len(lacking) == len(chosen):
        raise UsageError(lacking[0])
    _print(store, chosen, names, as_json=args.json)
    for line in lacking:
        sys.stderr.write(f"milepost: not scored: {line}\n")
    return FAILED if lacking else 0


def _check_distinct(metrics: Sequence[Any]) -> None:
    names = [metric.headline for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"score: two metrics give the value {name!r}")


def _chosen(store: Store, args: argparse.Namespace) -> list[Plain]:
    """Return one row for each digest of weights."""
    checkpoints = store.listing().checkpoints()
    rows: list[Plain] = [row for row in checkpoints if row["state"] == "done"] if args.all else []
    for address in args.addresses:
        row = find(checkpoints, address)
        if not row["digest"]:
            raise UsageError(f"{address}: this checkpoint failed, so there are no outcomes to score")
        rows.append(row)
    if not rows:
        raise UsageError(f"{args.store}: no checkpoint was evaluated yet; `milepost run` does that")
    return list({row["digest"]: row for row in reversed(rows)}.values())[::-1]


def _print(store: Store, chosen: Sequence[Plain], names: set[str], *, as_json: bool) -> None:
    listing = store.listing()
    digests = [str(row["digest"]) for row in chosen]
    if as_json:
        with json_lines() as out:
            out.write_all(record for digest in digests for record in _records(listing, digest, names))
        return
    print_checkpoints(listing, chosen, limited=True)
    sys.stderr.write(f"{', '.join(sorted(names))} of {len(digests)} checkpoints, kept in {store.path}\n")


def _records(listing: Listing, digest: str, names: set[str]) -> list[Mapping[str, Any]]:
    return [record for record in listing.records(digest=digest) if record["metric"] in names]
