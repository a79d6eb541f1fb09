"""A session: the driver's three calls, the same whichever processes play the other roles."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import CheckpointFiles, Json, Target, Unit
from milepost.engines._errors import failure_of
from milepost.engines._failures import check_whole, rows, share
from milepost.engines._roles import Confined, Evaluator, Outcome, Reader
from milepost.engines._spool import Spool
from milepost.engines._tables import Tables
from milepost.errors import CheckpointError, Crashed, UsageError


class RoleSession:
    """An open engine over a reader and an evaluator; `closing` ends both and removes the spool."""

    def __init__(self, reader: Reader, evaluator: Evaluator, spool: Spool, closing: ExitStack[None]) -> None:
        """Take over what was opened."""
        self._reader = reader
        self._evaluator = evaluator
        self._tables = Tables(reader, spool)
        self._closing = closing
        self._closed = False

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def call(self, method: str, argument: Json) -> Json:
        """Ask a plain question.

        - `discover` `{"paths": [...], "match": None}`: a list of plain `Found`
        - `table`, a plain `Found`: its plain `Table`
        - `inspect` `{"path": ...}`: what it holds
        - `describe` None: the evaluation's specification
        - `score`, the evaluator's own argument: the records that were missing
        - `identify` `{"found": plain Found, "variants": [...]}`: a row a variant, `{"variant", "digest", "failure",
          "step"}`; a checkpoint that cannot be read or restored is a row with a failure, never an error
        - `sandbox` None: the parts of the reader's sandbox, as plain `sandbox.Part`; none where there is no process
        """
        self._check_open()
        match method:
            case "discover":
                return self._reader.discover(list(argument["paths"]), argument.get("match"))
            case "table":
                return self._table(argument)
            case "inspect":
                return self._reader.inspect(str(argument["path"]))
            case "describe":
                return self._evaluator.describe()
            case "score":
                return self._evaluator.score(argument)
            case "identify":
                return self._identify(argument)
            case "sandbox":
                return self._reader.sandbox() if isinstance(self._reader, Confined) else []
        raise UsageError(
            f"a session is not asked for {method!r}: only discover, table, inspect, describe, score, identify, sandbox"
        )

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Evaluate units one after the other; a checkpoint that fails is a `Failure`, and the rest goes on."""
        for unit in units:
            self._check_open()
            yield from self._unit(unit)

    def close(self) -> None:
        """End every process that the session started and remove its spool; a second call does nothing."""
        self._closed = True
        self._closing.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed; open another")

    def _table(self, found: dict[str, Any]) -> Json:
        return to_plain(self._tables.get(from_plain(CheckpointFiles, found)))

    def _identify(self, argument: dict[str, Any]) -> list[dict[str, Json]]:
        found, variants = from_plain(CheckpointFiles, argument["found"]), list(argument["variants"])
        try:
            return self._identified(found, variants)
        except CheckpointError as error:
            failure = dataclasses.asdict(failure_of(error))
            return [
                {"variant": item, "digest": None, "failure": failure, "step": None, "step_source": None}
                for item in variants
            ]

    def _identified(self, found: CheckpointFiles, variants: list[str]) -> list[dict[str, Json]]:
        """Ask the evaluator; once more where a process died, since anything may have killed it the first time."""
        try:
            return self._evaluator.identify(found, self._tables.get(found), variants)
        except Crashed as error:
            check_whole(found, self._tables.known(found), error)
        return self._evaluator.identify(found, self._tables.get(found), variants)

    def _unit(self, unit: Unit) -> Iterator[Outcome]:
        needed = {target.files for target in unit.targets}
        tables, readable = {}, list[Target]()
        for target in unit.targets:
            try:
                tables[target.files.path] = self._tables.get(target.files, needed)
            except CheckpointError as error:
                yield target, failure_of(error)
            else:
                readable.append(target)
        if not readable:
            return
        yield from rows(self._evaluator.evaluate, share(unit, readable), tables)
