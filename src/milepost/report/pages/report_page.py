"""The report: the runs, their curves, the best and what is tied with it, every checkpoint, and what failed."""

from collections.abc import Iterator, Sequence

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.report._numbers import count
from milepost.report.addresses import Labels, run_id
from milepost.report.pages.blocks import Block, Grid, Heading, Page, PageCell, Paragraph
from milepost.report.pages.checkpoint import anchor_of, checkpoint_blocks
from milepost.report.pages.data_set import DataSet
from milepost.report.pages.failures_page import failures_blocks
from milepost.report.table import Plain, Results, build, failure_of, newest
from milepost.store.store import Store

PAGES = 10
"""How many checkpoints a report describes whole, by default."""


def report_page(store: Store, run: str | None = None, pages: int = PAGES) -> Page:
    """Return the report on a store, or on one of its runs; `pages` checkpoints are described whole.

    These are the best of each data set, the newest, and those that are tied with the best, in this order.
    """
    listing = store.listing()
    identity = run_id(store, run)
    checkpoints = listing.checkpoints(identity)
    results = build(listing.records(run=identity), checkpoints)
    if not checkpoints:
        empty = Paragraph("no checkpoints yet; `milepost run EVAL.py CKPTS` evaluates some")
        return Page("Milepost report", (Heading("Milepost report", 1), empty))
    names = list(dict.fromkeys(row.data for row in results.rows if row.data))
    held = [DataSet.of(store, results, name, run) for name in names]
    described = _described(checkpoints, held, pages)
    links = {row["digest"]: f"#{anchor_of(row)}" for row in described}
    title = "Milepost report" if run is None else f"Milepost report on {run}"
    blocks: list[Block] = [Heading(printable(title), 1), *_summary(checkpoints, results)]
    for one in held:
        blocks.append(Heading(printable(f"On {one.name}"), anchor=f"d-{one.name}"))
        blocks += one.blocks(lambda row: links.get(row.digest, ""))
    blocks += failures_blocks(checkpoints)
    labels = Labels(listing.checkpoints())
    if described:
        blocks.append(Heading("Checkpoints in full"))
    for row in described:
        blocks += checkpoint_blocks(store, listing, row, labels, level=3)
    return Page(printable(title), tuple(blocks))


def _described(checkpoints: Sequence[Plain], held: Sequence[DataSet], pages: int) -> list[Plain]:
    """Return the rows that are described whole: each set of weights once."""
    rows = {row["digest"]: row for row in reversed(checkpoints) if row["digest"]}
    evaluated = [row for row in checkpoints if row["digest"] and not failure_of(row)]
    wanted = [one.best for one in held] + [row["digest"] for row in newest(evaluated, 1)]
    wanted += [digest for one in held for digest in one.tied]
    return [rows[digest] for digest in dict.fromkeys(wanted) if digest in rows][:pages]


def _summary(checkpoints: Sequence[Plain], results: Results) -> Iterator[Block]:
    runs = list(dict.fromkeys(str(row["run"]) for row in checkpoints))
    failed = sum(failure_of(row) is not None for row in checkpoints)
    done = sum(row["state"] == "done" for row in checkpoints)
    words = f"{counted(len(checkpoints), 'checkpoint')} of {counted(len(runs), 'run')}: {count(done)} evaluated"
    words += f", {count(failed)} failed" if failed else ""
    rest = len(checkpoints) - done - failed
    yield Paragraph(words + (f", {count(rest)} not evaluated" if rest else ""))
    if len(runs) > 1:
        yield _runs(runs, checkpoints, results)


def _runs(runs: Sequence[str], checkpoints: Sequence[Plain], results: Results) -> Grid:
    rows = []
    metric = results.metrics[0] if results.metrics else ""
    for run in runs:
        ours = [row for row in checkpoints if str(row["run"]) == run]
        steps = [row["step"] for row in ours if row["step"] is not None]
        failed = sum(failure_of(row) is not None for row in ours)
        cells = [PageCell(printable(run)), PageCell(count(len(ours))), PageCell(count(max(steps, default=None)))]
        cells.append(PageCell(count(failed), tone="bad" if failed else ""))
        values = [row.cells[metric].value for row in results.rows if row.run == run and metric in row.cells]
        spark = tuple(value for value in values if value is not None)
        cells.append(PageCell(f"{metric}: {len(spark)} values", spark=spark))
        rows.append(cells)
    return Grid(["run", "checkpoints", "newest step", "failed", metric], rows, [False, True, True, True, False], "runs")
