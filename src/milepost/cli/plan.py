"""List what `run` would do with each checkpoint, and why; nothing is evaluated."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.cli._arguments import add_request
from milepost.cli._output import json_lines
from milepost.cli._streams import to_stderr, to_stdout
from milepost.cli.run import request_of
from milepost.report._align import align, first_line, shown
from milepost.report._numbers import count, duration
from milepost.report._printed import printed
from milepost.report.progress import headline

_HEADS = ("action", "run", "step", "name", "variant", "data", "rows", "time", "reason")
_ACTIONS = ("evaluate", "check", "score", "skip", "failed")


def add(parser: argparse.ArgumentParser) -> None:
    add_request(parser)


def execute(args: argparse.Namespace) -> int:
    from milepost.run.run import plan  # noqa: PLC0415 - the help needs no driver

    request = request_of(args)
    if args.json:
        with json_lines() as out:
            rows = plan(request, _warn)
            out.write(*({"event": "plan", **row} for row in rows))
            out.write({"event": "done", **{action: _count(rows, action) for action in _ACTIONS}})
        return 0
    rows = plan(request, _warn)
    table = align(_HEADS, [_cells(printed(row)) for row in rows]) if rows else []
    to_stdout([*table, summary(rows)])
    return 0


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the last line: how many of what, and how long it would take.

    >>> summary([{"action": "evaluate", "seconds": 2.0, "rows": 10}, {"action": "skip", "seconds": None, "rows": 0}])
    '1 to evaluate (10 rows, about 2.0 s), 0 to score, 1 to skip, 0 failed'
    >>> summary([{"action": "check", "seconds": 2.0, "rows": 10}])[:73]
    '0 to evaluate, 1 that a code check decides (at most 10 rows, about 2.0 s)'
    """
    parts = [f"{_count(rows, 'evaluate')} to evaluate{_work(rows, 'evaluate')}"]
    if checked := _count(rows, "check"):
        parts.append(f"{checked} that a code check decides{_work(rows, 'check', 'at most ')}")
    parts += [f"{_count(rows, action)} to {action}" for action in ("score", "skip")]
    return f"{', '.join(parts)}, {_count(rows, 'failed')} failed"


def _work(rows: Sequence[Mapping[str, Any]], action: str, most: str = "") -> str:
    """Return rows and time of an action in brackets; "" where there is none."""
    todo = [row for row in rows if row["action"] == action]
    seconds = [row.get("seconds") for row in todo]
    known = [value for value in seconds if value is not None]
    time = f"about {duration(sum(known))}" if len(known) == len(seconds) else "time unknown"
    return f" ({most}{count(sum(row['rows'] for row in todo))} rows, {time})" if todo else ""


def _cells(row: Mapping[str, Any]) -> list[str]:
    todo = row["action"] in ("evaluate", "check")
    texts = [shown(row.get(key)) for key in ("action", "run", "step", "name", "variant", "data")]
    timed = [count(row["rows"]), duration(row.get("seconds"))] if todo else ["-", "-"]
    return [*texts, *timed, first_line(row.get("reason"))]


def _count(rows: Sequence[Mapping[str, Any]], action: str) -> int:
    return Counter(row["action"] for row in rows)[action]


def _warn(event: Mapping[str, Any]) -> None:
    if (line := headline(printed(event))) and event["event"] != "failure":  # a failure is a row of the plan
        to_stderr(line)
