"""The two roles that a session plays against, however far away they are."""

from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import Protocol, runtime_checkable

from milepost.core.types import (
    CheckpointFiles,
    Description,
    Identified,
    Inspection,
    Job,
    Json,
    ScoreRequest,
    Table,
    Unit,
)
from milepost.engines._failures import Outcome, failed, rows, typed
from milepost.errors import CheckpointError, EvaluationFileError, ModelFailed, UsageError
from milepost.sandbox.confine import Measure


class ReaderRole(Protocol):
    """Looks into checkpoints."""

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]: ...

    def table(self, files: CheckpointFiles, spool: str) -> Table:
        """Return the table of a checkpoint; compressed tensors are put into the spool."""

    def inspect(self, path: str) -> Inspection:
        """Return the files and the table of the one checkpoint at a path."""


@runtime_checkable
class Confined(Protocol):
    """A reader in a process of its own, under a sandbox."""

    def sandbox(self) -> list[Measure]: ...


class EvaluatorRole(Protocol):
    """Holds the model and the data."""

    def describe(self) -> Description: ...

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Publish and return the records that are missing."""

    def identify(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Return digest or failure of each variant of a checkpoint."""

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the unit's parts as they are ready."""


class Guarded:
    """An evaluator in this process; whatever the user's code raises is a `Failure`, or an error that ends the run.

    What their file raises by itself is an `EvaluationFileError`; what the model raises is the failure of a checkpoint.
    """

    def __init__(self, job: Job, *, mapped: bool = False) -> None:
        """Open a job's evaluation; files stay `mapped` where this process may die of one that is cut short."""
        self._file = job.file
        with typed("opening it", EvaluationFileError, job.file):
            self._evaluator = _opened(job, mapped=mapped)

    def describe(self) -> Description:
        with typed("describing it", EvaluationFileError, self._file):
            return self._evaluator.describe()

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        with typed("computing its metrics", EvaluationFileError, self._file):
            return self._evaluator.score(request)

    def identify(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        try:
            with typed(f"loading {files.path}", ModelFailed):
                return self._evaluator.identify(files, table, variants)
        except CheckpointError as error:
            return failed(variants, error)

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        yield from rows(self._outcomes(unit, tables), unit)

    def _outcomes(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        with typed(f"evaluating rows {unit.start} to {unit.stop} of {unit.data!r}", ModelFailed):
            yield from self._evaluator.evaluate(unit, tables)


def _opened(job: Job, *, mapped: bool) -> EvaluatorRole:
    if named := address(job, "evaluator"):
        made: EvaluatorRole = resolve_name(named)(job)
        return made
    from milepost.evaluator import open_evaluator  # noqa: PLC0415 - a higher layer, and the user's frameworks with it

    return open_evaluator(job, mapped=mapped)


def address(job: Job, role: str) -> str | None:
    """Return where another object for a role is ("reader", "evaluator"), if the job's options name one."""
    named = job.options.get(role)
    if named is None or (isinstance(named, str) and ":" in named):
        return named
    raise UsageError(f"option {role!r}: expected an address such as 'package.module:Class', found {named!r}")
