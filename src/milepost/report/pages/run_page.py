"""The page of a run: its curves on a data set, the best with what is tied, and every checkpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.report._numbers import count
from milepost.report.pages.blocks import Block, Choice, Heading, PageCell, Paragraph
from milepost.report.pages.data_set import DataSet
from milepost.report.pages.links import Links
from milepost.report.table import Plain, Row, build, failure_of
from milepost.store.listing import Listing
from milepost.store.store import Store


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
    yield from DataSet.of(store, results, data, asked.run, asked.part).blocks(lambda row: _link(row, links))


def _link(row: Row, links: Links) -> str:
    return links.checkpoint({"digest": row.digest, "variant": row.variant}) if row.digest else links.failures()


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
