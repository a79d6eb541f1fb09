"""Evaluate what is missing: every checkpoint on every row, exactly once.

The same command again does what is still missing, which is nothing once all is done.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from milepost.cli import FAILED, INTERRUPTED
from milepost.cli._arguments import add_request, evaluation_file
from milepost.cli._output import JsonLines, json_lines, print_checkpoints
from milepost.cli._store import open_store
from milepost.report.progress import progress
from milepost.report.table import each

if TYPE_CHECKING:
    from milepost.run.request import Request
    from milepost.run.run import Summary

_OPTIONS = ("match", "limit", "data", "device", "engine", "again", "per_pass", "allow_missing", "timeout", "workers")
_PRINTED = frozenset({"record", "failure", "done"})


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_request(parser)


def request_of(args: argparse.Namespace) -> "Request":
    """Turn parsed arguments into the driver's request."""
    from milepost.run.request import Request  # noqa: PLC0415 - the help needs no driver

    file, attribute = evaluation_file(args.evaluation)
    options = {name: getattr(args, name) for name in _OPTIONS}
    return Request(tuple(args.checkpoints), args.store, file, attribute, **options)


def execute(args: argparse.Namespace) -> int:
    """Evaluate, report what happens, and print the table."""
    request = request_of(args)
    reported = _Reported()
    try:
        if args.json:
            with json_lines() as out:
                summary = _run(request, reported, out)
        else:
            summary = _run(request, reported, None)
            _print_table(args.store, summary, reported)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nmilepost: stopped; {reported.done} checkpoints were finished in this run, and every finished part is "
            f"kept in {args.store}; the same command resumes from there\n"
        )
        return INTERRUPTED
    return FAILED if summary.failed else 0


class _Reported:
    """Keeps the paths that a run reports, so that the table at its end shows these and no others."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.done = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint":
            self.paths.add(str(event["path"]))
            self.done += event.get("state") == "done"
        elif event["event"] == "failure":
            self.paths.add(str(event["path"]))


def _run(request: "Request", reported: _Reported, out: JsonLines | None) -> "Summary":
    from milepost.run.run import run  # noqa: PLC0415 - the help needs no driver

    with progress(sys.stderr) as show:

        def listen(event: dict[str, Any]) -> None:
            reported(event)
            show(event)
            if out and event["event"] in _PRINTED:
                out.write(event)

        return run(request, listen)


def _print_table(store: str, summary: "Summary", reported: _Reported) -> None:
    listing = open_store(store).listing()
    checkpoints = [row for row in listing.checkpoints() if reported.paths.intersection(each(row, "path"))]
    print_checkpoints(listing, checkpoints, limited=True)
    nothing = "; nothing was left to do" if not summary.evaluated and not summary.failed else ""
    sys.stderr.write(
        f"evaluated {summary.evaluated}, skipped {summary.skipped}, failed {summary.failed}{nothing}; store {store}\n"
    )
