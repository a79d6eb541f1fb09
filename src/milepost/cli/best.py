"""Name the best checkpoint by a metric, those that are tied with it, and a file that holds it.

The best has the best exact value; tied is what is not significantly worse on the same rows, corrected for all pairs.
An undefined value never wins, and one over part of the rows is not compared with one over all.  --path and --link take
the best whose file still holds its weights; standard error says where that is not the best of all.  Exit code 3: there
is none.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from milepost.cli import FAILED
from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import open_store

if TYPE_CHECKING:
    from milepost.report.best import Best


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metric", metavar="NAME", required=True, help="the value's name, such as top1")
    parser.add_argument("--link", metavar="FILE", help="keep a symbolic link to the best, such as best.pt")
    add_shared(parser, "data", "run", "variant", "slice", "store")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--path", action="store_true", help="print the best's path and nothing else, for scripts")
    add_shared(printed, "json")


def execute(args: argparse.Namespace) -> int:
    from milepost.report.best import best_of  # noqa: PLC0415 - the help needs no NumPy

    found = best_of(open_store(args.store), args.metric, args.data, args.run, args.slice, args.variant)
    path = _path(found) if args.path or args.link else None
    if path is not None and args.link:
        _link(args.link, path)
    if not args.path:
        answer([found.plain()], str(found).splitlines(), as_json=args.json)
    elif path is not None:
        sys.stdout.write(f"{path}\n")
    return FAILED if path is None and (args.path or args.link) else 0


def _path(found: "Best") -> str | None:
    """Return the path of the best that is still there, None where none is; report what a script should know."""
    record, file = found.still_there
    if not file.here:
        sys.stderr.write(f"milepost: no file holds the weights of any of those compared; {file.path}: {file.state}\n")
        return None
    if record is not found.best:
        sys.stderr.write(
            f"milepost: the best, {found.best['label']}, is not there any more ({found.file.path}: "
            f"{found.file.state}); this is the best that is: {record['label']}\n"
        )
    if record["status"] != "ok":
        sys.stderr.write(f"milepost: its value is not one over all rows by the code of now: {record['status']}\n")
    variant = record["checkpoint"]["variant"]
    if variant != "raw":
        sys.stderr.write(f"milepost: the best weights are the variant {variant} in this file\n")
    return file.path


def _link(link: str, path: str) -> None:
    from milepost.report.best_link import keep_link  # noqa: PLC0415 - only where a link is asked for

    changed = keep_link(link, path)
    sys.stderr.write(f"milepost: {link} {'now leads' if changed else 'leads already'} to {path}\n")
