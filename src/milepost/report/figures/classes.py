"""The classes of one checkpoint from the worst to the best: the share of each class's rows that is right."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.core.types import Array
from milepost.metrics.confusion import Confusion
from milepost.report._numbers import count
from milepost.report.chart.model import Axis, Chart, NumbersTable, Panel, Points, Whiskers
from milepost.report.figures._kept import kept
from milepost.report.figures._request import FigureRequest
from milepost.scoring.estimators import state_of
from milepost.stats.wilson import wilson
from milepost.store.store import Store

_MOST = 40
_LINE = 17


@dataclass(frozen=True, slots=True)
class ClassRecall:
    """Recall and support of the classes that have rows, the worst first; `low` and `high` are the 95 % intervals.

    The interval takes rows as independent; it is NaN where they have weights.
    """

    name: ClassVar[str] = "classes"
    needs: ClassVar[tuple[int, int]] = (0, 1)
    takes_metric: ClassVar[bool] = False

    place: str
    rows: str
    classes: tuple[str, ...]
    support: Array
    recall: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Count the kept outcomes of one checkpoint by class."""
        metric = Confusion()
        found = kept(store, asked, metric)
        tables = metric.tables(state_of(found.scored, metric))
        there = np.flatnonzero(tables["support"] > 0)
        order = there[np.lexsort((-tables["support"][there], tables["recall"][there]))]
        support, recall = tables["support"][order], tables["recall"][order]
        spans = np.full((len(order), 2), np.nan)
        if not found.scored.weighted:
            for place, (share, rows) in enumerate(zip(recall.tolist(), support.tolist(), strict=True)):
                interval = wilson(round(share * rows), rows)
                spans[place] = interval.low, interval.high
        names = tuple(found.called(int(one)) for one in order)
        return cls(found.place, found.rows, names, support, recall, spans[:, 0], spans[:, 1])

    def chart(self) -> Chart:
        """Return a point and its interval for each class; of many the worst."""
        shown = slice(0, _MOST)
        names = self.classes[shown]
        y = np.arange(len(names), dtype=np.float64)
        titles = tuple(", ".join(line) for line in self._lines()[shown])
        marks = (
            Whiskers(self.low[shown], self.high[shown], y, y, 0, "95 % interval of the class"),
            Points(self.recall[shown], y, 0, label="recall", titles=titles),
        )
        least = float(np.nanmin(np.concatenate([self.low[shown], self.recall[shown]])))
        x = Axis("recall: right answers among the rows of the class", max(0.0, least - 0.03), 1.005, percent=True)
        panel = Panel(x, Axis("", categories=names), marks)
        notes = [f"{self.rows}; each interval takes the rows of its class as independent"]
        if len(self.classes) > len(names):
            notes.append(f"the worst {len(names)} of {count(len(self.classes))} classes that have rows")
        table = NumbersTable(("class", "rows", "recall", "95 % interval"), tuple(self._lines()))
        height = 150 + _LINE * max(len(names), 6)
        return Chart(f"Recall by class of {self.place}", (panel,), tuple(notes), table, height=height)

    def _lines(self) -> list[tuple[str, str, str, str]]:
        return [
            (name, f"{rows:,}" if isinstance(rows, int) else f"{rows:.3g}", f"{recall:.4f}", _span(low, high))
            for name, rows, recall, low, high in zip(
                self.classes, *(item.tolist() for item in (self.support, self.recall, self.low, self.high)), strict=True
            )
        ]


def _span(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"[{low:.4f}, {high:.4f}]"
