"""The report: the runs, their curves, the best and what is tied with it, every checkpoint, and what failed."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from milepost._internal.text import counted
from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.report._numbers import count
from milepost.report.addresses import Labels, run_id
from milepost.report.best import Best, best_of
from milepost.report.figures.curve import Curve
from milepost.report.pages.best_text import best_sentence
from milepost.report.pages.blocks import Block, Drawing, Grid, Heading, Page, PageCell, Paragraph
from milepost.report.pages.checkpoint import anchor_of, checkpoint_blocks
from milepost.report.pages.failures_page import failures_blocks
from milepost.report.pages.tables import checkpoints_grid
from milepost.report.table import Plain, Results, Row, build, failure_of, newest
from milepost.store.store import Store

PAGES = 10
"""How many checkpoints a report describes whole, by default."""
_CURVES = 4
_WIDTH, _HEIGHT = 540, 330
"""Pixels of a curve, of which two stand side by side."""


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
    bests = {name: found for name in names if (found := _best(store, results, name, run)) is not None}
    described = _described(checkpoints, [*bests.values()], pages)
    links = {(row["digest"], row["variant"]): f"#{anchor_of(row)}" for row in described}
    title = "Milepost report" if run is None else f"Milepost report on {run}"
    blocks: list[Block] = [Heading(printable(title), 1), *_summary(checkpoints, results)]
    for name in names:
        blocks += _data_set(results, name, bests.get(name), links)
    blocks += failures_blocks(checkpoints)
    labels = Labels(listing.checkpoints())
    if described:
        blocks.append(Heading("Checkpoints in full"))
    for row in described:
        blocks += checkpoint_blocks(store, listing, row, labels, level=3)
    return Page(printable(title), tuple(blocks))


def _best(store: Store, results: Results, data: str, run: str | None) -> Best | None:
    metric = next((name for name in results.metrics if any(_has(row, name, data) for row in results.rows)), None)
    if metric is not None:
        with suppress(UsageError):  # nothing that can be compared
            return best_of(store, metric, data, run)
    return None


def _has(row: Row, metric: str, data: str) -> bool:
    return row.data == data and metric in row.cells


def _described(checkpoints: Sequence[Plain], every: Sequence[Best], pages: int) -> list[Plain]:
    """Return the rows that are described whole."""
    found: dict[tuple[str, str], Plain] = {}
    rows = {(row["digest"], row["variant"]): row for row in checkpoints if row["digest"]}
    wanted = [best.best["checkpoint"] for best in every]
    wanted += [{**row} for row in newest([row for row in checkpoints if row["digest"] and not failure_of(row)], 1)]
    wanted += [rival.record["checkpoint"] for best in every for rival in best.tied]
    for checkpoint in wanted:
        key = checkpoint["digest"], checkpoint["variant"]
        if key in rows and len(found) < pages:
            found.setdefault(key, rows[key])
    return list(found.values())


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


def _data_set(results: Results, data: str, best: Best | None, links: dict[tuple[str, str], str]) -> Iterator[Block]:
    yield Heading(printable(f"On {data}"), anchor=f"d-{data}")
    digest = str(best.best["checkpoint"]["digest"]) if best else ""
    tied = {str(rival.record["checkpoint"]["digest"]) for rival in best.tied} if best else set[str]()
    if best is not None:
        yield Paragraph(best_sentence(best), "strong")
        yield from (Paragraph(line) for line in str(best).splitlines()[-1:] if not line.startswith("/"))
    metrics = [name for name in results.metrics if any(_has(row, name, data) for row in results.rows)]
    for name in metrics[:_CURVES]:
        ours = best is not None and name == best.ranking.metric
        with suppress(UsageError):
            curve = Curve.among(results, name, data, digest if ours else "", tied if ours else ())
            if any(len(one.step) > 1 for one in curve.series):
                yield Drawing(replace(curve.chart(), width=_WIDTH, height=_HEIGHT))
    rows = tuple(row for row in results.rows if row.data == data)
    grid = checkpoints_grid(
        Results(tuple(metrics), rows), digest, tied, lambda row: links.get((row.digest or "", row.variant), "")
    )
    yield replace(grid, caption=printable(f"every checkpoint on {data}"))
    yield from (Paragraph(f"[{place}] {note}", "faint") for place, note in enumerate(Results((), rows).footnotes, 1))
