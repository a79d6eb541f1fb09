"""The default engine: evaluators (one, or as many as asked for) and a reader, each a process on this machine."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import ClassVar

from milepost.core.types import Inspection, Job
from milepost.engines._process.confined_reader import ConfinedReader, readable_of
from milepost.engines._process.pool import Pool, workers_of
from milepost.engines._process.remote import RemoteEvaluator, timeout_of
from milepost.engines._roles import address
from milepost.engines._session import RoleSession
from milepost.engines._spool import Spool
from milepost.errors import UsageError
from milepost.sandbox.confine import Measure

READER = "milepost.checkpoints.reader"
"""The module that is the reader's process."""


class Local:
    """Evaluates in a spawned process, so that a crash of the model is a row and the run goes on.

    >>> Local().open(Job(file=None, attribute="evaluation"))
    Traceback (most recent call last):
        ...
    milepost.errors.UsageError: engine="local" imports the evaluation from its file, ... or use engine="inprocess"
    """

    name: ClassVar[str] = "local"

    def open(self, job: Job) -> RoleSession:
        """Start the processes: the reader can be asked while the evaluation is opened, the evaluator waits for it.

        Raises `UsageError` for an evaluation without a file.  For a file that cannot be used the first question to the
        evaluator raises `EvaluationFileError`.
        """
        if job.file is None:
            raise UsageError(
                'engine="local" imports the evaluation from its file, but this one was made in a prompt or notebook: '
                'put it into a file, or use engine="inprocess"'
            )
        module, _, _ = (address(job, "reader") or READER).partition(":")
        stack: ExitStack[None] = ExitStack()
        with stack:
            spool = stack.enter_context(closing(Spool()))
            reader = ConfinedReader(module, timeout_of(job), str(spool.path), readable_of(job))
            stack.enter_context(closing(reader))
            workers = workers_of(job)
            evaluator = stack.enter_context(closing(RemoteEvaluator(job) if workers == 1 else Pool(job, workers)))
            return RoleSession(reader, evaluator, spool, stack.pop_all())


def inspect(path: str, companions: Sequence[str] = ()) -> tuple[Inspection, list[Measure]]:
    """Have a confined reader look at one checkpoint; return its files, its table, and the measures of the sandbox.

    `companions` are the other files that the checkpoint has beside the one at `path`.

    Raises as `checkpoints.reader.Reader.inspect` does, and `Crashed` where the process died.
    """
    with ExitStack() as stack:
        spool = stack.enter_context(closing(Spool()))
        reader = stack.enter_context(closing(ConfinedReader(READER, None, str(spool.path), [path, *companions])))
        return reader.inspect(path), reader.sandbox()
