"""From an exception to a `Failure`: on the evaluator's side (`_roles.Guarded`), and on the driver's."""

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from milepost.core.types import CheckpointFiles, Failure, Identified, Part, Table, Target, Unit
from milepost.errors import CheckpointError, Crashed, MilepostError, OutOfMemory, Torn

Outcome = tuple[Target, Part | Failure]

_TAIL = 8
"""Lines of a traceback that go into a message."""


def failure_of(error: CheckpointError) -> Failure:
    return Failure(error.kind, str(error))


def failed(variants: Sequence[str], error: CheckpointError) -> list[Identified]:
    """Return one error as the row of each variant of its checkpoint."""
    return [Identified(variant, failure=failure_of(error)) for variant in variants]


def rows(
    outcomes: Iterable[Outcome], unit: Unit, own: Callable[[Target, CheckpointError], Failure] | None = None
) -> Iterator[Outcome]:
    """Yield the outcomes of a unit; an error of the whole unit becomes a failure of each target that lacks rows.

    `own` words the failure of one target; without it, all have the error's.
    """
    size = unit.stop - unit.start
    lacking = {(target.files, target.variant): size for target in unit.targets}
    try:
        for target, outcome in outcomes:
            key = target.files, target.variant
            done = outcome.stop - outcome.start if isinstance(outcome, Part) else size
            lacking[key] = lacking.get(key, 0) - done
            yield target, outcome
    except CheckpointError as error:
        for target in unit.targets:
            if lacking[target.files, target.variant] > 0:
                yield target, own(target, error) if own else failure_of(error)


@contextmanager
def typed(doing: str, kind: type[MilepostError], file: str | None = "") -> Iterator[None]:
    """Turn whatever the user's code raises into an error of a kind; Milepost's own errors pass.

    Of a checkpoint's errors, a lack of memory and a call of `sys.exit` have kinds of their own.  `file` is named first
    where the error is that of the evaluation file; None is one that has no file.
    """
    try:
        yield
    except MilepostError:
        raise
    except (Exception, SystemExit) as error:
        if issubclass(kind, CheckpointError) and isinstance(error, SystemExit):
            raise Crashed(f"code of the evaluation called sys.exit({error.code!r}) while {doing}") from error
        if issubclass(kind, CheckpointError) and isinstance(error, MemoryError):
            kind = OutOfMemory
        subject = "" if file == "" else f"{file or 'the evaluation'} cannot be used: "
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
        raise kind("\n".join([f"{subject}an error while {doing}", *lines[-_TAIL:]])) from error


def check_whole(files: CheckpointFiles, table: Table | None, error: Crashed) -> None:
    """Raise `Torn` where a file was cut off since it was read: a process that had it mapped was killed by that."""
    ends = {files.paths[0]: files.identity.size} if len(files.paths) == 1 and table is None else dict[str, int]()
    for tensor in table.tensors if table is not None else ():
        where = tensor.where
        ends[where.file] = max(ends.get(where.file, 0), where.offset + where.nbytes)
    for file, end in ends.items():
        try:
            size = os.stat(file).st_size
        except OSError:
            continue  # A file that was deleted is still mapped whole.
        if size < end:
            raise Torn(
                f"{file}: cut off while it was read: {end:,} bytes of it were needed, {size:,} are left; the next run "
                f"tries it again ({str(error).splitlines()[0]})"
            ) from error
