"""The evaluator's process: `python -m milepost.engines._process.worker`, spoken to by frames on its standard streams.

Requests are `open`, then any number of `describe`, `score`, `identify` and `evaluate`.  The answer is a frame of kind
`done` with a `value`, or of kind `error`; an `evaluate` sends frames of kind `part` and `failure` before it, and
whatever takes long frames of kind `beat`: signs of life.
"""

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from milepost._internal import heartbeat
from milepost._internal.plain_errors import plain_error
from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import CheckpointFiles, Job, Json, Part, ScoreRequest, Table, Unit
from milepost.engines._process import wire
from milepost.engines._process.parent_death import Inbox, die_with_parent, dump_stack_on_signal
from milepost.engines._roles import Guarded
from milepost.errors import MilepostError

Message = tuple[dict[str, Json], list[wire.Buffer]]

_BEAT_SECONDS = 1.0
_BEATS = 5
"""Signs of life within a timeout, at least."""


class _Worker:
    """Answers requests, one after the other."""

    def __init__(self) -> None:
        self._evaluator: Guarded | None = None

    def answers(self, head: dict[str, Any]) -> Iterator[Message]:
        """Yield the frames that answer a request; whatever goes wrong is the last of them."""
        try:
            if head["method"] == "evaluate":
                yield from self._evaluate(head)
                yield {"kind": "done", "value": None}, []
            else:
                yield {"kind": "done", "value": self._value(head)}, []
        except MilepostError as error:
            yield {"kind": "error", "error": plain_error(error)}, []

    def _value(self, head: dict[str, Any]) -> Json:
        method = head["method"]
        if method == "open":
            self._evaluator = Guarded(Job(**head["job"]), mapped=True)  # its death is a failed row
            return None
        if method == "describe":
            return to_plain(self._open().describe())
        if method == "score":
            return self._open().score(from_plain(ScoreRequest, head["request"]))
        if method == "identify":
            files, table = from_plain(CheckpointFiles, head["files"]), from_plain(Table, head["table"])
            return to_plain(self._open().identify(files, table, head["variants"]))
        raise MilepostError(f"unknown method {method!r}: driver and evaluator are of different versions")

    def _evaluate(self, head: dict[str, Any]) -> Iterator[Message]:
        unit = from_plain(Unit, head["unit"])
        tables = {path: from_plain(Table, table) for path, table in head["tables"].items()}
        for target, outcome in self._open().evaluate(unit, tables):
            if isinstance(outcome, Part):
                part, blobs = wire.part_frame(outcome)
                yield {"kind": "part", "target": to_plain(target), "part": part}, blobs
            else:
                yield {"kind": "failure", "target": to_plain(target), "failure": to_plain(outcome)}, []

    def _open(self) -> Guarded:
        if self._evaluator is None:
            raise MilepostError("no evaluation is open in this process")
        return self._evaluator


class _Heart:
    """Sends a sign of life when the evaluation goes on, but not more often than is of use."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._pause = _BEAT_SECONDS
        self._last = 0.0

    def within(self, timeout: float | None) -> None:
        if timeout is not None:
            self._pause = min(_BEAT_SECONDS, timeout / _BEATS)

    def beat(self) -> None:
        """Send a sign of life; called by the thread that sends everything else."""
        now = time.monotonic()
        if now - self._last >= self._pause:
            self._last = now
            wire.send(self._replies, {"kind": "beat"})


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol off descriptors 0 and 1, so that a print or input of the user's cannot touch it."""
    requests = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
    replies = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        # What was printed last has to be out when the process dies.
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return requests, replies


def main() -> None:
    die_with_parent()
    dump_stack_on_signal()
    requests, replies = _private_streams()
    heart = _Heart(replies)
    heartbeat.listen(heart.beat)
    inbox: Inbox[wire.Frame] = Inbox(partial(wire.receive, requests.readinto))  # type: ignore[attr-defined]
    worker = _Worker()
    while (frame := inbox.take()) is not None:
        if frame[0]["method"] == "open":
            heart.within(frame[0]["job"]["options"].get("timeout"))
        for head, blobs in worker.answers(frame[0]):
            wire.send(replies, head, blobs)


if __name__ == "__main__":
    main()
