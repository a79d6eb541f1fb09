"""One checkpoint as blocks: its values, figures from its kept outcomes, tables, and where the numbers come from."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from milepost.core.escaping import printable
from milepost.errors import UsageError
from milepost.registry import classes
from milepost.report.addresses import Labels
from milepost.report.described import class_names_of, described, tables_of
from milepost.report.figures._request import FigureRequest
from milepost.report.pages.blocks import AlignedText, Block, Drawing, Facts, Fold, Grid, Heading, PageCell
from milepost.report.show import Section
from milepost.report.table import Plain, records_of
from milepost.report.tables_text import vectors_table
from milepost.store.listing import Listing
from milepost.store.store import Store

_FIGURES = ("reliability", "confusion", "classes")
_SLICES = "slices of "
_OPEN = ("checkpoint", "data ", _SLICES)
"""The sections that stand open; the others, on where the numbers came from, are folded."""
_DATA_SET = "data set"


def checkpoint_blocks(store: Store, listing: Listing, row: Plain, labels: Labels, level: int = 2) -> list[Block]:
    """Return the blocks on a checkpoint that was evaluated, or that failed."""
    label = labels.of(row)
    records = records_of(listing, row)
    sections, evaluated = described(store, row, records)
    blocks: list[Block] = [Heading(printable(label), level, anchor_of(row))]
    for section in sections:
        if _is_open(section):
            blocks += _section(section, level + 1)
    for data in dict.fromkeys(str(record["data"]) for record in records):
        blocks += _figures(store, label, data)
    for one in evaluated:
        names = class_names_of(store, one)
        for name, arrays in tables_of(store, one.key):
            heads, rows = vectors_table(arrays, names)
            if rows:
                grid = Grid(heads, [[PageCell(item) for item in line] for line in rows], [True] * len(heads))
                blocks.append(Fold(f"{name} on {one.spec.get('data_name')}: {len(rows):,} rows", [grid]))
    rest = [block for section in sections if not _is_open(section) for block in _section(section, level + 1)]
    return [*blocks, Fold("where these numbers come from", rest)] if rest else blocks


def anchor_of(row: Plain) -> str:
    """Return the name by which links within a page reach a checkpoint."""
    return f"c-{str(row.get('digest') or '')[:16]}-{row.get('variant') or 'raw'}"


def _is_open(section: Section) -> bool:
    return section.title.startswith(_OPEN) and section.title != _DATA_SET


def _section(section: Section, level: int) -> list[Block]:
    heading = Heading(printable(section.title), level)
    if section.title.startswith(_SLICES):
        return [heading, AlignedText([printable(words) for _, words in section.lines])]
    return [heading, Facts([(label, printable(words)) for label, words in section.lines])]


def _figures(store: Store, label: str, data: str) -> Iterator[Block]:
    """Yield the figures that the kept outcomes allow; one whose columns are not kept is left out."""
    kinds: dict[str, Any] = classes("report.figures")
    for name in _FIGURES:
        with suppress(UsageError):
            asked = FigureRequest(data=data, addresses=(label,))
            yield Drawing(kinds[name].of(store, asked).chart())
