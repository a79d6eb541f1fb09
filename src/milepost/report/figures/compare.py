"""Two checkpoints on the same rows: the paired difference with its interval, and how the rows fell."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from milepost.core.escaping import printable
from milepost.report._numbers import count, interval, number
from milepost.report.chart.model import Axis, Bars, Chart, NumbersTable, Panel, Points, Rule, Whiskers
from milepost.report.chart.ticks import padded
from milepost.report.compare import COUNT_WORDS, Comparison, compare_two
from milepost.report.figures._request import FigureRequest
from milepost.store.store import Store

_PLACES = 5


@dataclass(frozen=True, slots=True)
class ComparisonFigure:
    """The comparison of A and B."""

    name: ClassVar[str] = "compare"
    needs: ClassVar[tuple[int, int]] = (2, 2)
    takes_metric: ClassVar[bool] = True

    found: Comparison

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Compare the two checkpoints by a mean over rows, top1 where none is named."""
        a, b = asked.addresses
        return cls(compare_two(store, a, b, asked.metric or "top1", asked.data, asked.part, asked.variant))

    def chart(self) -> Chart:
        """Return the difference against 0, and below it a bar for each way that rows fell."""
        found = self.found
        letters = [printable(str(item["label"])) for item in (found.a, found.b)]
        difference = np.array([np.nan if found.difference is None else found.difference])
        low, high = (np.nan, np.nan) if found.interval is None else (found.interval.low, found.interval.high)
        ends = padded([0.0, *difference.tolist(), low, high])
        row = np.zeros(1)
        above = Panel(
            Axis(f"{found.metric} of A minus B ({found.direction} is better)", *ends),
            Axis("", categories=("A - B",)),
            (
                Rule(x=0.0),
                Whiskers(np.array([low]), np.array([high]), row, row, 0, "95 % interval"),
                Points(difference, row, 0, label="difference"),
            ),
            share=0.7,
        )
        counts = {name: value for name, value in found.counts.items() if value or name != "nonfinite"}
        place = np.arange(len(counts), dtype=np.float64)
        values = np.array(list(counts.values()), np.float64)
        bars = Bars(
            np.zeros(len(values)), values, place - 0.32, place + 0.32, 0, texts=tuple(map(count, counts.values()))
        )
        rows_axis = Axis("rows", 0.0, float(max(values.max(initial=1), 1)), whole=True)
        below = Panel(rows_axis, Axis("", categories=tuple(COUNT_WORDS[name] for name in counts)), (bars,), share=1.3)
        part = "" if found.slice == "all" else f", {found.slice}"
        title = f"{found.metric} on {found.data}{part}: A is {letters[0]}, B is {letters[1]}"
        return Chart(printable(title), (above, below), self._notes(), self._table(), height=400)

    def _notes(self) -> tuple[str, ...]:
        found = self.found
        span = "" if found.interval is None else interval(found.interval.low, found.interval.high, _PLACES)
        words = f"n = {count(found.n)}; A {number(found.value_a, _PLACES)}, B {number(found.value_b, _PLACES)}"
        tests = "; ".join(f"{name}: {_p(value)}" for name, value in found.tests.items())
        return (
            f"{words}; difference {number(found.difference, _PLACES)} {span}".rstrip(),
            *filter(None, [tests]),
            *found.notes,
        )

    def _table(self) -> NumbersTable:
        rows = [(COUNT_WORDS[name], count(value)) for name, value in self.found.counts.items()]
        return NumbersTable(("rows", "count"), tuple(rows))


def _p(value: float) -> str:
    """Return a probability; one that is too small for a float64 is not 0."""
    return "p < 1e-300" if value == 0 else f"p = {value:.4g}"
