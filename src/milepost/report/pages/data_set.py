"""What a page shows of one data set: the best and what is tied with it, the curves, and every checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.report.best import best_of
from milepost.report.figures.curve import Curve
from milepost.report.pages.best_text import best_sentence
from milepost.report.pages.blocks import Block, Drawing, Paragraph
from milepost.report.pages.tables import checkpoints_grid
from milepost.report.table import Results, Row
from milepost.store.store import Store

_CURVES = 6
_WIDTH, _HEIGHT = 440, 290
"""Pixels of a curve: two stand side by side, and a phone shows one whole."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """The rows of one data set, and of what has none (failed, not evaluated).

    `best` and `tied` are digests of weights, by the first metric.
    """

    name: str
    results: Results
    best: str = ""
    tied: tuple[str, ...] = ()
    sentence: str = ""

    @classmethod
    def of(cls, store: Store, results: Results, name: str, run: str | None = None, part: str = "all") -> "DataSet":
        """Take the rows of a data set out of a table, and ask the store for the best of them."""
        rows = tuple(row for row in results.rows if row.data in (name, ""))
        metrics = tuple(metric for metric in results.metrics if any(metric in row.cells for row in rows))
        held = cls(name, Results(metrics, rows))
        if not metrics:
            return held
        try:
            found = best_of(store, metrics[0], name, run, part)
        except UsageError:  # nothing that can be compared
            return held
        best, *tied = (str(one["checkpoint"]["digest"]) for one in (found.best, *(one.record for one in found.tied)))
        return replace(held, best=best, tied=tuple(tied), sentence=best_sentence(found))

    def blocks(self, link: Callable[[Row], str]) -> Iterator[Block]:
        """Yield sentence, curves, table and footnotes; `link` gives the address of a row's own page."""
        if self.sentence:
            yield Paragraph(self.sentence, "strong")
        for place, metric in enumerate(self.results.metrics[:_CURVES]):
            with suppress(UsageError):  # several slices: the table has them
                best, tied = ("", ()) if place else (self.best, self.tied)
                curve = Curve.among(self.results, metric, self.name, best, tied)
                if any(len(one.step) > 1 for one in curve.series):
                    yield Drawing(replace(curve.chart(), width=_WIDTH, height=_HEIGHT))
                elif not place and curve.series:
                    yield Paragraph("a curve begins with the second checkpoint that has a step", "faint")
        if len(self.results.metrics) > _CURVES:
            yield Paragraph(f"curves of the first {_CURVES} of {len(self.results.metrics)} metrics", "faint")
        grid = checkpoints_grid(self.results, self.best, self.tied, link)
        yield replace(grid, caption=printable(f"every checkpoint on {self.name}"))
        for number, note in enumerate(self.results.footnotes, 1):
            yield Paragraph(f"[{number}] {note}", "faint")
