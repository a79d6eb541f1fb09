"""The gap: by how much the mean of batch means misses the exact value, over the steps."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.errors import UsageError
from milepost.report._numbers import number
from milepost.report.chart.model import Axis, Chart, Mark, NumbersTable, Panel, Points, Polyline, Rule
from milepost.report.chart.ticks import padded
from milepost.report.figures._request import FigureRequest
from milepost.report.figures.curve import Curve, labels_of
from milepost.store.store import Store


@dataclass(frozen=True, slots=True)
class Gap:
    """A curve whose batch means are held against its exact values."""

    name: ClassVar[str] = "gap"
    needs: ClassVar[tuple[int, int]] = (0, 0)
    takes_metric: ClassVar[bool] = True

    curve: Curve

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Read a metric's values and batch means; a UsageError where there is no batch mean."""
        curve = Curve.of(store, asked)
        if not any(np.isfinite(one.batch_mean).any() for one in curve.series):
            raise UsageError(
                f"{curve.metric}: no batch means are on record; `milepost score --all --batch-size 100` computes them "
                "from kept outcomes"
            )
        return cls(curve)

    def chart(self) -> Chart:
        """Return batch mean minus exact value for each series, against 0."""
        marks: list[Mark] = [Rule(y=0.0)]
        rows = []
        labels = labels_of(self.curve.series)
        for colour, (one, label) in enumerate(zip(self.curve.series, labels, strict=True)):
            gap = one.batch_mean - one.value
            titles = tuple(
                f"{name}: {number(mean, 6)} - {number(exact, 6)} = {difference:+.6f}"
                for name, mean, exact, difference in zip(one.names, one.batch_mean, one.value, gap, strict=True)
            )
            marks += [Polyline(one.step, gap, colour, label), Points(one.step, gap, colour, titles=titles)]
            rows += [
                (one.run, f"{step:.0f}", name, f"{difference:+.6f}")
                for step, name, difference in zip(one.step, one.names, gap, strict=True)
            ]
        gaps = [float(item) for mark in marks if isinstance(mark, Polyline) for item in mark.y]
        steps = [float(step) for one in self.curve.series for step in one.step]
        y = Axis("batch mean - exact", *padded([*gaps, 0.0]))
        panel = Panel(Axis("step", *padded(steps), whole=True), y, tuple(marks))
        notes = (f"{self.curve.rows}; batches of {self.curve.batch_size}; 0 means that the batch mean is right",)
        table = NumbersTable(("run", "step", "name", "gap"), tuple(rows))
        return Chart(f"Gap of {self.curve.metric} on {self.curve.data}", (panel,), notes, table, height=320)
