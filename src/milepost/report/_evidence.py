"""What the kept rows say of several checkpoints: the best held against each other one, row by row."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.capabilities import capability
from milepost.core.protocols import MeanMetric
from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report._metrics_on_record import recorded
from milepost.report._ranking import value_of_record
from milepost.report._slice import on_slice
from milepost.report.table import Plain
from milepost.scoring.columns import CHUNK, GROUP_NUMBER, Scored, holding
from milepost.scoring.metric_spec import metric_of
from milepost.stats.cross_fit import cross_fit, fit_interval
from milepost.stats.folds import FoldSums, fold_sums
from milepost.stats.interval import Interval
from milepost.stats.moments import Moments, moments
from milepost.stats.sample import FEW_UNITS, Block, PairedSample
from milepost.stats.tied_set import TiedSet, tied_set
from milepost.store.datasets import Dataset
from milepost.store.keys import subject
from milepost.store.listing import Listing
from milepost.store.store import Store

_BLOCK = 1 << 12
_HELD = 1 << 28
"""Bytes of contributions that are kept in memory between two readings."""
_ALIKE = 1e-9
"""Relative difference between a value and the mean of the rows that it is of: rounding."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Checkpoints on the same rows, the best (or what stands for it) first; `records` are the columns of `sample`.

    `ties` holds every one against the first; `lacking` says of other weights, by digest, why they cannot be paired.
    """

    records: tuple[Plain, ...]
    lacking: Mapping[str, str]
    sample: PairedSample
    sums: FoldSums
    found: Moments
    ties: TiedSet
    seed: int
    higher: bool
    within: tuple[float, float]

    def winner(self) -> tuple[float, Interval] | None:
        """Return what choosing the best of them yields on rows that did not choose, and the interval of that."""
        fitted = cross_fit(self.sums, higher=self.higher)
        if fitted is None:
            return None
        worse, shares = np.array([pair.worse for pair in self.ties.pairs]), self.sample.shares
        interval = fit_interval(
            fitted, self.found, worse, self.seed, higher=self.higher, shares=shares, within=self.within
        )
        return None if interval is None else (fitted.value, interval)


def evidence(
    store: Store, listing: Listing, records: Sequence[Plain], part: str, *, higher: bool
) -> Evidence | dict[str, str]:
    """Pair records of one value with the first of them; only the reasons, by digest, where that one has no pair."""
    spec = recorded(store, records[0]["metric"], _weights(records[0]))["metric"]
    try:
        metric = metric_of(spec)
    except UsageError:
        return _all(records, f"{records[0]['metric']} is of a metric that is not registered here")
    mean = capability(metric, MeanMetric)
    if mean is None or metric.headline != records[0]["metric"]:
        return _all(records, f"{records[0]['metric']} is no mean over rows")
    if not math.isfinite(value_of_record(records[0])):
        return _all(records, "of the best, the value is infinite")
    kept = _KeptEvaluations(store, listing, mean, records[0]["data"])
    first = kept.newest(records[0])
    if isinstance(first, str):
        return _all(records, f"of the best, {first}")
    sides, lacking = [_selected(store, first[0], part)], dict[str, str]()
    paired = [records[0]]
    for record in records[1:]:
        side = kept.like(record, *first)
        if isinstance(side, str):
            lacking[_weights(record)] = side
        else:
            sides.append(replace(side, chosen=sides[0].chosen))
            paired.append(record)
    rows = _PairedRows(tuple(sides), mean)
    sample = rows.sample()
    least = 2 if sample.counts else FEW_UNITS
    if sample.units < least:
        return _all(records, _few(sample, sample.units, least))
    seed = int(digest([sides[0].digest, part, metric.headline, *map(_weights, paired)])[:15], 16)
    return _checked(rows, sample, paired, lacking, seed, higher=higher)


def _checked(
    rows: "_PairedRows", sample: PairedSample, paired: list[Plain], lacking: dict[str, str], seed: int, *, higher: bool
) -> Evidence | dict[str, str]:
    """Leave out those whose rows give another value than the one on record."""
    sums = fold_sums(sample, seed)
    values = np.array([value_of_record(record) for record in paired])
    alike = np.isclose(sums.means(), values, rtol=_ALIKE, atol=_ALIKE * float(np.abs(values).max(initial=0.0)))
    if not alike[0]:
        return _all([*paired], "of the best, the kept outcomes give another value than the one on record") | lacking
    for record, same in zip(paired, alike, strict=True):
        if not same:
            lacking[_weights(record)] = "its kept outcomes give another value than the one on record"
    if not alike.all():
        rows = _PairedRows(tuple(side for side, same in zip(rows.sides, alike, strict=True) if same), rows.mean)
        sample = rows.sample()
        sums = FoldSums(sums.values[:, alike], sums.weights[:, alike], sums.folds)
    records = tuple(record for record, same in zip(paired, alike, strict=True) if same)
    found = moments(sample, sums, 0)
    if not sample.counts and found.effective_units < FEW_UNITS:
        return _all(paired, _few(sample, found.effective_units, FEW_UNITS)) | lacking
    ties = tied_set(sample, found, 0, seed, higher=higher)
    return Evidence(records, lacking, sample, sums, found, ties, seed, higher, rows.mean.range)


def _few(sample: PairedSample, units: float, least: int) -> str:
    return f"too few {'groups' if sample.grouped else 'rows'} ({units:.3g} effective; {least} are needed)"


def _all(records: Sequence[Plain], why: str) -> dict[str, str]:
    return {_weights(record): why for record in records}


def _weights(record: Plain) -> str:
    return str(record["checkpoint"]["digest"])


def _selected(store: Store, scored: Scored, part: str) -> Scored:
    """Return the rows of a slice, or all; few of them in the order of the pass, which needs no look at the source's."""
    scored = on_slice(store, scored, part)
    few = scored.chosen is None and scored.stop <= CHUNK
    return replace(scored, chosen=np.arange(scored.stop)) if few else scored


class _KeptEvaluations:
    """The evaluations of a store that have kept what a mean reads, on one data set."""

    def __init__(self, store: Store, listing: Listing, metric: MeanMetric, data: str) -> None:
        self._store = store
        self._metric: Any = metric
        self._opened: dict[str, Dataset] = {}
        self._codes = listing.codes
        self._by_weights: dict[str, list[tuple[str, str, Plain]]] = {}
        for key, evaluated in listing.evaluations.items():
            spec = evaluated.spec
            if spec.get("data_name") == data:
                self._by_weights.setdefault(spec["weights"], []).append((str(spec.get("created") or ""), key, spec))

    def newest(self, record: Plain) -> tuple[Scored, Plain] | str:
        """Return what is kept of a record, with its spec, or what is lacking; of the code of now, most rows, newest."""
        found = [
            (not self._codes.of(spec).earlier, side.stop, created, key, side, spec)
            for created, key, spec in self._by_weights.get(_weights(record), ())
            if (side := holding(self._store, key, self._metric, opened=self._opened)) is not None
        ]
        if not found:
            return "the outcomes are not kept"
        side, spec = max(found, key=lambda one: one[:4])[4:]
        return side, spec

    def like(self, record: Plain, best: Scored, spec: Plain) -> Scored | str:
        """Return what is kept of a record on the rows of the best, evaluated alike; or why there is nothing."""
        if not math.isfinite(value_of_record(record)):
            return "its value is infinite"
        held = sorted(self._by_weights.get(_weights(record), ()), key=lambda one: one[:2], reverse=True)
        held = [one for one in held if one[2]["data"] == spec["data"]]
        alike = [one for one in held if subject(one[2]) == subject(spec)]
        same = [one for one in alike if self._codes.root(one[2]) == self._codes.root(spec)]
        for _, key, _ in same:
            side = holding(self._store, key, self._metric, opened=self._opened)
            if side is not None and side.stop == best.stop:
                return side
        if same:
            return "its outcomes are not kept on these rows"
        if alike:
            return "it was evaluated with another version of the code"
        return "it was evaluated with other settings" if held else "it was evaluated on other data"


@dataclass(frozen=True, slots=True)
class _PairedRows:
    """What rows contribute to a mean, of several checkpoints that have the same rows of the same data."""

    sides: tuple[Scored, ...]
    mean: MeanMetric
    _few: list[Block] = field(default_factory=list)

    def sample(self) -> PairedSample:
        first = self.sides[0]
        columns, _ = next(first.chunks(self._names))
        shares = np.asarray(self.mean.contribution(columns)).dtype.kind == "b"
        units = first.n
        if first.grouped:
            numbers = [np.unique(columns[GROUP_NUMBER]) for columns, _ in first.chunks([GROUP_NUMBER])]
            units = len(np.unique(np.concatenate(numbers)))
        return PairedSample(len(self.sides), units, self._blocks, shares, first.weighted, first.grouped)

    @property
    def _names(self) -> tuple[str, ...]:
        metric: Any = self.mean
        return tuple(metric.columns)

    def _blocks(self) -> Iterator[Block]:
        if not self._few and self.sides[0].n * len(self.sides) * np.dtype(np.float64).itemsize <= _HELD:
            self._few.extend(self._read())
        yield from self._few or self._read()

    def _read(self) -> Iterator[Block]:
        """Read a chunk of every side at a time, and yield a block at a time of what its rows contribute."""
        numbers = _units(self.sides[0])
        # Sides of their own for each reading: what they hold of their columns goes with them.
        chunks = [replace(side, read={}).chunks(self._names) for side in self.sides]
        for sides, units in zip(zip(*chunks, strict=True), numbers, strict=True):
            weights = sides[0][1]
            values = [np.asarray(self.mean.contribution(columns)) for columns, _ in sides]
            for low in range(0, len(units), _BLOCK):
                rows = slice(low, low + _BLOCK)
                together = np.stack([one[rows] for one in values], axis=1).astype(np.float64)
                yield Block(together, None if weights is None else weights[rows], units[rows])


def _units(scored: Scored) -> Iterator[Array]:
    """Yield the number of each row's unit, as its chunks come: of its group, or of the row itself."""
    if not scored.grouped:
        starts = range(0, scored.n, CHUNK)
        yield from (np.arange(start, min(start + CHUNK, scored.n)) for start in starts)
        return
    numbers = [columns[GROUP_NUMBER] for columns, _ in scored.chunks([GROUP_NUMBER])]
    _, units = np.unique(np.concatenate(numbers), return_inverse=True)
    start = 0
    for chunk in numbers:
        yield units[start : start + len(chunk)]
        start += len(chunk)
