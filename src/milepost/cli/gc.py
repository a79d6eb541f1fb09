"""Delete checkpoints that are clearly worse than the best (a dry run unless --delete).

Never deleted: what is not evaluated as it is now, waits, is claimed, pinned or failed, has an interval that meets the
best's, is another name of something kept, is a symbolic link or a link's target, or lies outside of the folder.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.cli import FAILED
from milepost.cli._arguments import add_json, add_store, positive
from milepost.cli._gc_folder import Folder, Place
from milepost.cli._output import json_lines
from milepost.cli._store import open_store
from milepost.errors import MilepostError, UsageError
from milepost.report._align import align
from milepost.report._numbers import number, size
from milepost.report.best import Best, best_of
from milepost.report.retention import Measured, Verdict, keep
from milepost.report.table import Plain, as_number

_HEADS = ("verdict", "run", "step", "name", "value", "bytes", "reason")
_RIGHT = (False, False, True, False, True, True, False)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="RUN_FOLDER", help="the training run's folder of checkpoints")
    parser.add_argument("--metric", metavar="NAME", required=True, help="the value that decides, such as top1")
    parser.add_argument("--keep-best", metavar="N", type=positive, default=5, help="how many of the best to keep (5)")
    parser.add_argument("--keep-last", metavar="N", type=positive, default=2, help="how many of the last to keep (2)")
    parser.add_argument("--data", metavar="NAME", help="the data set, where several are on record")
    parser.add_argument("--delete", action="store_true", help="delete in earnest; without it nothing is touched")
    add_store(parser)
    add_json(parser)


def execute(args: argparse.Namespace) -> int:
    """Print what is kept and what goes, and why; with --delete, delete it."""
    if not os.path.isdir(args.folder):
        raise UsageError(f"{args.folder}: expected a run's folder of checkpoints, found no such folder")
    store = open_store(args.store)
    folder = Folder(store, args.folder)
    decided = _decided(store, folder, args)
    reported = [_done(folder, place, verdict, delete=args.delete) for place, verdict in decided]
    gone = [line for line in reported if not line["keep"]]
    summary = {
        "event": "done",
        "kept": len(reported) - len(gone),
        "deleted": sum(line["deleted"] for line in gone),
        "bytes": sum(line["bytes"] for line in gone),
        "dry_run": not args.delete,
    }
    if args.json:
        with json_lines() as out:
            out.write_all([*reported, summary])
    else:
        sys.stdout.write("\n".join([*_table(reported), "", _sentence(summary, gone)]) + "\n")
    return FAILED if any(line["problem"] for line in reported) else 0


def _decided(store: Any, folder: Folder, args: argparse.Namespace) -> list[tuple[Place, Verdict]]:
    """Decide run by run: a folder may hold others below it, and each has its own best and last."""
    decided: list[tuple[Place, Verdict]] = []
    refusals: list[UsageError] = []
    for run in sorted({place.run for place in folder.places}):
        places = [place for place in folder.places if place.run == run]
        measured, higher = dict[str, Measured](), True
        try:
            best = _best(store, run, args)
            measured, higher = _measured(best), best.direction == "higher"
        except UsageError as error:
            refusals.append(error)
        verdicts = keep(
            [place.held for place in places], measured, higher=higher, best=args.keep_best, last=args.keep_last
        )
        decided += zip(places, verdicts, strict=True)
    if not any(verdict.value is not None for _, verdict in decided):
        raise refusals[0] if refusals else UsageError(f"{args.folder}: no checkpoint in it has a whole {args.metric}")
    return decided


def _best(store: Any, run: str, args: argparse.Namespace) -> Best:
    if run not in {known["id"] for known in store.runs()}:
        raise UsageError(f"nothing of {args.folder} is on record in {args.store}; `milepost run` evaluates it")
    return best_of(store, args.metric, args.data, run)


def _measured(best: Best) -> dict[str, Measured]:
    """Return the values that may decide: over all rows, of weights restored whole, on the data of the best."""
    found = {}
    for record in (best.best, *best.tied, *best.meets, *best.below):
        value = as_number(record["value"])
        if record["status"] == "ok" and value is not None:
            span: Plain = next(iter(record.get("intervals") or ()), {})
            low, high = as_number(span.get("low")), as_number(span.get("high"))
            found[str(record["checkpoint"]["digest"])] = Measured(value, low, high)
    return found


def _done(folder: Folder, place: Place, verdict: Verdict, *, delete: bool) -> dict[str, Any]:
    problem = None
    if delete and not verdict.keep:
        try:
            folder.delete(place)
        except MilepostError as error:
            problem = str(error)
        except OSError as error:
            problem = f"could not be deleted: {error.strerror or error}"
    return {
        "event": "gc",
        "run": place.run,
        "path": place.held.path,
        "step": place.held.step,
        "value": verdict.value,
        "keep": verdict.keep or problem is not None,
        "reason": problem or verdict.reason,
        "bytes": place.nbytes,
        "deleted": delete and not verdict.keep and problem is None,
        "problem": problem,
    }


def _table(reported: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for line in reported:
        word = "keep" if line["keep"] else "deleted" if line["deleted"] else "delete"
        step = "-" if line["step"] is None else str(line["step"])
        value = "-" if line["value"] is None else number(line["value"], 4)
        name = os.path.basename(line["path"])
        rows.append((word, line["run"], step, name, value, size(line["bytes"]), line["reason"]))
    return align(_HEADS, rows, _RIGHT)


def _sentence(summary: Mapping[str, Any], gone: Sequence[Any]) -> str:
    if summary["dry_run"]:
        what = f"{len(gone)} would be deleted, {size(summary['bytes'])} freed: --delete does it"
    else:
        what = f"{summary['deleted']} deleted, {size(summary['bytes'])} freed"
    return f"{summary['kept']} kept; {what}"
