"""The reader in a process that confines itself: it may open the places that its driver names, and no others.

The job's option `readable` names them: the checkpoints of the request, and the store's folder of pins.  A path beyond
them is added when a session is asked about it, which costs the start of another process.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from milepost._internal.bounded import gone
from milepost._internal.budget import answer_bytes, answer_seconds
from milepost._internal.plain_errors import raised
from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import CheckpointFiles, Inspection, Job, Json, Table
from milepost.engines._failures import check_whole
from milepost.engines._process.allowed_paths import Places, check_found, check_room, check_table
from milepost.engines._process.child import Child, Unresponsive
from milepost.engines._process.parent_death import CONFINED
from milepost.errors import Crashed, Outside, TimedOut, UsageError
from milepost.sandbox import limits
from milepost.sandbox.confine import Measure

T = TypeVar("T")

_LONGEST_ANSWER = 1 << 28
_LONGEST_REPORT = 1 << 16
_MOST_FILES = 10_000
_SLACK = 1 << 20  # facts, notes
_VALUES_AT_LEAST, _BYTES_PER_VALUE = 200_000, 6
"""A table has one value, or container, in twelve bytes of its JSON or more."""


def readable_of(job: Job) -> list[str]:
    paths = job.options.get("readable", [])
    if not isinstance(paths, list) or not all(isinstance(item, str) for item in paths):
        raise UsageError(f"option 'readable': expected a list of paths, found {paths!r}")
    return paths


class ConfinedReader:
    """A reader under the sandbox, one JSON object a line; started again, when next needed, after it died.

    A new place, or another file under an old name, starts another one too.
    """

    def __init__(self, module: str, timeout: float | None, spool: str, named: Sequence[str] = ()) -> None:
        """Take the spool, where alone it may write; start the process where its places are `named` already.

        `timeout` is how many seconds an answer may take; None waits while the processor time that the process takes for
        a checkpoint is below what one of its size can need.
        """
        self._module = module
        self._timeout = timeout
        self._number = 0
        self._places = Places(spool, named)
        self._measures: list[Measure] | None = None
        self._child = self._spawn() if named else None

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        """Return the checkpoints under some paths; asked once more where the process died, as for a `table`."""
        self._allow(paths)
        arguments: dict[str, Json] = {"paths": list(paths), "match": match}
        try:
            checkpoints = self._ask("discover", list[CheckpointFiles], arguments)
        except Crashed:
            checkpoints = self._ask("discover", list[CheckpointFiles], arguments)
        with self._distrusted():
            check_found(checkpoints, paths, self._places.named)
        return [_distinguished(files) for files in checkpoints]

    def table(self, files: CheckpointFiles, spool: str) -> Table:
        """Return the table of a checkpoint; asked once more where the process died: anything may kill it."""
        self._allow([files.path])
        try:
            return self._table(files, spool)
        except Crashed as error:
            check_whole(files, None, error)
            return self._table(files, spool)

    def inspect(self, path: str) -> Inspection:
        self._allow([path])
        try:
            return self._ask("inspect", Inspection, {"path": path}, _size_at(self._places.named))
        except Outside as error:
            raise gone(path) or error from error

    def sandbox(self) -> list[Measure]:
        with self._alive() as child:
            return self._report(child)

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _table(self, files: CheckpointFiles, spool: str) -> Table:
        """Ask once, with an empty file in `spool`: the reader can make none.  It stays if the table points at it."""
        descriptor, room = tempfile.mkstemp(prefix="tensors-", suffix=".raw", dir=spool)
        os.close(descriptor)
        used = False
        try:
            table = self._ask("table", Table, {"files": to_plain(files), "spool": room}, _size_of(files))
            with self._distrusted():
                check_table(table, files, room)
                used = check_room(table, room)
        finally:
            if not used:
                os.unlink(room)
        return table

    def _allow(self, paths: Sequence[str]) -> None:
        if self._places.need_within(paths):
            self.close()

    def _spawn(self) -> Child:
        child = Child("reader", "milepost.engines._process.parent_death", CONFINED, self._module)
        allowed = json.dumps({"read": self._places.named, "write": [self._places.spool]}).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; its exit is reported where its answer is read
            child.requests.write(b"%d\n%b" % (len(allowed), allowed))
        child.timeout = self._timeout
        self._measures = None
        return child

    def _ask(self, method: str, kind: type[T], arguments: dict[str, Json], size: int | None = None) -> T:
        """Ask a question; `size` is that of the checkpoint, where it is about one that is to be read whole."""
        with self._alive() as child:
            if any(measure.name == "limits" and measure.active for measure in self._report(child)):
                limits.allow(child.pid, size)
            child.allow_processor(None if size is None or self._timeout is not None else answer_seconds(size))
            self._number += 1
            request = {"id": self._number, "method": method, "arguments": arguments}
            with suppress(BrokenPipeError, ConnectionResetError):  # the same
                child.requests.write(json.dumps(request).encode() + b"\n")
            text = self._bounded_line(child, size)
            try:
                answer = json.loads(text)
                if answer["id"] == self._number and "error" not in answer:
                    return from_plain(kind, answer["result"])
                error = raised(answer["error"]) if answer["id"] == self._number else None
            except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
                error = None
            if error is None:
                raise Crashed(f"the reader process answered {text[:80]!r}, which is no answer, and was ended")
        raise error

    def _report(self, child: Child) -> list[Measure]:
        """Return what the process reports of its sandbox, first of all."""
        if self._measures is None:
            line = self._line(child, _LONGEST_REPORT)
            if not line.endswith(b"\n"):
                raise Crashed(child.exit_report())
            self._measures = [from_plain(Measure, item) for item in json.loads(line)["sandbox"]]
        return self._measures

    def _bounded_line(self, child: Child, size: int | None) -> bytes:
        """Return an answer that takes no more memory than one about a checkpoint of its size does."""
        most = _LONGEST_ANSWER if size is None else answer_bytes(size) + _SLACK
        text = self._line(child, most + 1)
        if len(text) > most:
            raise Crashed(
                f"the reader process answered more than {most:,} bytes, which no checkpoint needs, and was ended"
            )
        values = sum(map(text.count, (b",", b"[", b"{")))
        if values > _VALUES_AT_LEAST + len(text) // _BYTES_PER_VALUE:
            raise Crashed(f"the reader process answered {values:,} values in {len(text):,} bytes, and was ended")
        return text

    def _line(self, child: Child, most: int) -> bytes:
        text = child.replies.readline(most)
        if not text:
            raise Crashed(child.exit_report())
        return text

    @contextmanager
    def _alive(self) -> Iterator[Child]:
        """Lend the process; where it fails, or half an answer is left in the pipe, the next question gets another."""
        child = self._child = self._child or self._spawn()
        try:
            yield child
        except Unresponsive as error:
            self._child = None
            raise TimedOut(child.timeout_report()) from error
        except BaseException:
            child.kill()
            self._child = None
            raise

    @contextmanager
    def _distrusted(self) -> Iterator[None]:
        """End a reader whose answer cannot be what it was asked for."""
        try:
            yield
        except Crashed:
            self.close()
            raise


def _distinguished(files: CheckpointFiles) -> CheckpointFiles:
    """Return the row of a link that leads out, `vanished` where it leads to nothing.

    The reader cannot tell: its sandbox hides both alike.
    """
    error = gone(files.path) if files.failure is not None and files.failure[0] == Outside.kind else None
    return files if error is None else replace(files, failure=(error.kind, str(error)))


def _size_at(paths: Sequence[str]) -> int:
    """Return the bytes of files, and of those in folders, that are named; a folder of many counts in part."""
    size, count = 0, 0
    for path in paths:
        places = (
            [path] if os.path.isfile(path) else (os.path.join(at, one) for at, _, held in os.walk(path) for one in held)
        )
        for place in places:
            count += 1
            if count > _MOST_FILES:
                return size
            with suppress(OSError):
                size += os.path.getsize(place)
    return size


def _size_of(files: CheckpointFiles) -> int:
    """Return the bytes of a checkpoint's files as they are now; one that is gone has none."""
    size = 0
    for path in files.paths:
        with suppress(OSError):
            size += os.path.getsize(path)
    return size
