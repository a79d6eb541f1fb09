"""The engine that needs nothing: driver, evaluator and reader are this process."""

from contextlib import ExitStack, closing
from pkgutil import resolve_name
from typing import ClassVar

from milepost.core.types import Job
from milepost.engines._roles import Guarded, ReaderRole, address
from milepost.engines._session import RoleSession
from milepost.engines._spool import Spool


class InProcess:
    """Evaluates in this process, for notebooks, tests and live objects: a crash of the model is one of the driver."""

    name: ClassVar[str] = "inprocess"

    def open(self, job: Job) -> RoleSession:
        """Open the job's evaluation, `job.live` where there is one; raises `EvaluationFileError` if it fails."""
        stack: ExitStack[None] = ExitStack()
        with stack:
            spool = stack.enter_context(closing(Spool()))
            return RoleSession(_reader(job), Guarded(job), spool, stack.pop_all())


def _reader(job: Job) -> ReaderRole:
    if named := address(job, "reader"):
        made: ReaderRole = resolve_name(named)()
        return made
    from milepost.checkpoints.reader import Reader  # noqa: PLC0415 - of the same layer; only this engine reads itself

    return Reader()
