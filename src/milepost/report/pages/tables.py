"""The table of checkpoints as a grid: one row each, each value with its interval, the best strong."""

from collections.abc import Callable, Collection

from milepost.core.escaping import printable
from milepost.report._align import first_line, fixed, interval_text, marks, needed, value_text
from milepost.report.pages.blocks import Grid, PageCell, Tone
from milepost.report.table import Results, Row

_RIGHT = frozenset({"step", "n"})


def checkpoints_grid(
    results: Results,
    best: str = "",
    tied: Collection[str] = (),
    link: Callable[[Row], str] = lambda _: "",
) -> Grid:
    """Return the rows of a table; `best` and `tied` are digests by the first metric, `link` gives a row's own page."""
    described = needed(results)
    spans = [any(_has_span(row, name) for row in results.rows) for name in results.metrics]
    heads, right = list(described), [name in _RIGHT for name in described]
    for name, span in zip(results.metrics, spans, strict=True):
        heads += [name, "95 %"] if span else [name]
        right += [True, False] if span else [True]
    rows = []
    for row in results.rows:
        cells = [_described(row, name, link) for name in described]
        for place, (name, span) in enumerate(zip(results.metrics, spans, strict=True)):
            cell = row.cells.get(name)
            strong = bool(best) and row.digest == best and place == 0
            cells.append(PageCell("" if row.failed else value_text(row, cell), tone="strong" if strong else ""))
            cells += [PageCell(interval_text(row, cell), tone="faint")] * span
        rows.append([*cells, _status(results, row, best, tied)])
    return Grid([*heads, "status"], rows, [*right, False])


def _has_span(row: Row, name: str) -> bool:
    cell = row.cells.get(name)
    return cell is not None and cell.low is not None


def _described(row: Row, name: str, link: Callable[[Row], str]) -> PageCell:
    words = printable(fixed(row, name))
    return PageCell(words, link(row) if name == "name" else "")


def _status(results: Results, row: Row, best: str, tied: Collection[str]) -> PageCell:
    words = row.status + marks(results, row)
    words += ", best" if best and row.digest == best else ", tied with the best" if row.digest in tied else ""
    tone: Tone = "bad" if row.failed else "" if row.status == "ok" else "warn"
    first = first_line(row.message)
    return PageCell(printable(f"{words}: {first}" if first else words), tone=tone)
