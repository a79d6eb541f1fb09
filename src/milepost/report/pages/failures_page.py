"""What failed: the kind, what was found, and what to do about it."""

from collections.abc import Iterator, Sequence

from milepost.core.escaping import escaped, printable
from milepost.errors import checkpoint_error
from milepost.report._numbers import count
from milepost.report.pages.blocks import Block, Grid, Heading, PageCell
from milepost.report.table import Plain, failure_of


def failures_blocks(checkpoints: Sequence[Plain]) -> Iterator[Block]:
    """Yield the blocks on the checkpoints that failed; none where none did."""
    failed = [(row, found) for row in checkpoints if (found := failure_of(row)) is not None]
    if not failed:
        return
    yield Heading("Failures", anchor="failures")
    rows = [
        [
            PageCell(printable(str(row["run"]))),
            PageCell("-" if row["step"] is None else count(row["step"])),
            PageCell(escaped(str(row["path"]))),
            PageCell(kind, tone="bad"),
            PageCell(printable(message)),
            PageCell(checkpoint_error(kind).advice),
        ]
        for row, (kind, message) in failed
    ]
    yield Grid(["run", "step", "path", "kind", "what was found", "what to do"], rows, [False, True, *[False] * 4])
