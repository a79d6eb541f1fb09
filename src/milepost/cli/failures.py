"""List the checkpoints that failed: class, reason, how often it was tried, what to do next.

With --retry those named (by step, run:step, name or path), or all, are tried again by the next run or watch, whatever
their class.  The exit code is 0 also where there are failures: the listing itself is complete.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from milepost.cli._arguments import add_shared
from milepost.cli._output import answer
from milepost.cli._store import failures, open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.errors import UsageError, checkpoint_error
from milepost.report._align import align, shown
from milepost.report._metrics_on_record import evaluations_of
from milepost.report._numbers import count
from milepost.report.addresses import RAW, find, run_id
from milepost.report.table import Plain, failure_of
from milepost.store.store import Store

_KEYS = ("event", "run", "path", "step", "variant", "class", "message", "attempts")
_HEADS = ("run", "step", "class", "attempts", "path")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoints", metavar="CKPT", nargs="*", help="only these: step, run:step, name or path")
    parser.add_argument("--retry", action="store_true", help="have them tried again by the next run or watch")
    add_shared(parser, "run", "store", "json")


def execute(args: argparse.Namespace) -> int:
    store = open_store(args.store)
    run = run_id(store, args.run)
    rows = _named([row for row in store.listing().checkpoints(run) if failure_of(row)], args.checkpoints)
    if args.retry:
        _ask_again(store, rows)
    found = list(failures(rows))
    if not args.json:
        to_stderr(f"store {escaped(args.store)}")
    lines = _lines(found) if found else ["no failures"]
    if args.retry and found:
        again = "by the next `milepost run` or `milepost watch`, and within a minute by a running one"
        lines += ["", f"{count(len(found))} will be tried again {again}"]
    answer(({key: failure[key] for key in _KEYS} for failure in found), lines, as_json=args.json)
    return 0


def _named(rows: Sequence[Plain], addresses: Sequence[str]) -> list[Plain]:
    if not addresses:
        return list(rows)
    if not rows:
        raise UsageError(f"{addresses[0]!r}: expected a failed checkpoint; no checkpoint failed")
    wanted = {find(rows, address)["path"] for address in addresses}  # it failed in all its variants, or in one
    return [row for row in rows if row["path"] in wanted]


def _ask_again(store: Store, rows: Sequence[Plain]) -> None:
    """Put retry requests into the store: for a file that failed beside its record, else beside its evaluations."""
    paths = {(row["run"], row["path"], row["variant"]) for row in rows if row["digest"] is None}
    for run in {str(row["run"]) for row in rows if row["digest"] is None}:
        for checkpoint in store.checkpoints(run):
            if checkpoint.failure is not None and (run, checkpoint.path, checkpoint.variant) in paths:
                store.retry_requests.put(checkpoint)
    for digest in {row["digest"] for row in rows} - {None}:
        for key in evaluations_of(store, digest):
            if store.evaluation(key).failures.list():
                store.evaluation(key).failures.request_retry()


def _lines(found: list[dict[str, Any]]) -> list[str]:
    cells = [
        [str(item["run"]), shown(item["step"]), item["class"], count(item["attempts"]), _label(item)] for item in found
    ]
    lines = align(_HEADS, cells)
    for failure in found:
        text = [f"  {line}".rstrip() for line in failure["message"].strip().split("\n")]
        lines += ["", f"{_label(failure)}: {failure['class']}", *text, f"  next: {_next(failure['class'])}"]
    return lines


def _label(failure: Plain) -> str:
    """Return the path, with the variant behind it unless that is the raw weights: an address that is taken back."""
    return escaped(str(failure["path"])) + ("" if failure["variant"] in (None, RAW) else f":{failure['variant']}")


def _next(kind: str) -> str:
    """Return what to do next; kinds that no run tries again by itself say how it is asked to."""
    advice, retry = checkpoint_error(kind).advice, checkpoint_error(kind).retry
    return advice if retry or "--retry" in advice else f"{advice}; then: milepost failures --retry"
