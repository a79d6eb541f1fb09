"""Where two checkpoints differ: by class, the rows that only A gets right, and those that only B does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.core.escaping import printable
from milepost.core.protocols import MeanMetric, Metric
from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report._metrics_on_record import direction_of, recorded
from milepost.report._numbers import count
from milepost.report._pair import mean_metric, opened_pair
from milepost.report._slice import on_slice
from milepost.report.addresses import Labels, find_evaluated
from milepost.report.chart.model import Axis, Bars, Chart, NumbersTable, Panel, Rule
from milepost.report.figures._kept import class_names
from milepost.report.figures._request import FigureRequest
from milepost.scoring.columns import Scored
from milepost.scoring.metric_spec import metric_of
from milepost.store.store import Store

_MOST = 30
_LINE = 20
_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Flips:
    """By class, int64: rows that A is better on, rows that B is better on, and all rows; the most flips first."""

    name: ClassVar[str] = "flips"
    needs: ClassVar[tuple[int, int]] = (2, 2)
    takes_metric: ClassVar[bool] = True

    metric: str
    data: str
    slice: str
    a: str
    b: str
    n: int
    classes: tuple[str, ...]
    only_a: Array
    only_b: Array
    rows: Array

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Count the rows that both checkpoints have, by their labels; the metric is a mean over rows, such as top1."""
        checkpoints = store.listing().checkpoints()
        rows = [find_evaluated(checkpoints, address, "draw", asked.variant) for address in asked.addresses]
        name = asked.metric or "top1"
        payload = recorded(store, name, rows[0]["digest"])
        made = metric_of(payload["metric"])
        mean = mean_metric(made, name)
        sides, _ = opened_pair(store, rows, made, asked.data)
        if not all(side.holds(_LABEL) for side in sides):
            raise UsageError(f"{sides[0].name} has no column {_LABEL!r}, by which flips could be counted")
        left, right = (on_slice(store, side, asked.part) for side in sides)
        pieces = _pieces(left, right, made, mean, higher=direction_of(payload) == "higher")
        counts = np.array([item.sum(axis=1) for item in _columns(pieces)], np.int64)
        order = np.argsort(-(counts[0] + counts[1]), kind="stable")
        order = order[counts[2][order] > 0]
        names = class_names(left)
        labels = Labels(checkpoints)
        return cls(
            metric=name,
            data=left.name,
            slice=asked.part,
            a=labels.of(rows[0]),
            b=labels.of(rows[1]),
            n=left.n,
            classes=tuple(printable(names.get(int(one), str(one))) for one in order),
            only_a=counts[0][order],
            only_b=counts[1][order],
            rows=counts[2][order],
        )

    def chart(self) -> Chart:
        """Return bars to the left for A, to the right for B: one pair a class with flips, the most first."""
        flipped = int(np.count_nonzero(self.only_a + self.only_b))
        shown = slice(0, max(1, min(_MOST, flipped)))
        a, b, names = self.only_a[shown], self.only_b[shown], self.classes[shown]
        y, zero = np.arange(len(names), dtype=np.float64), np.zeros(len(names))
        most = float(max(a.max(initial=1), b.max(initial=1)))
        marks = (
            Bars(zero, -a.astype(np.float64), y - 0.36, y + 0.36, 0, f"only A right ({self.a})", _texts(a)),
            Bars(zero, b.astype(np.float64), y - 0.36, y + 0.36, 1, f"only B right ({self.b})", _texts(b)),
            Rule(x=0.0),
        )
        x = Axis(
            "rows: only A right to the left, only B right to the right",
            -most * 1.12,
            most * 1.12,
            whole=True,
            absolute=True,
        )
        panel = Panel(x, Axis("", categories=names), marks)
        part = "" if self.slice == "all" else f", {self.slice}"
        a_rows, b_rows = count(int(self.only_a.sum())), count(int(self.only_b.sum()))
        notes = [f"n = {count(self.n)}; only A right on {a_rows}, only B on {b_rows}"]
        if flipped > len(names):
            notes.append(f"the {len(names)} classes with the most flips of {count(flipped)} that have any")
        if not flipped:
            notes.append("no row flipped: both are right on the same rows")
        table = NumbersTable(("class", "rows", "only A right", "only B right"), self._lines())
        title = printable(f"Flips of {self.metric} on {self.data}{part}, by class")
        return Chart(title, (panel,), tuple(notes), table, height=170 + _LINE * max(len(names), 4))

    def _lines(self) -> tuple[tuple[str, ...], ...]:
        numbers = (item.tolist() for item in (self.rows, self.only_a, self.only_b))
        return tuple((name, *map(count, line)) for name, *line in zip(self.classes, *numbers, strict=True))


def _pieces(left: Scored, right: Scored, metric: Metric, mean: MeanMetric, *, higher: bool) -> Iterator[Array]:
    """Yield, a chunk of rows at a time, [3, classes]: rows that A is better on, those that B is, and all."""
    names = tuple(metric.columns)
    for (one, _), (two, _) in zip(left.chunks((*names, _LABEL)), right.chunks(names), strict=True):
        a, b = (np.asarray(mean.contribution(item), np.float64) for item in (one, two))
        better, worse = (a > b, a < b) if higher else (a < b, a > b)
        label = one[_LABEL].astype(np.int64)
        size = int(label.max(initial=-1)) + 1
        yield np.stack([np.bincount(label[rows], minlength=size) for rows in (better, worse, slice(None))])


def _columns(pieces: Iterator[Array]) -> list[Array]:
    """Return the pieces side by side, each of the three lines by itself: [classes, pieces]."""
    held = list(pieces)
    size = max((item.shape[1] for item in held), default=0)
    wide = [np.pad(item, ((0, 0), (0, size - item.shape[1]))) for item in held]
    return [np.stack([item[line] for item in wide], axis=1) for line in range(3)]


def _texts(counts: Array) -> tuple[str, ...]:
    return tuple(count(int(item)) if item else "" for item in counts)
