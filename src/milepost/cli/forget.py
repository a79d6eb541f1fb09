"""Forget results that are wrong or old: of a code version, a data set, a checkpoint, one evaluation (a dry run first).

ADDRESS is a step, run:step, a name, a path, or four digits of the digest or more.  An evaluation goes where all that is
given fits it.  What is shared with others stays, and what a running watch works on.  Without --delete nothing is
touched.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from milepost._internal.text import counted
from milepost.cli import FAILED
from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import open_store
from milepost.core.escaping import escaped
from milepost.errors import UsageError
from milepost.report._align import align
from milepost.report._numbers import size
from milepost.report.addresses import find
from milepost.report.table import each
from milepost.store.forgetting import Forgettable, forget, forgettable

_HEADS = ("verdict", "what", "name", "weights", "data", "code", "files", "bytes")
_SHORT = 12


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*", help="a step, run:step, a name, a path, or a digest")
    parser.add_argument("--code", metavar="VERSION", help="results of this code version, or its first digits")
    parser.add_argument(
        "--data", metavar="NAME", help="results on this data set: its name, or its digest's first digits"
    )
    parser.add_argument("--evaluation", metavar="KEY", help="the evaluation with this key, or its first digits")
    add_shared(parser, "delete", "store", "json")


def execute(args: argparse.Namespace) -> int:
    if not (args.addresses or args.code or args.data or args.evaluation):
        raise UsageError("forget: say what: ADDRESS, --code VERSION, --data NAME or --evaluation KEY")
    store = open_store(args.store)
    checkpoints = store.listing().checkpoints() if args.addresses else []
    rows = [find(checkpoints, address) for address in args.addresses]
    weights = {str(row["digest"]) for row in rows if row["digest"]} if rows else None
    paths = {path for row in rows for path in (*each(row, "path"), *(other["path"] for other in row["also"]))}
    things = forgettable(store, weights, paths, args.code, args.data, args.evaluation)
    gone = forget(store, things) if args.delete else [thing for thing in things if not thing.held]
    summary = {
        "event": "done",
        "evaluations": sum(thing.kind == "evaluation" for thing in gone),
        "files": sum(len(thing.files) for thing in gone),
        "bytes": sum(thing.nbytes for thing in gone),
        "kept": len(things) - len(gone),
        "dry_run": not args.delete,
    }
    table = [*_table(things, gone, deleted=args.delete), "", _sentence(summary)]
    answer([*(_line(thing, gone, deleted=args.delete) for thing in things), summary], table, as_json=args.json)
    return FAILED if args.delete and len(gone) < len(things) else 0


def _line(thing: Forgettable, gone: Sequence[Forgettable], *, deleted: bool) -> dict[str, Any]:
    spec = thing.spec
    return {
        "event": "forget",
        "kind": thing.kind,
        "name": thing.name,
        "weights": spec.get("weights"),
        "data": spec.get("data_name"),
        "code": spec.get("code"),
        "files": len(thing.files),
        "bytes": thing.nbytes,
        "deleted": deleted and thing in gone,
        "reason": None if thing in gone else "a worker holds it",
    }


def _table(things: Sequence[Forgettable], gone: Sequence[Forgettable], *, deleted: bool) -> list[str]:
    rows = []
    for thing in things:
        word = "keep: in work" if thing not in gone else "forgotten" if deleted else "forget"
        named = escaped(thing.name) if thing.kind == "checkpoint" else thing.name[:_SHORT]
        spec = [str(thing.spec.get(key) or "-")[:_SHORT] for key in ("weights", "data_name", "code")]
        rows.append((word, thing.kind, named, *spec, str(len(thing.files)), size(thing.nbytes)))
    return align(_HEADS, rows)


def _sentence(summary: dict[str, Any]) -> str:
    counts = (counted(summary["evaluations"], "evaluation"), counted(summary["files"], "file"), size(summary["bytes"]))
    kept = f"; {summary['kept']} kept, since a worker holds them" if summary["kept"] else ""
    return f"{', '.join(counts)} {'would be forgotten: --delete does it' if summary['dry_run'] else 'forgotten'}{kept}"
