"""The confusion matrix of one checkpoint: all classes where they are few, else those that are confused most often."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.core.types import Array
from milepost.metrics.confusion import Confusion
from milepost.report._numbers import count
from milepost.report.chart.model import LONGEST, Axis, Cells, Chart, NumbersTable, Panel
from milepost.report.figures._kept import kept
from milepost.report.figures._request import FigureRequest
from milepost.scoring.estimators import state_of
from milepost.store.store import Store

_MOST = 30
"""A matrix of up to so many classes is drawn whole."""
_ZOOMED = 24
_PAIRS = 40
_CELL = 26
"""Pixels of a cell that hold a count of three digits."""


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """Rows by label and prediction, int64 [classes, classes]; `nonfinite` rows by label are predicted as no class.

    Of rows with weights the matrix holds float64 sums of weights.
    """

    name: ClassVar[str] = "confusion"
    needs: ClassVar[tuple[int, int]] = (0, 1)
    takes_metric: ClassVar[bool] = False

    place: str
    rows: str
    matrix: Array
    nonfinite: Array
    classes: tuple[str, ...]

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Count the kept outcomes of one checkpoint."""
        metric = Confusion()
        found = kept(store, asked, metric)
        tables = metric.tables(state_of(found.scored, metric))
        size = max(len(tables["matrix"]), *(number + 1 for number in found.classes), 1)
        matrix = np.zeros((size, size), tables["matrix"].dtype)
        matrix[: len(tables["matrix"]), : len(tables["matrix"])] = tables["matrix"]
        classes = tuple(map(found.called, range(size)))
        return cls(found.place, found.rows, matrix, tables["nonfinite"], classes)

    def pairs(self, most: int = _PAIRS) -> list[tuple[int, int, float]]:
        """Return the most frequent confusions as label, prediction and rows, the first most frequent."""
        off = self.matrix.copy()
        np.fill_diagonal(off, 0)
        order = np.argsort(-off, axis=None, kind="stable")[:most]
        found = (divmod(int(one), len(off)) for one in order)
        return [(row, column, off[row, column].item()) for row, column in found if off[row, column] > 0]

    def shown(self) -> list[int]:
        """Return the classes that are drawn, in their order: all, or those of the most frequent confusions.

        Of many classes, those that are confused with each other stand side by side.
        """
        if len(self.classes) <= _MOST:
            return list(range(len(self.classes)))
        chosen: list[int] = []
        for row, column, _ in self.pairs(len(self.matrix) ** 2):
            for one, beside in ((row, column), (column, row)):
                if one not in chosen:
                    chosen.insert(chosen.index(beside) + 1 if beside in chosen else len(chosen), one)
            if len(chosen) >= _ZOOMED:
                break
        return chosen or list(range(_ZOOMED))

    def chart(self) -> Chart:
        """Return the cells of the matrix, shaded by the root of their share of the label's rows."""
        shown = self.shown()
        part = self.matrix[np.ix_(shown, shown)]
        support = self.matrix.sum(axis=1) + np.pad(self.nonfinite, (0, len(self.matrix) - len(self.nonfinite)))
        share = part / np.maximum(support[shown], 1)[:, None]
        names = tuple(self.classes[one] for one in shown)
        texts = tuple(tuple(_text(item) for item in line) for line in part.tolist())
        titles = tuple(
            tuple(
                f"{names[row]} predicted as {names[column]}: {_number(part[row, column].item())} "
                f"({share[row, column]:.1%} of its rows)"
                for column in range(len(shown))
            )
            for row in range(len(shown))
        )
        # The root makes few confusions visible beside many right answers.
        cells = Cells(np.sqrt(np.clip(share, 0, 1)), texts, titles)
        panel = Panel(Axis("prediction", categories=names), Axis("label", categories=names), (cells,))
        side = max(_CELL * len(shown), 240)
        names_side = 7 * min(max(map(len, names), default=0), LONGEST)
        size = {"width": max(560, side + names_side + 60), "height": side + names_side + 120}
        return Chart(f"Confusion of {self.place}", (panel,), self._notes(shown), self._table(), **size)

    def _notes(self, shown: list[int]) -> tuple[str, ...]:
        notes = [f"{self.rows}; rows of the matrix are labels; a cell is shaded by the root of its share of the label"]
        if len(shown) < len(self.classes):
            off = self.matrix.sum() - np.trace(self.matrix)
            inside = self.matrix[np.ix_(shown, shown)]
            part = (inside.sum() - np.trace(inside)) / max(off, 1)
            notes.append(
                f"{len(shown)} of {count(len(self.classes))} classes, those of the most frequent confusions: "
                f"{part:.0%} of all wrong rows lie here"
            )
        if self.nonfinite.sum():
            notes.append(f"{_number(self.nonfinite.sum().item())} rows have no finite scores and no prediction")
        return tuple(notes)

    def _table(self) -> NumbersTable:
        rows = ((self.classes[row], self.classes[column], _number(item)) for row, column, item in self.pairs())
        return NumbersTable(("label", "predicted as", "rows"), tuple(rows))


def _text(item: float) -> str:
    return "" if item == 0 else _number(item)


def _number(item: float) -> str:
    return count(item) if isinstance(item, int) else f"{item:.3g}"
