"""The two roles that a session plays against, however far away they are."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from milepost.core.types import (
    CheckpointFiles,
    Description,
    Failure,
    Identified,
    Job,
    Json,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)
from milepost.engines._errors import as_checkpoint_error, as_file_error
from milepost.errors import UsageError
from milepost.registry import resolve
from milepost.sandbox.confine import Measure

EVALUATOR = "milepost.evaluator:open_evaluator"
READER = "milepost.checkpoints.reader:Reader"
"""Where the roles are found; `Job.options` may name others as "evaluator" and "reader"."""

Outcome = tuple[Target, Part | Failure]


class Reader(Protocol):
    """Looks into checkpoints; what comes back is plain data."""

    def discover(self, paths: list[str], match: str | None) -> list[dict[str, Json]]:
        """Return what lies under the paths, as plain `Found`."""

    def table(self, found: dict[str, Json], spool: str) -> dict[str, Json]:
        """Return the table of a checkpoint as plain `Table`; compressed tensors are put into the spool."""

    def inspect(self, path: str) -> dict[str, Json]:
        """Return what `milepost inspect` shows."""


@runtime_checkable
class Confined(Protocol):
    """A reader in a process of its own, under a sandbox."""

    def sandbox(self) -> list[Measure]:
        """Return the measures of the sandbox."""


class Evaluator(Protocol):
    """Holds the model and the data."""

    def describe(self) -> Description:
        """Return what the evaluation is."""

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Publish and return the records that are missing."""

    def identify(self, found: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Return digest or failure of each variant of a checkpoint."""

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the unit's parts as they are ready."""


class Guarded:
    """An evaluator in this process whose every error is one of Milepost's.

    What the user's file raises while it is opened is an `EvaluationFileError`; what the model raises afterwards is a
    `CheckpointError` of the unit or checkpoint.
    """

    def __init__(self, job: Job) -> None:
        """Open the evaluator of a job."""
        self._file = job.file
        with as_file_error(job.file, "opening it"):
            self._evaluator: Evaluator = resolve(address(job, "evaluator", EVALUATOR))(job)

    def describe(self) -> Description:
        """Return what the evaluation is."""
        with as_file_error(self._file, "describing it"):
            return self._evaluator.describe()

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Publish and return the records that are missing."""
        with as_file_error(self._file, "computing its metrics"):
            return self._evaluator.score(request)

    def identify(self, found: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Return digest or failure of each variant of a checkpoint."""
        with as_checkpoint_error(f"loading {found.path}"):
            return self._evaluator.identify(found, table, variants)

    def evaluate(self, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
        """Yield the unit's parts as they are ready."""
        with as_checkpoint_error(f"evaluating rows {unit.start} to {unit.stop} of {unit.data!r}"):
            yield from self._evaluator.evaluate(unit, tables)

    def close(self) -> None:
        """Close the evaluator if it can be closed."""
        closing: Callable[[], None] | None = getattr(self._evaluator, "close", None)
        if closing is not None:
            closing()


def address(job: Job, role: str, default: str) -> str:
    """Return where a role's object is: the job's option of that name, or the default."""
    found = job.options.get(role, default)
    if not isinstance(found, str) or ":" not in found:
        raise UsageError(f"the option {role!r} should be an address such as {default!r}; it is {found!r}")
    return found
