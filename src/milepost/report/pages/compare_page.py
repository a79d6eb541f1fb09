"""Two checkpoints side by side: the paired difference, how the rows fell, and where they flipped."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from milepost._internal.text import natural
from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.report.addresses import Labels
from milepost.report.compare import compare_two
from milepost.report.figures._request import FigureRequest
from milepost.report.figures.compare import ComparisonFigure
from milepost.report.figures.flips import Flips
from milepost.report.pages.blocks import Block, Drawing, Form, Heading, Paragraph
from milepost.report.table import Plain, failure_of
from milepost.store.listing import Listing
from milepost.store.store import Store

_TOO_FEW = "Two checkpoints can be compared once they are evaluated: `milepost run EVAL.py CKPTS` evaluates more."
_MOST = 400
"""Most checkpoints that a list to choose from holds; an address may be typed all the same."""


@dataclass(frozen=True, slots=True)
class CompareAsked:
    """What the address of the page names: two addresses, a metric, a data set, a slice."""

    a: str | None = None
    b: str | None = None
    metric: str = "top1"
    data: str | None = None
    part: str = "all"


def compare_blocks(
    store: Store, listing: Listing, checkpoints: Sequence[Plain], asked: CompareAsked, labels: Labels
) -> Iterator[Block]:
    """Yield what chooses the two, and, where they are named, the comparison; what is amiss is a paragraph."""
    yield Heading("Compare two checkpoints", 1)
    known = [labels.of(row) for row in checkpoints if row["digest"] and not failure_of(row)][:_MOST]
    files = [file for evaluated in listing.evaluations.values() for file in evaluated.results.values()]
    metrics = sorted({held.metric for file in files for held in file.held(slices=False)}, key=natural)
    data = sorted({file.data for file in files}, key=natural)
    data_name = asked.data or next(iter(data), None)
    fields = [("a", "A", asked.a or "", known), ("b", "B", asked.b or "", known)]
    fields += [("metric", "metric", asked.metric, metrics), ("data", "data", data_name or "", data)]
    yield Form("compare", [(name, label, printable(value), _clean(held)) for name, label, value, held in fields])
    if not asked.a or not asked.b:
        words = "Name two checkpoints: by step, run:step, name or digest." if len(known) > 1 else _TOO_FEW
        yield Paragraph(words, "faint")
        return
    try:
        found = compare_two(store, asked.a, asked.b, asked.metric, data_name, asked.part)
    except UsageError as error:
        yield from (Paragraph(printable(line), "bad") for line in str(error).splitlines())
        return
    yield Drawing(ComparisonFigure(found).chart())
    with suppress(UsageError):  # rows without labels
        request = FigureRequest(asked.metric, data_name, part=asked.part, addresses=(asked.a, asked.b))
        yield Drawing(Flips.of(store, request).chart())


def _clean(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(printable, names))
