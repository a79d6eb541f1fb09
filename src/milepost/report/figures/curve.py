"""The curve of a metric over the steps, a line a run and set of weights, with intervals, failures, and what is tied."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from milepost.core.escaping import printable
from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report._numbers import count, decimals, interval, number
from milepost.report._ranking import one_data
from milepost.report.addresses import RAW, run_id
from milepost.report.best import best_of
from milepost.report.chart.model import NEUTRAL, Axis, Band, Chart, Mark, NumbersTable, Panel, Points, Polyline
from milepost.report.chart.ticks import padded
from milepost.report.figures._request import FigureRequest
from milepost.report.table import Results, Row, build
from milepost.store.code_standing import is_earlier
from milepost.store.store import Store

_FEW = 400
"""Up to so many points of a series each is marked by itself."""
_MANY = 6
"""Beside more series, each is a line alone."""


@dataclass(frozen=True, slots=True)
class Series:
    """One run's values of one set of weights, by step: float64, NaN where there is none; `n` rows are behind each."""

    run: str
    variant: str
    names: tuple[str, ...]
    digests: tuple[str | None, ...]
    step: Array
    value: Array
    low: Array
    high: Array
    batch_mean: Array
    n: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The series of one metric on one data set and slice.

    `best` is the digest of the best, `tied` are those that cannot be told apart from it; empty where nothing was
    compared.  `failed` are the checkpoints without a value, as run, step, name and why.  `unplaced` counts those that
    have no step.  `batch_size` is that of the batch means.
    """

    name: ClassVar[str] = "curve"
    needs: ClassVar[tuple[int, int]] = (0, 0)
    takes_metric: ClassVar[bool] = True

    metric: str
    data: str
    slice: str
    share: bool
    series: tuple[Series, ...]
    failed: tuple[tuple[str, float, str, str], ...] = ()
    best: str = ""
    tied: frozenset[str] = frozenset()
    unplaced: int = 0
    batch_size: int | None = None

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Read the values of a store, and which are tied with the best; the first metric where none is named."""
        listing = store.listing()
        run = run_id(store, asked.run)
        records = listing.records(run=run, variant=asked.variant, slices=asked.part)
        checkpoints = [row for row in listing.checkpoints(run) if asked.variant in (None, row["variant"])]
        results = build(records, checkpoints)
        if not results.metrics:
            raise UsageError("no value is on record, so that there is no curve; `milepost ls` lists what there is")
        metric = asked.metric or results.metrics[0]
        if metric not in results.metrics:
            raise UsageError(f"no curve of {metric!r}: the values by checkpoint are {', '.join(results.metrics)}")
        data = one_data(sorted({row.data for row in results.rows if metric in row.cells}), asked.data)
        best, tied = "", set[str]()
        with suppress(UsageError):  # no value that can be compared: the curve shows what there is
            found = best_of(store, metric, data, asked.run, asked.part, asked.variant)
            best = str(found.best["checkpoint"]["digest"])
            tied = {str(rival.record["checkpoint"]["digest"]) for rival in found.tied}
        return cls.among(results, metric, data, best, tied)

    @classmethod
    def among(cls, results: Results, metric: str, data: str, best: str = "", tied: Collection[str] = ()) -> Self:
        """Return the curve of rows of a table; those of earlier code are left out."""
        rows = [row for row in results.rows if row.data == data and metric in row.cells and not is_earlier(row.status)]
        slices = sorted({row.slice for row in rows})
        if len(slices) > 1:
            raise UsageError(f"a curve shows one slice; name one: {', '.join(slices)}")
        groups = defaultdict[tuple[str, str], list[Row]](list)
        for row in rows:
            if row.step is not None:
                groups[row.run, row.variant].append(row)
        failed = tuple(
            (row.run, float(row.step), ", ".join(row.names), row.status)
            for row in results.rows
            if row.failed and row.step is not None
        )
        cells = [row.cells[metric] for row in rows]
        return cls(
            metric=metric,
            data=data,
            slice=slices[0] if slices else "all",
            share=any(cell.share for cell in cells),
            series=tuple(_series(key, group, metric) for key, group in sorted(groups.items(), key=_raw_first)),
            failed=failed,
            best=best,
            tied=frozenset(tied),
            unplaced=sum(row.step is None for row in rows),
            batch_size=next((cell.batch_size for cell in cells if cell.batch_size is not None), None),
        )

    def chart(self) -> Chart:
        """Return a band and a line for each series, the batch mean faint, the best and what is tied with it marked."""
        marks: list[Mark] = []
        labels = labels_of(self.series)
        many = len(self.series) > _MANY
        for colour, (one, label) in enumerate(zip(self.series, labels, strict=True)):
            if not many:
                marks.append(Band(one.step, one.low, one.high, colour))
            marks.append(Polyline(one.step, one.value, colour, label=label))
            if not many and np.isfinite(one.batch_mean).any():
                marks.append(Polyline(one.step, one.batch_mean, colour, faint=True, label=self._mean_label(colour)))
            if len(one.step) <= _FEW and not many:
                titles = tuple(self._title(one, place) for place in range(len(one.step)))
                marks.append(Points(one.step, one.value, colour, titles=titles))
        marks += self._highlights()
        values = [
            float(item)
            for one in self.series
            for part in (one.value, one.low, one.high, one.batch_mean)
            for item in part
        ]
        limits = padded(values, floor=0.0, ceiling=1.0) if self.share else padded(values)
        steps = [float(item) for one in self.series for item in one.step] + [step for _, step, *_ in self.failed]
        marks += self._failures(limits[0])
        x = Axis("step", *padded(steps), whole=True)
        y = Axis(f"{self.metric}", *limits, percent=self.share)
        return Chart(self._heading(), (Panel(x, y, tuple(marks)),), self._notes(), self._table())

    def _mean_label(self, colour: int) -> str:
        """Return the label of the batch means: once, at the first."""
        return f"mean of batches of {self.batch_size}" if colour == 0 else ""

    def _heading(self) -> str:
        part = "" if self.slice == "all" else f", {self.slice}"
        return printable(f"{self.metric} on {self.data}{part}")

    def _highlights(self) -> list[Mark]:
        found: list[Mark] = []
        label = "tied with the best"
        for colour, one in enumerate(self.series):
            tied = np.array([digest in self.tied for digest in one.digests], np.bool_)
            best = np.array([bool(self.best) and digest == self.best for digest in one.digests], np.bool_)
            if tied.any():
                found.append(Points(one.step[tied], one.value[tied], colour, "ring", label))
                label = ""
            if best.any():
                titles = tuple(self._title(one, int(place)) for place in np.flatnonzero(best))
                found.append(Points(one.step[best], one.value[best], colour, "star", "best", titles))
        return found

    def _failures(self, floor: float) -> list[Mark]:
        if not self.failed:
            return []
        x = np.array([step for _, step, *_ in self.failed], np.float64)
        titles = tuple(printable(f"{name}: {why}") for _, _, name, why in self.failed)
        return [Points(x, np.full(len(x), floor), NEUTRAL, "cross", "failed", titles)]

    def _title(self, one: Series, place: int) -> str:
        places = decimals(one.n[place])
        spread = _spread(one, place, places)
        value = float(one.value[place])
        return printable(
            f"{one.run} {one.names[place]}, step {count(int(one.step[place]))}: "
            f"{self.metric} {number(value, places)} {spread}".rstrip()
        )

    @property
    def rows(self) -> str:
        """How many rows are behind the values."""
        sizes = sorted({n for one in self.series for n in one.n if n is not None})
        if not sizes:
            return "n is not on record"
        return f"n = {count(sizes[0])}" + (f" to {count(sizes[-1])}" if len(sizes) > 1 else "")

    def _notes(self) -> tuple[str, ...]:
        banded = any(np.isfinite(one.low).any() for one in self.series)
        words = "bands are 95 % intervals" if banded else "no intervals are on record"
        words = f"intervals are left out beside {len(self.series)} lines" if len(self.series) > _MANY else words
        notes = [f"{self.rows}; {words}"]
        if self.unplaced:
            notes.append(f"{self.unplaced} without a step are not drawn")
        return tuple(notes)

    def _table(self) -> NumbersTable:
        rows = []
        for one in self.series:
            for place, step in enumerate(one.step):
                places = decimals(one.n[place])
                spread = _spread(one, place, places)
                value = number(float(one.value[place]), places)
                rows.append((one.run, one.variant, count(int(step)), one.names[place], value, spread))
        return NumbersTable(("run", "variant", "step", "name", self.metric, "95 % interval"), tuple(rows))


def plotted(results: Results, metric: str, data: str | None, axes: Any) -> Any:
    """Draw the curve of a table into matplotlib's axes, new ones for None, and return them."""
    from milepost.report.chart.pyplot import draw, new_axes  # noqa: PLC0415 - matplotlib is an extra

    if metric not in results.metrics:
        raise UsageError(f"no curve of {metric!r}: the values by checkpoint are {', '.join(results.metrics) or 'none'}")
    name = one_data(sorted({row.data for row in results.rows if metric in row.cells}), data)
    chart = Curve.among(results, metric, name).chart()
    shown = new_axes(chart) if axes is None else axes
    draw(chart.panels[0], shown, chart.title)
    return shown


def _spread(one: Series, place: int, places: int) -> str:
    low, high = float(one.low[place]), float(one.high[place])
    return "" if math.isnan(low) or math.isnan(high) else interval(low, high, places)


def _raw_first(item: tuple[tuple[str, str], list[Row]]) -> tuple[str, bool, str]:
    (run, variant), _ = item
    return run, variant != RAW, variant


def _series(key: tuple[str, str], rows: Sequence[Row], metric: str) -> Series:
    rows = sorted(rows, key=lambda row: (row.step or 0, row.names))
    cells = [row.cells[metric] for row in rows]

    def numbers(name: str) -> Array:
        found = (getattr(cell, name) for cell in cells)
        return np.array([np.nan if item is None else item for item in found], np.float64)

    return Series(
        *key,
        names=tuple(", ".join(row.names) for row in rows),
        digests=tuple(row.digest for row in rows),
        step=np.array([row.step for row in rows], np.float64),
        value=numbers("value"),
        low=numbers("low"),
        high=numbers("high"),
        batch_mean=numbers("batch_mean"),
        n=tuple(row.n for row in rows),
    )


def labels_of(series: Sequence[Series]) -> list[str]:
    """Return what tells the series apart: the run where there are several, the variant where there are several."""
    runs, variants = {one.run for one in series}, {one.variant for one in series}
    found = []
    for one in series:
        words = [one.run] * (len(runs) > 1) + [one.variant] * (len(variants) > 1 or one.variant != RAW)
        found.append(printable(" ".join(words) or one.run))
    return found
