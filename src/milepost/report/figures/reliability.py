"""The reliability diagram: how often predictions of a confidence are right, and how many there are of it."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.core.types import Array
from milepost.metrics.calibration import CalibrationError
from milepost.report._numbers import count, number
from milepost.report.chart.model import (
    NEUTRAL,
    Axis,
    Bars,
    Chart,
    NumbersTable,
    Panel,
    Points,
    Polyline,
    Rule,
    Whiskers,
)
from milepost.report.figures._kept import kept
from milepost.report.figures._request import FigureRequest
from milepost.scoring.estimators import state_of
from milepost.stats.wilson import wilson
from milepost.store.store import Store

_WIDTH, _HEIGHT = 520, 560


@dataclass(frozen=True, slots=True)
class Reliability:
    """By bins of confidence: rows (int64), mean confidence and accuracy (float64, NaN where empty), 95 % interval.

    `low` and `high` are NaN where rows have weights: their bins have no interval.
    """

    name: ClassVar[str] = "reliability"
    needs: ClassVar[tuple[int, int]] = (0, 1)
    takes_metric: ClassVar[bool] = False

    place: str
    rows: str
    error: float | None
    lower: Array
    upper: Array
    count: Array
    confidence: Array
    accuracy: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Count the kept outcomes of one checkpoint in bins of its calibration error."""
        metric = CalibrationError()
        found = kept(store, asked, metric)
        state = state_of(found.scored, metric)
        tables = metric.tables(state)
        spans = [(np.nan, np.nan)] * len(tables["rows"])
        if not found.scored.weighted:
            spans = [
                _span(round(share * rows), rows) if rows else (np.nan, np.nan)
                for share, rows in zip(tables["accuracy"].tolist(), tables["rows"].tolist(), strict=True)
            ]
        low, high = np.array(spans, np.float64).T
        return cls(
            place=found.place,
            rows=found.rows,
            error=metric.values(state)[metric.headline].value,
            lower=tables["lower"],
            upper=tables["upper"],
            count=tables["rows"],
            confidence=tables["confidence"],
            accuracy=tables["accuracy"],
            low=low,
            high=high,
        )

    def chart(self) -> Chart:
        """Return accuracy over confidence against the diagonal, and below it the rows of each bin."""
        x = Axis("", 0.0, 1.02, percent=True)
        titles = tuple(self._title(place) for place in range(len(self.count)))
        fine = np.flatnonzero(self.count)
        diagram = (
            Rule(),
            Whiskers(self.confidence, self.confidence, self.low, self.high, NEUTRAL, "95 % interval"),
            Polyline(self.confidence[fine], self.accuracy[fine], 0, "right answers"),
            Points(self.confidence, self.accuracy, 0, titles=titles),
        )
        most = float(max(self.count.max(initial=1), 1))
        zero = np.zeros(len(self.count))
        bars = Bars(self.lower, self.upper, zero, self.count, NEUTRAL, titles=titles)
        panels = (
            Panel(x, Axis("right answers", 0.0, 1.03, percent=True), diagram, 3.0),
            Panel(Axis("confidence", 0.0, 1.02, percent=True), Axis("rows", 0.0, most, whole=True), (bars,)),
        )
        notes = (f"{self.rows}; calibration error {number(self.error, 4)} over {len(self.count)} bins of equal width",)
        heads = ("confidence", "rows", "mean confidence", "right answers", "95 % interval")
        lines = tuple(self._line(place) for place in fine.tolist())
        return Chart(f"Reliability of {self.place}", panels, notes, NumbersTable(heads, lines), _WIDTH, _HEIGHT)

    def _line(self, place: int) -> tuple[str, ...]:
        span = "" if np.isnan(self.low[place]) else f"[{self.low[place]:.3f}, {self.high[place]:.3f}]"
        bin_ = f"{self.lower[place]:.2f} to {self.upper[place]:.2f}"
        shares = (f"{self.confidence[place]:.3f}", f"{self.accuracy[place]:.3f}")
        return (bin_, count(int(self.count[place])), *shares, span)

    def _title(self, place: int) -> str:
        bin_, rows, confidence, accuracy, span = self._line(place)
        return f"confidence {bin_}: {rows} rows, mean {confidence}, right {accuracy} {span}".rstrip()


def _span(right: int, rows: int) -> tuple[float, float]:
    found = wilson(right, rows)
    return found.low, found.high
