"""What failed: the kind, what was found, and what to do about it."""

from collections.abc import Iterator, Sequence

from milepost.core.escaping import escaped, printable
from milepost.errors import checkpoint_error
from milepost.report._numbers import count
from milepost.report.pages.blocks import Block, Facts, Heading
from milepost.report.table import Plain, failure_of


def failures_blocks(checkpoints: Sequence[Plain], level: int = 2) -> Iterator[Block]:
    """Yield the blocks on the checkpoints that failed; none where none did."""
    failed = [(row, found) for row in checkpoints if (found := failure_of(row)) is not None]
    if not failed:
        return
    yield Heading("Failures", level, anchor="failures")
    for row, (kind, message) in failed:
        yield Heading(escaped(str(row["path"])), level + 1)
        step = [] if row["step"] is None else [("step", count(row["step"]))]
        lines = [("found" if place == 0 else "", line) for place, line in enumerate(printable(message).splitlines())]
        about = [("run", escaped(str(row["run"]))), *step, ("kind", kind), *lines]
        yield Facts([*about, ("what to do", checkpoint_error(kind).advice)])
