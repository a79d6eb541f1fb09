"""The page of a run: its curves on a data set, the best with what is tied, and every checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.report._numbers import count
from milepost.report.best import Best, best_of
from milepost.report.figures.curve import Curve
from milepost.report.pages.best_text import best_sentence
from milepost.report.pages.blocks import Block, Choice, Drawing, Heading, PageCell, Paragraph
from milepost.report.pages.links import Links
from milepost.report.pages.tables import checkpoints_grid
from milepost.report.table import Plain, Results, Row, build, failure_of
from milepost.store.listing import Listing
from milepost.store.store import Store

_CURVES = 6
_WIDTH, _HEIGHT = 540, 330


@dataclass(frozen=True, slots=True)
class RunAsked:
    """What the address of a run's page names: the run, a data set, a slice."""

    run: str
    data: str | None = None
    part: str = "all"


def run_blocks(
    store: Store, listing: Listing, checkpoints: Sequence[Plain], asked: RunAsked, links: Links
) -> Iterator[Block]:
    """Yield the blocks on a run; a UsageError where the store has no such run, data set or slice."""
    held = [row for row in checkpoints if str(row["run"]) == asked.run]
    if not held:
        raise UsageError(f"no run {asked.run!r} in this store")
    results = build(listing.records(run=asked.run, slices=asked.part), held)
    names = list(dict.fromkeys(row.data for row in results.rows if row.data))
    data = asked.data if asked.data is not None else next(iter(names), "")
    if data and data not in names:
        raise UsageError(f"no values on {data!r} in this run; there are: {', '.join(names) or 'none'}")
    yield Heading(printable(asked.run), 1)
    failed = sum(failure_of(row) is not None for row in held)
    yield Paragraph(counted(len(held), "checkpoint") + (f", {count(failed)} failed" if failed else ""))
    yield from _choices(names, data, listing, asked, links)
    metrics = [name for name in results.metrics if any(_has(row, name, data) for row in results.rows)]
    best = _best(store, metrics, data, asked)
    digest = str(best.best["checkpoint"]["digest"]) if best else ""
    tied = {str(rival.record["checkpoint"]["digest"]) for rival in best.tied} if best else set[str]()
    if best is not None:
        yield Paragraph(best_sentence(best), "strong")
    for place, name in enumerate(metrics[:_CURVES]):
        with suppress(UsageError):  # several slices: the table has them
            curve = Curve.among(results, name, data, "" if place else digest, () if place else tied)
            yield Drawing(replace(curve.chart(), width=_WIDTH, height=_HEIGHT))
    rows = tuple(row for row in results.rows if row.data == data or not row.data)
    shown = Results(tuple(metrics), rows)
    yield replace(checkpoints_grid(shown, digest, tied, lambda row: _link(row, links)), caption="every checkpoint")
    yield from (Paragraph(f"[{place}] {note}", "faint") for place, note in enumerate(shown.footnotes, 1))


def _has(row: Row, metric: str, data: str) -> bool:
    return row.data == data and metric in row.cells


def _link(row: Row, links: Links) -> str:
    return links.checkpoint({"digest": row.digest, "variant": row.variant}) if row.digest else links.failures()


def _best(store: Store, metrics: Sequence[str], data: str, asked: RunAsked) -> Best | None:
    for metric in metrics[:1]:
        with suppress(UsageError):  # nothing that can be compared
            return best_of(store, metric, data, asked.run, asked.part)
    return None


def _choices(names: Sequence[str], data: str, listing: Listing, asked: RunAsked, links: Links) -> Iterator[Block]:
    """Yield links to the run's other data sets, and to slices."""
    if len(names) > 1:
        cells = [PageCell(printable(name), "" if name == data else links.run(asked.run, data=name)) for name in names]
        yield Choice("data", cells)
    slices = ["all", *dict.fromkeys(name.partition("=")[0] for name in listing.slices()), *listing.slices()][:60]
    if len(slices) > 1:
        cells = [
            PageCell(printable(name), "" if name == asked.part else links.run(asked.run, data=data, part=name))
            for name in dict.fromkeys(slices)
        ]
        yield Choice("rows", cells)
