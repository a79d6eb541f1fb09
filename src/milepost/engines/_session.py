"""A session: what the driver asks of an open engine, the same whichever processes play the other roles."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from milepost.core.types import CheckpointFiles, Description, Identified, Inspection, Json, ScoreRequest, Table, Unit
from milepost.engines._failures import Outcome, failed, failure_of
from milepost.engines._roles import Confined, EvaluatorRole, ReaderRole
from milepost.engines._spool import Spool
from milepost.engines._tables import Tables
from milepost.errors import CheckpointError, UsageError
from milepost.sandbox.confine import lacking


class RoleSession(AbstractContextManager["RoleSession"]):
    """An open engine over a reader and an evaluator; `closing` ends both and removes the spool."""

    def __init__(self, reader: ReaderRole, evaluator: EvaluatorRole, spool: Spool, closing: ExitStack[None]) -> None:
        self._reader = reader
        self._evaluator = evaluator
        self._tables = Tables(reader, spool)
        self._closing = closing
        self._closed = False
        self._description: Description | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> Description:
        """Return what the evaluation is; it is asked once."""
        self._check_open()
        if self._description is None:
            self._description = self._evaluator.describe()
        return self._description

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        self._check_open()
        return self._reader.discover(paths, match)

    def inspect(self, path: str) -> Inspection:
        self._check_open()
        return self._reader.inspect(path)

    def table(self, files: CheckpointFiles) -> Table:
        self._check_open()
        return self._tables.get(files)

    def identify(self, files: CheckpointFiles, variants: Sequence[str]) -> list[Identified]:
        self._check_open()
        try:
            table = self._tables.get(files)
        except CheckpointError as error:
            return failed(variants, error)
        return self._evaluator.identify(files, table, variants)

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        self._check_open()
        return self._evaluator.score(request)

    def sandbox_warning(self) -> str | None:
        self._check_open()
        return lacking(self._reader.sandbox()) if isinstance(self._reader, Confined) else None

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
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

    def _unit(self, unit: Unit) -> Iterator[Outcome]:
        needed = {target.files for target in unit.targets}
        tables, readable = dict[str, Table](), []
        for target in unit.targets:
            try:
                tables[target.files.path] = self._tables.get(target.files, needed)
            except CheckpointError as error:
                yield target, failure_of(error)
            else:
                readable.append(target)
        if readable:
            yield from self._evaluator.evaluate(replace(unit, targets=tuple(readable)), tables)
