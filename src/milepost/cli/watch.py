"""Watch training's folders and evaluate every checkpoint as it comes: miss nothing, wait for what is being written.

The folders need not exist yet.  It may be started before, during or after training, stopped by Ctrl-C or killed, and
started again; several may watch one folder and share the work.  Without an ending it goes on until it is stopped.
Exit codes: 0 all done, 3 some checkpoints failed or vanished before their turn, 130 stopped by Ctrl-C.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from milepost.cli import FAILED, INTERRUPTED
from milepost.cli._arguments import add_request, positive, seconds
from milepost.cli._output import JsonLines, json_lines
from milepost.cli.run import request_of
from milepost.registry import resolve
from milepost.report.watch_progress import watching

_PRINTED = frozenset({"record", "failure", "checkpoint", "done"})
_HEARTBEAT = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_request(parser)
    parser.add_argument(
        "--until", choices=["done"], help="done: end once a file DONE lies in each run's folder, or its HEARTBEAT stops"
    )
    parser.add_argument(
        "--max-steps", metavar="N", type=positive, help="end once a checkpoint with this step in its name is there"
    )
    parser.add_argument("--idle", metavar="TIME", type=seconds, help="end after so long without a change (90s, 2h)")
    parser.add_argument(
        "--heartbeat-timeout",
        metavar="TIME",
        type=seconds,
        help="training is dead once a file HEARTBEAT in the run's folder was not touched for so long (10m)",
    )
    parser.add_argument(
        "--order", choices=["oldest", "latest", "bisect"], default="oldest", help="which comes next (default: oldest)"
    )
    parser.add_argument(
        "--every",
        metavar="STEPS",
        type=positive,
        help="evaluate one checkpoint of each so many steps (steps are those in names; one without is evaluated)",
    )
    parser.add_argument(
        "--torn-after",
        metavar="TIME",
        type=seconds,
        default=600.0,
        help="how long to wait for an incomplete file since its last change (10m)",
    )
    parser.add_argument(
        "--poll", metavar="TIME", type=seconds, default=1.0, help="time between two looks at the folders (1s)"
    )


def terms_of(args: argparse.Namespace) -> Any:
    """Turn parsed arguments into how to watch."""
    heartbeat = args.heartbeat_timeout or (_HEARTBEAT if args.until == "done" else None)
    ending = resolve("milepost.watch.stop_conditions:Ending")(
        args.until == "done", args.max_steps, args.idle, heartbeat
    )
    return resolve("milepost.watch.watch:Terms")(ending, args.order, args.every, args.torn_after, args.poll)


def execute(args: argparse.Namespace) -> int:
    """Watch, telling what happens."""
    request, terms = request_of(args), terms_of(args)
    seen = _Seen()
    try:
        if args.json:
            with json_lines() as out:
                watched = _watch(request, terms, seen, out)
        else:
            watched = _watch(request, terms, seen, None)
            sys.stderr.write(f"{_counted(watched)}; store {args.store}\n")
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nmilepost: stopped; {seen.done} checkpoints were finished in this watch, and every finished part, and "
            f"what is pinned until its turn, is kept in {args.store}; the same command goes on from there\n"
        )
        return INTERRUPTED
    return FAILED if watched.failed or watched.vanished else 0


class _Seen:
    """Counts what was finished."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.done += event["event"] == "checkpoint" and event.get("state") == "done"


def _watch(request: Any, terms: Any, seen: _Seen, out: JsonLines | None) -> Any:
    with watching(sys.stderr) as told:

        def listen(event: dict[str, Any]) -> None:
            seen(event)
            told(event)
            if out and event["event"] in _PRINTED:
                out.write(event)

        return resolve("milepost.watch.watch:watch")(request, terms, listen)


def _counted(watched: Any) -> str:
    names = ("evaluated", "skipped", "failed", "vanished", "thinned")
    return ", ".join(f"{name} {getattr(watched, name):,}" for name in names)
