"""Name the best checkpoint by a metric, those that are tied with it, and a file that holds it.

The best has the best exact value; tied is what is not significantly worse on the same rows, corrected for all pairs.
An undefined value never wins, and one over part of the rows is not compared with one over all.  --path and --link take
the best whose file still holds its weights; standard error says where that is not the best of all.  Exit code 3: there
is none.
"""

import argparse
from typing import TYPE_CHECKING

from milepost.cli import FAILED
from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import open_store
from milepost.cli._streams import path_to_stdout, to_stderr
from milepost.core.escaping import escaped

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
        answer([found.plain()], found.lines(), as_json=args.json)
    elif path is not None:
        path_to_stdout(path)
    return FAILED if path is None and (args.path or args.link) else 0


def _path(found: "Best") -> str | None:
    """Return the path of the best that is still there, None where none is; report what a script should know."""
    record, file = found.still_there
    if not file.here:
        to_stderr(f"milepost: no file holds the weights of any of those compared; {escaped(file.path)}: {file.state}")
        return None
    if record is not found.best:
        to_stderr(
            f"milepost: the best, {found.best['label']}, is not there any more ({escaped(found.file.path)}: "
            f"{found.file.state}); this is the best that is: {record['label']}"
        )
    if record["status"] != "ok":
        to_stderr(f"milepost: its value is not one over all rows by the code of now: {record['status']}")
    variant = record["checkpoint"]["variant"]
    if variant != "raw":
        to_stderr(f"milepost: the best weights are the variant {escaped(variant)} in this file")
    return file.path


def _link(link: str, path: str) -> None:
    from milepost.report.best_link import keep_link  # noqa: PLC0415 - only where a link is asked for

    changed = keep_link(link, path)
    to_stderr(f"milepost: {escaped(link)} {'now leads' if changed else 'leads already'} to {escaped(path)}")
