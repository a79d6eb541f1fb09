"""The overview: each run of each store with its curve in small, its best, its newest, and what failed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.report._numbers import count, decimals, number
from milepost.report.pages.blocks import Block, Grid, Heading, PageCell, Paragraph
from milepost.report.pages.links import Links
from milepost.report.table import Plain, Results, Row, build, failure_of
from milepost.store.code_standing import is_earlier
from milepost.store.listing import Listing

_EMPTY = (
    "This store is empty. Evaluate some checkpoints with `milepost run EVAL.py CKPTS`, "
    "and this page shows them as they come."
)


def overview_blocks(name: str, listing: Listing, checkpoints: Sequence[Plain], links: Links) -> Iterator[Block]:
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
    for data in dict.fromkeys(row.data for row in results.rows if row.data):
        known = {row.run for row in results.rows if row.data == data}
        rows += [_run_row(run, held, results, data, links) for run, held in runs.items() if run in known]
    valued = {row.run for row in results.rows if row.data}
    rows += [_bare(run, held, links) for run, held in runs.items() if run not in valued]
    heads = ["run", "data", "metric", "curve", "best", "at", "newest", "at", "checkpoints", "failed"]
    right = [False, False, False, False, True, True, True, True, True, True]
    yield Grid(heads, rows, right, "the runs")


def _run_row(run: str, held: Sequence[Plain], results: Results, data: str, links: Links) -> list[PageCell]:
    ours = [row for row in results.rows if row.run == run and row.data == data and not is_earlier(row.status)]
    metric = next((name for name in results.metrics if any(name in row.cells for row in ours)), "")
    valued = [row for row in ours if metric and row.cells[metric].value is not None and row.variant == "raw"]
    valued = valued or [row for row in ours if metric and row.cells[metric].value is not None]
    best = max(valued, key=lambda row: _value(row, metric), default=None) if _is_share(ours, metric) else None
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


def _is_share(rows: Sequence[Row], metric: str) -> bool:
    """Return whether the highest value is the best: of a share it is."""
    return any(row.cells[metric].share for row in rows if metric in row.cells)


def _value(row: Row, metric: str) -> float:
    found = row.cells[metric].value
    return float("nan") if found is None else found


def _at(row: Row | None, metric: str) -> list[PageCell]:
    if row is None:
        return [PageCell("-"), PageCell("-")]
    step = row.names[0] if row.step is None else count(row.step)
    return [PageCell(number(_value(row, metric), decimals(row.n))), PageCell(printable(step))]
