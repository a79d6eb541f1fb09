"""Compute new metrics from kept outcomes, without the model: milepost score 900 --metric 'top_k(k=3)'.

ADDRESS is a step, run:step, a name, a path, or four digits of the digest or more; 6:ema is another set of weights.
What is computed is kept in the store, on every data set of the checkpoint, by both estimators; asking again changes
nothing.
"""

import argparse
from itertools import pairwise

from milepost.cli import FAILED
from milepost.cli._arguments import add_shared
from milepost.cli._metric_spec import metric_from
from milepost.cli._output import answer, print_checkpoints
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.errors import UsageError
from milepost.report.addresses import Labels, find_evaluated
from milepost.report.table import Plain
from milepost.store.store import Store

_METRIC_HELP = "a registered metric, NAME or NAME(KEY=VALUE, ...), quoted for the shell; may be given several times"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*", help="a step, run:step, a name, a path, or a digest")
    parser.add_argument("--all", action="store_true", help="every checkpoint that was evaluated")
    parser.add_argument("--metric", metavar="METRIC", action="append", required=True, help=_METRIC_HELP)
    add_shared(parser, "variant", "store", "json")


def execute(args: argparse.Namespace) -> int:
    if bool(args.addresses) == args.all:
        raise UsageError("score: name the checkpoints, or say --all for every one that was evaluated")
    metrics = [metric_from(text) for text in args.metric]
    if len(headlines := sorted(metric.headline for metric in metrics)) > len({*headlines}):
        twice = next(one for one, two in pairwise(headlines) if one == two)
        raise UsageError(f"score: two metrics give the value {twice!r}")
    store = open_store(args.store)
    chosen = _chosen(store, args)
    from milepost.scoring.records import score_kept  # noqa: PLC0415 - NumPy only once there is something to score

    names: set[str] = set()
    failed: list[tuple[Plain, UsageError]] = []
    for row in chosen:
        try:
            payloads = score_kept(store, row["digest"], metrics)
            names |= {entry["metric"] for payload in payloads for entry in payload["values"]}
        except UsageError as error:
            # One that was named must do; among all, the others are worth having.
            if not args.all or len(chosen) == 1:
                raise
            failed.append((row, error))
    listing = store.listing()
    labels = Labels(listing.checkpoints() if failed else ())
    lacking = [f"{labels.of(row)}: {error}" for row, error in failed]
    if len(lacking) == len(chosen):
        raise UsageError(lacking[0])
    if args.json:
        held = listing.records(digests={row["digest"] for row in chosen})
        answer((record for record in held if record["metric"] in names), (), as_json=True)
    else:
        print_checkpoints(listing, chosen, limited=True)
        to_stderr(f"{', '.join(sorted(names))} of {len(chosen)} checkpoints, kept in {escaped(str(store.path))}")
    for line in lacking:
        to_stderr(f"milepost: not scored: {line}")
    return FAILED if lacking else 0


def _chosen(store: Store, args: argparse.Namespace) -> list[Plain]:
    checkpoints = store.listing().checkpoints()
    rows: list[Plain] = []
    if args.all:
        rows = [row for row in checkpoints if row["state"] == "done" and args.variant in (None, row["variant"])]
    rows += [find_evaluated(checkpoints, address, "score", args.variant) for address in args.addresses]
    if not rows:
        raise UsageError(f"{args.store}: no checkpoint was evaluated yet; `milepost run` does that")
    return list({row["digest"]: row for row in reversed(rows)}.values())[::-1]
