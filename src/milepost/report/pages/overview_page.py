"""The overview: each run of each store with its curve in small, its best, its newest, and what failed."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.errors import MilepostError
from milepost.report._numbers import count, decimals, number
from milepost.report._ranking import ranking_of
from milepost.report.addresses import RAW
from milepost.report.pages.blocks import Block, Grid, Heading, PageCell, Paragraph
from milepost.report.pages.links import Links
from milepost.report.table import Plain, Results, Row, build, failure_of
from milepost.store.code_standing import is_earlier
from milepost.store.listing import Listing
from milepost.store.records import ALL
from milepost.store.store import Store

_EMPTY = (
    "This store is empty. Evaluate some checkpoints with `milepost run EVAL.py CKPTS`, "
    "and this page shows them as they come."
)


def overview_blocks(
    name: str, store: Store, listing: Listing, checkpoints: Sequence[Plain], links: Links
) -> Iterator[Block]:
    """Yield the blocks on one store."""
    failed = sum(failure_of(row) is not None for row in checkpoints)
    yield Heading(printable(name), 2)
    if not checkpoints:
        yield Paragraph(_EMPTY)
        return
    results = build(listing.records(), checkpoints)
    runs = defaultdict[str, list[Plain]](list)
    for row in checkpoints:
        runs[str(row["run"])].append(row)
    waiting = sum(row["state"] == "seen" for row in checkpoints)
    words = f"{counted(len(runs), 'run')}, {counted(len(checkpoints), 'checkpoint')}"
    words += f", {count(failed)} failed" * bool(failed) + f", {count(waiting)} not evaluated" * bool(waiting)
    yield Paragraph(words)
    rows = []
    places = cache(partial(_places, store, listing))
    for data in dict.fromkeys(row.data for row in results.rows if row.data):
        known = {row.run for row in results.rows if row.data == data}
        rows += [_run_row(run, held, results, data, links, places) for run, held in runs.items() if run in known]
    valued = {row.run for row in results.rows if row.data}
    rows += [_bare(run, held, links) for run, held in runs.items() if run not in valued]
    heads = ["run", "data", "metric", "curve", "best", "at", "newest", "at", "checkpoints", "failed"]
    right = [False, False, False, False, True, True, True, True, True, True]
    yield Grid(heads, rows, right, "the runs")


def _places(store: Store, listing: Listing, metric: str, data: str) -> dict[str, int]:
    """Return the places of weights by a metric, that of the best 0; none where nothing can be compared."""
    with suppress(MilepostError, OSError):  # the store may be away, too
        ranked = ranking_of(store, listing, metric, data, None, ALL).ranked
        return {str(record["checkpoint"]["digest"]): place for place, record in enumerate(ranked)}
    return {}


def _run_row(
    run: str,
    held: Sequence[Plain],
    results: Results,
    data: str,
    links: Links,
    places: Callable[[str, str], dict[str, int]],
) -> list[PageCell]:
    ours = [row for row in results.rows if row.run == run and row.data == data and not is_earlier(row.status)]
    metric = next((name for name in results.metrics if any(name in row.cells for row in ours)), "")
    whole = [row for row in ours if metric in row.cells and row.cells[metric].value is not None]
    valued = [row for row in whole if row.variant == RAW] or whole
    place = places(metric, data) if whole else {}
    best = min((row for row in whole if row.digest in place), key=lambda row: place[str(row.digest)], default=None)
    spark = tuple(_value(row, metric) for row in valued)
    failed = sum(failure_of(row) is not None for row in held)
    newest = valued[-1] if valued else None
    return [
        PageCell(printable(run), links.run(run, data=data)),
        PageCell(printable(data)),
        PageCell(printable(metric)),
        PageCell(f"{metric} of {run}: {len(spark)} values", spark=spark),
        *_at(best, metric),
        *_at(newest, metric),
        PageCell(count(len(held))),
        PageCell(count(failed), links.failures() if failed else "", "bad" if failed else "faint"),
    ]


def _bare(run: str, held: Sequence[Plain], links: Links) -> list[PageCell]:
    failed = sum(failure_of(row) is not None for row in held)
    cells = [PageCell(printable(run), links.run(run)), *[PageCell("-")] * 7, PageCell(count(len(held)))]
    return [*cells, PageCell(count(failed), links.failures() if failed else "", "bad" if failed else "faint")]


def _value(row: Row, metric: str) -> float:
    found = row.cells[metric].value
    return float("nan") if found is None else found


def _at(row: Row | None, metric: str) -> list[PageCell]:
    if row is None:
        return [PageCell("-"), PageCell("-")]
    step = (row.names[0] if row.step is None else count(row.step)) + f" {row.variant}" * (row.variant != RAW)
    return [PageCell(number(_value(row, metric), decimals(row.n))), PageCell(printable(step))]
