"""What becomes of a unit whose evaluator ends before it: each checkpoint has its rows, or a failure of its own."""

import dataclasses
import os
from collections.abc import Callable, Iterator

from milepost.core.types import CheckpointFiles, Failure, Part, Table, Target, Unit
from milepost.engines._errors import failure_of
from milepost.engines._roles import Outcome
from milepost.errors import CheckpointError, Crashed, Torn

Evaluate = Callable[[Unit, dict[str, Table]], Iterator[Outcome]]


def rows(evaluate: Evaluate, unit: Unit, tables: dict[str, Table]) -> Iterator[Outcome]:
    """Yield what an evaluator yields; an error of the whole unit is a failure of each target that lacks rows."""
    size = unit.stop - unit.start
    lacking = dict.fromkeys(map(_key, unit.targets), size)
    try:
        for target, outcome in evaluate(unit, tables):
            done = outcome.stop - outcome.start if isinstance(outcome, Part) else size
            lacking[_key(target)] = lacking.get(_key(target), 0) - done
            yield target, outcome
    except CheckpointError as error:
        # One whose rows all came, or which failed already, has its row.
        for target in unit.targets:
            if lacking[_key(target)] > 0:
                yield target, _own_failure(target.files, tables[target.files.path], error)


def share(unit: Unit, targets: list[Target]) -> Unit:
    """Return the same range for some of a unit's targets."""
    return dataclasses.replace(unit, targets=tuple(targets))


def check_whole(found: CheckpointFiles, table: Table | None, error: Crashed) -> None:
    """Raise `Torn` where a file was cut off since it was read: whoever had it mapped died of that."""
    ends = {found.paths[0]: found.identity.size} if len(found.paths) == 1 and table is None else dict[str, int]()
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


def _key(target: Target) -> tuple[CheckpointFiles, str]:
    return target.files, target.variant


def _own_failure(found: CheckpointFiles, table: Table, error: CheckpointError) -> Failure:
    """Return the row of one checkpoint where the process of several died."""
    if isinstance(error, Crashed):
        try:
            check_whole(found, table, error)
        except Torn as torn:
            return failure_of(torn)
    return failure_of(error)
