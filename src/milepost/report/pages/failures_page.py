"""What failed: the kind, what was found, and what to do about it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from milepost._internal.text import counted
from milepost.core.escaping import escaped, printable
from milepost.errors import checkpoint_error
from milepost.report._numbers import count
from milepost.report.addresses import RAW
from milepost.report.pages.blocks import Block, Facts, Heading, Paragraph
from milepost.report.table import Plain, failure_of


def failures_blocks(checkpoints: Sequence[Plain], level: int = 2) -> Iterator[Block]:
    """Yield the blocks on the checkpoints that failed; none where none did."""
    failed = [(row, found) for row in checkpoints if (found := failure_of(row)) is not None]
    if not failed:
        return
    yield Heading("Failures", level, anchor="failures")
    kinds = Counter(kind for _, (kind, _) in failed)
    yield Paragraph(
        f"{count(len(failed))} failed: " + ", ".join(f"{count(n)} {kind}" for kind, n in kinds.most_common())
    )
    for row, (kind, message) in failed:
        variant = "" if row.get("variant") in (None, RAW) else f":{row['variant']}"
        yield Heading(escaped(str(row["path"])) + variant, level + 1)
        step = [] if row["step"] is None else [("step", count(row["step"]))]
        lines = [("found" if place == 0 else "", line) for place, line in enumerate(printable(message).splitlines())]
        about = [("run", escaped(str(row["run"]))), *step, ("kind", kind), *lines]
        again = "`milepost failures --retry` has it tried again by the next run or watch"
        tried = [("tried", f"{counted(int(row['attempts']), 'time')}; {again}")] if row.get("attempts") else []
        yield Facts([*about, ("what to do", checkpoint_error(kind).advice), *tried])
