"""Watch training's folders and evaluate every checkpoint as it comes: miss nothing, wait for what is being written.

The folders need not exist yet.  It may be started before, during or after training, stopped by Ctrl-C or killed, and
started again; several may watch one folder and share the work.  Without an ending it goes on until it is stopped.
Exit codes: 0 all done, 3 some checkpoints failed or vanished before their turn, 130 stopped by Ctrl-C.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from milepost.cli import FAILED, INTERRUPTED
from milepost.cli._arguments import add_request, positive, seconds
from milepost.cli._output import Reported
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.cli.run import request_of
from milepost.core.escaping import escaped
from milepost.errors import UsageError
from milepost.report.table import Plain
from milepost.report.watch_progress import watching

if TYPE_CHECKING:
    from milepost.run.events import Listen
    from milepost.watch.callouts import Callouts
    from milepost.watch.watch import WatchOptions

_PRINTED = frozenset({"record", "failure", "checkpoint", "done"})
_HEARTBEAT = 600.0
_CALLED = "{path}, {step}, {value} ... stand for what it is about, as $MILEPOST_PATH and the like do in its environment"


def add(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--on-best", metavar="CMD", help=f"run this for each new best of a run; {_CALLED}")
    parser.add_argument("--metric", metavar="NAME", help="the value by which --on-best takes the best, such as top1")
    parser.add_argument(
        "--on-failure", metavar="CMD", help="run this for each checkpoint that failed or vanished, likewise"
    )
    parser.add_argument(
        "--command-timeout", metavar="TIME", type=seconds, default=600.0, help="end such a command after so long (10m)"
    )
    parser.add_argument(
        "--poll", metavar="TIME", type=seconds, default=1.0, help="time between two looks at the folders (1s)"
    )


def options_of(args: argparse.Namespace) -> "WatchOptions":
    """Return how to watch: when to stop, in which order, what to leave out."""
    from milepost.watch.stop_conditions import StopConditions  # noqa: PLC0415 - `--help` loads none of it
    from milepost.watch.watch import WatchOptions  # noqa: PLC0415

    heartbeat = args.heartbeat_timeout or (_HEARTBEAT if args.until == "done" else None)
    stop = StopConditions(args.until == "done", args.max_steps, args.idle, heartbeat)
    return WatchOptions(stop, args.order, args.every, args.torn_after, args.poll)


def callouts_of(args: argparse.Namespace, listen: "Listen") -> "Callouts":
    """Return what takes the watch's events, passes them on, and calls the user's commands."""
    from milepost.store.called_out import CalledOut  # noqa: PLC0415 - `--help` loads none of it
    from milepost.watch.callouts import Callouts, Command  # noqa: PLC0415 - the same

    if (args.on_best is None) != (args.metric is None):
        raise UsageError("watch: --on-best CMD and --metric NAME go together: the value by which a best is one")

    def best(run: str) -> Plain:
        from milepost.report._ranking import ranking_of  # noqa: PLC0415 - the same

        store = open_store(args.store)
        return ranking_of(store, store.listing(), args.metric, args.data, run, "all").ranked[0]

    on_best = None if args.on_best is None else Command.parse("--on-best", args.on_best)
    on_failure = None if args.on_failure is None else Command.parse("--on-failure", args.on_failure)

    def called() -> CalledOut:
        return CalledOut(open_store(args.store).storage, args.metric, args.data)

    def here(record: Plain) -> bool:
        from milepost.report._whereabouts import GONE, OVERWRITTEN, Whereabouts  # noqa: PLC0415 - the same

        store = open_store(args.store)
        file = Whereabouts(store, store.listing()).of(record["checkpoint"])
        # The watch itself touches a file as it lets go of its pin.
        return file.path == record["checkpoint"]["path"] and file.state not in (GONE, OVERWRITTEN)

    return Callouts(listen, best, on_best, on_failure, args.command_timeout, called, here)


def execute(args: argparse.Namespace) -> int:
    from milepost.watch.watch import watch  # noqa: PLC0415

    reported = Reported(watching(sys.stderr), _PRINTED if args.json else ())
    callouts = callouts_of(args, reported)
    try:
        with reported, callouts:
            summary = watch(request_of(args), options_of(args), callouts)
    except KeyboardInterrupt:
        to_stderr("")  # behind the terminal's ^C
        to_stderr(
            f"milepost: stopped; {reported.done} checkpoints were finished in this watch; every finished part, and "
            f"what is pinned until its turn, is kept in {escaped(args.store)}; the same command goes on from there"
        )
        return INTERRUPTED
    if not args.json:
        counts = (
            f"evaluated {summary['evaluated']:,}, up to date {summary['up_to_date']:,}, failed {summary['failed']:,}, "
            f"vanished {summary['vanished']:,}, skipped (--every) {summary['skipped']:,}"
        )
        to_stderr(f"{counts}; store {escaped(args.store)}")
    return FAILED if summary["failed"] or summary["vanished"] else 0
