"""The table of results as HTML for notebooks."""

from milepost._internal import html
from milepost.report._align import footnotes, grid, marks, needed, status
from milepost.report.table import Results

_DESCRIBED = frozenset({"run", "step", "variant", "data", "slice", "name", "n"})
_FAINT = frozenset({"interval", "batch_mean"})


def table_html(results: Results, remark: str = "") -> str:
    """Return a table of the rows, and below it its footnotes and the remark; what is the same in all rows is left out.

    >>> table_html(Results((), ())).partition(">")[2]
    'no checkpoints</p>'
    """
    failed = [f"{', '.join(row.names)}: {status(row)}" for row in results.rows if row.failed]
    below = html.paragraphs((*failed, *footnotes(results), remark))
    if not results.rows:
        return html.paragraphs(["no checkpoints"]) + below
    heads, rows, right = grid(results)
    wanted = needed(results)
    kept = [place for place, head in enumerate(heads) if head not in _DESCRIBED or head in wanted]
    shown = [heads[place].replace("_mean", " mean") if heads[place] in _FAINT else heads[place] for place in kept]
    kinds = [row.status + marks(results, row) for row in results.rows]
    cells = [[*(row[place] for place in kept[:-1]), kind] for row, kind in zip(rows, kinds, strict=True)]
    faint = [heads[place] in _FAINT for place in kept]
    return html.table(shown, cells, [right[place] for place in kept], faint) + below
