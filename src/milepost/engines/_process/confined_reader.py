"""The reader in a process that locks itself in: it may open the places that its driver was told of, and no others.

The job's option `readable` names them: the checkpoints of the request, and the store's folder of pins.  What a session
is asked for beyond them is added when it is asked for, which costs the start of another process.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from milepost._internal.serialization import from_plain
from milepost.core.types import Job, Json
from milepost.engines._process.allowed_paths import Places, check_found, check_table
from milepost.engines._process.child import Child, Silence
from milepost.engines._process.parent_death import CONFINED
from milepost.engines._process.remote import RemoteReader
from milepost.errors import Crashed, TimedOut, UsageError
from milepost.sandbox.confine import Measure

_LONGEST_REPORT = 1 << 16


def readable_of(job: Job) -> list[str]:
    """Return the places that a job names."""
    found = job.options.get("readable", [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise UsageError(f"the option 'readable' should be a list of paths; it is {found!r}")
    return found


class ConfinedReader(RemoteReader):
    """A reader under the sandbox; a new place, or another file under an old name, starts another one."""

    def __init__(self, module: str, timeout: float | None, spool: str, named: Sequence[str] = ()) -> None:
        """Take the spool, where alone it may write; start the process where its places are `named` already."""
        super().__init__(module, timeout)
        self._measures = list[Measure]()
        self._places = Places(spool, named)
        self._heard: Child | None = None
        if named:
            self._child = self._spawn()

    def discover(self, paths: list[str], match: str | None) -> list[dict[str, Json]]:
        """Return what lies under the paths, as plain `Found`."""
        self._fresh(started_too_early=self._places.need_within(paths))
        checkpoints = super().discover(paths, match)
        with self._trusted():
            check_found(checkpoints, paths, self._places.named)
        return checkpoints

    def table(self, found: dict[str, Json], spool: str) -> dict[str, Json]:
        """Return the table of a checkpoint as plain `Table`."""
        self._fresh(started_too_early=self._places.need_within([found["path"]]))
        table = super().table(found, spool)
        with self._trusted():
            check_table(table, found, spool)
        return table

    def inspect(self, path: str) -> dict[str, Json]:
        """Return what `milepost inspect` shows."""
        self._fresh(started_too_early=self._places.need_within([path]))
        return super().inspect(path)

    def sandbox(self) -> list[Measure]:
        """Return the measures of the sandbox as the process that reads reported them."""
        child = self._child = self._child or self._spawn()
        if child is not self._heard:
            try:
                self._hear(child)
            except Silence as error:
                self._child = None
                raise TimedOut(child.hung()) from error
        return self._measures

    def _fresh(self, *, started_too_early: bool) -> None:
        if started_too_early:
            self.close()

    def _spawn(self) -> Child:
        child = Child("reader", "milepost.engines._process.parent_death", CONFINED, self._module)
        told = json.dumps({"read": self._places.named, "write": [self._places.spool]}).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; reading its answer tells how
            child.requests.write(b"%d\n%b" % (len(told), told))
            child.requests.flush()
        child.patience = self._timeout
        return child

    def _exchange(self, child: Child, line: bytes) -> dict[str, Any]:
        if child is not self._heard:
            self._hear(child)
        return super()._exchange(child, line)

    def _hear(self, child: Child) -> None:
        text = child.replies.readline(_LONGEST_REPORT)
        if not text:
            self._child = None
            raise Crashed(child.obituary())
        self._measures = [from_plain(Measure, item) for item in json.loads(text)["sandbox"]]
        self._heard = child

    @contextmanager
    def _trusted(self) -> Iterator[None]:
        """End a reader whose answer cannot be what it was asked for."""
        try:
            yield
        except Crashed:
            self.close()
            raise
