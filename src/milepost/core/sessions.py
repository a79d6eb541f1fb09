"""The seam between who asks for evaluations and what runs them: an engine, and its open session."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from milepost.core.protocols import Named
from milepost.core.types import (
    CheckpointFiles,
    Description,
    Failure,
    Identified,
    Inspection,
    Job,
    Json,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)


class Engine(Named, Protocol):
    """Runs evaluators: in this process, in another, on a cluster.  What crosses is plain data."""

    def open(self, job: Job) -> "Session":
        """Start what is needed; what is wrong with the evaluation's file is raised here, or by the first question."""


class Session(Protocol):
    """An open engine."""

    def describe(self) -> Description:
        """Return what the evaluation is."""

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        """Return the checkpoints under the paths; raise `UsageError` for a path that is absent."""

    def inspect(self, path: str) -> Inspection:
        """Return the files and the table of the one checkpoint at a path."""

    def table(self, files: CheckpointFiles) -> Table:
        """Return the table of a checkpoint's tensors; raise the `CheckpointError` of one that cannot be read."""

    def identify(self, files: CheckpointFiles, variants: Sequence[str]) -> list[Identified]:
        """Return weights digest or failure of each variant; one that cannot be read or restored raises nothing."""

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Compute and publish the records that are missing; return these."""

    def sandbox_warning(self) -> str | None:
        """Return what the reader's sandbox lacks, in a sentence; None where it lacks nothing, or no process reads."""

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Target, Part | Failure]]:
        """Evaluate units; yields parts as they are ready, any order, at least once."""

    def close(self) -> None:
        """End every process that the session started."""
