"""Evaluate what is missing: every checkpoint on every row, exactly once.

The same command again does what is still missing, which is nothing once all is done.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from milepost.cli import FAILED, INTERRUPTED
from milepost.cli._arguments import add_request, evaluation_file
from milepost.cli._output import JsonLines, json_lines, print_checkpoints
from milepost.cli._store import open_index
from milepost.registry import resolve
from milepost.report.progress import progress
from milepost.report.table import each

_PRINTED = frozenset({"record", "failure", "done"})


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_request(parser)


def request_of(args: argparse.Namespace) -> Any:
    """Turn parsed arguments into the driver's request."""
    file, attribute = evaluation_file(args.evaluation)
    return resolve("milepost.run.request:Request")(
        checkpoints=tuple(args.checkpoints),
        store=args.store,
        file=file,
        attribute=attribute,
        match=args.match,
        limit=args.limit,
        data=args.data,
        device=args.device,
        engine=args.engine,
        again=args.again,
        per_pass=args.per_pass,
        allow_missing=args.allow_missing,
        timeout=args.timeout,
        workers=args.workers,
    )


def execute(args: argparse.Namespace) -> int:
    """Evaluate, telling what happens, and print the table."""
    request = request_of(args)
    seen = _Seen()
    try:
        if args.json:
            with json_lines() as out:
                summary = _run(request, seen, out)
        else:
            summary = _run(request, seen, None)
            _print_table(args.store, summary, seen)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nmilepost: stopped; {seen.done} checkpoints were finished in this run, and every finished part is "
            f"kept in {args.store}; the same command resumes from there\n"
        )
        return INTERRUPTED
    return FAILED if summary.failed else 0


class _Seen:
    """Remembers which files the run met, so that the table at its end shows these and no others."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.done = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint":
            self.paths.add(str(event["path"]))
            self.done += event.get("state") == "done"
        elif event["event"] == "failure":
            self.paths.add(str(event["path"]))


def _run(request: Any, seen: _Seen, out: JsonLines | None) -> Any:
    ended = False
    with progress(sys.stderr) as told:

        def listen(event: dict[str, Any]) -> None:
            nonlocal ended
            seen(event)
            told(event)
            if out and event["event"] in _PRINTED:
                out.write(event)
            ended = ended or event["event"] == "done"

        summary = resolve("milepost.run.run:run")(request, listen)
    if out and not ended:
        out.write(_done(summary))
    return summary


def _done(summary: Any) -> dict[str, Any]:
    counts = {"evaluated": summary.evaluated, "skipped": summary.skipped, "failed": summary.failed}
    return {"event": "done", **counts}


def _print_table(store: str, summary: Any, seen: _Seen) -> None:
    index = open_index(store)
    checkpoints = [row for row in index.checkpoints() if seen.paths.intersection(each(row, "path"))]
    print_checkpoints(index, checkpoints, limited=True)
    nothing = "; nothing was left to do" if not summary.evaluated and not summary.failed else ""
    sys.stderr.write(
        f"evaluated {summary.evaluated}, skipped {summary.skipped}, failed {summary.failed}{nothing}; store {store}\n"
    )
