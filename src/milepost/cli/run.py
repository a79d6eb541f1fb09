"""Evaluate what is missing: every checkpoint on every row, exactly once.

Run the same command again, and it evaluates only what has no results yet.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from milepost._internal.text import counted
from milepost.cli import FAILED, INTERRUPTED
from milepost.cli._arguments import add_request, evaluation_file
from milepost.cli._output import Reported, print_checkpoints
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.report.progress import progress
from milepost.report.table import each

if TYPE_CHECKING:
    from milepost.run.request import Request
    from milepost.run.run import Summary

_OPTIONS = ("match", "limit", "data", "device", "engine", "again", "per_pass", "allow_missing", "timeout", "workers")
_PRINTED = frozenset({"record", "failure", "done"})


def add(parser: argparse.ArgumentParser) -> None:
    add_request(parser)


def request_of(args: argparse.Namespace) -> "Request":
    """Return what the driver is asked for; `plan` and `watch` ask for the same."""
    from milepost.run.request import Request  # noqa: PLC0415 - the help needs no driver

    file, attribute = evaluation_file(args.evaluation)
    options = {name: getattr(args, name) for name in _OPTIONS}
    return Request(tuple(args.checkpoints), args.store, file, attribute, **options)


def execute(args: argparse.Namespace) -> int:
    from milepost.run.run import run  # noqa: PLC0415 - the help needs no driver

    request = request_of(args)
    reported = Reported(progress(sys.stderr), _PRINTED if args.json else ())
    try:
        with reported:
            summary = run(request, reported)
        if not args.json:
            _print_table(args.store, summary, reported.paths)
    except KeyboardInterrupt:
        to_stderr("")  # behind the terminal's ^C
        to_stderr(
            f"milepost: stopped; {reported.done} checkpoints were finished in this run, and every finished part is "
            f"kept in {escaped(args.store)}; the same command resumes from there"
        )
        return INTERRUPTED
    return FAILED if summary.failed else 0


def _print_table(store: str, summary: "Summary", paths: set[str]) -> None:
    listing = open_store(store).listing()
    checkpoints = [row for row in listing.checkpoints() if paths.intersection(each(row, "path"))]
    print_checkpoints(listing, checkpoints, limited=True)
    nothing = "; nothing was left to do" if not summary.evaluated and not summary.failed else ""
    if summary.checked:
        nothing = f"; a code check predicted rows of {counted(summary.checked, 'checkpoint')}"
    done = f"evaluated {summary.evaluated}, skipped {summary.skipped}, failed {summary.failed}{nothing}"
    to_stderr(f"{done}; store {escaped(store)}")
