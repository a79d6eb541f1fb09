"""What there is to score: the columns that a store has kept of an evaluation and of its data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from milepost.core.protocols import Metric, RandomAccess
from milepost.core.types import Array, Json
from milepost.data._order import make_order
from milepost.errors import StoreError
from milepost.store.columns import ColumnsReader
from milepost.store.datasets import Dataset
from milepost.store.evaluations import partial_of
from milepost.store.store import Store

CHUNK = 1 << 16
"""Rows that are held in memory together."""
GROUP_NUMBER = "number of the group"
"""A column that is made up: groups counted from 0, in the order of the pass.  No kept column has this name."""
_POSITIONS = ""
"""No column has this name."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What there is to score: the columns of rows [0, stop) of an evaluation, and of its data.

    `partial` marks weights of which variables were missing.  Of a slice, `chosen` holds the positions of its rows, in
    the source's own order.  `digest` is the data's, `about` its spec, `task` the task's.  `read` holds short columns
    that were read, for all slices.
    """

    outcomes: ColumnsReader
    data: ColumnsReader
    order: RandomAccess
    stop: int
    size: int
    name: str
    partial: str = ""
    chosen: Array | None = None
    digest: str = ""
    task: Mapping[str, Json] = field(default_factory=dict, repr=False)
    about: Mapping[str, Json] = field(default_factory=dict, repr=False)
    read: dict[tuple[str, int], Array] = field(default_factory=dict, repr=False, compare=False)
    _once: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def status(self) -> str:
        """`ok` where every variable was restored and every row is covered, else what is missing of either."""
        rows = "" if self.stop == self.size else f"partial {self.stop}/{self.size}"
        return "; ".join(word for word in (self.partial, rows) if word) or "ok"

    @property
    def n(self) -> int:
        """The number of rows to score."""
        return self.stop if self.chosen is None else len(self.chosen)

    @property
    def weighted(self) -> bool:
        """Whether rows count by their weights."""
        return "weight" in self.data.names

    @property
    def grouped(self) -> bool:
        """Whether rows belong to groups, and may depend on each other within one."""
        return "group" in self.data.names

    def chunks(self, names: Sequence[str]) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield columns and weights of the rows to score, a chunk at a time, in the order that is quickest to read.

        It is the same order for all that has the same rows of the same data.
        """
        if self.n <= CHUNK or self.chosen is not None:
            yield from self.blocks(names, CHUNK)
            return
        for start in range(0, self.n, CHUNK):
            stop = min(start + CHUNK, self.n)
            weights = self.data.slice("weight", start, stop) if self.weighted else None
            yield {name: self._reader(name).slice(name, start, stop) for name in names}, weights

    def blocks(self, names: Sequence[str], step: int) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield columns of `step` rows at a time in the source's own order, and the rows' weights.

        Rows that fit one block are gathered once for all metrics.
        """
        wanted = (*names, "weight") if self.weighted else tuple(names)
        if self.n <= step:
            held = self._once
            for name in wanted:
                if name not in held:
                    held[name] = self._take(name, self._positions(step))
            yield {name: held[name] for name in names}, held.get("weight")
            return
        for positions in self.natural(step):
            block = {name: self._take(name, positions) for name in wanted}
            yield {name: block[name] for name in names}, block.get("weight")

    def _positions(self, step: int) -> Array:
        """Return the positions of all rows to score, which fit one block."""
        if _POSITIONS not in self._once:
            (self._once[_POSITIONS],) = self.natural(step)
        return self._once[_POSITIONS]

    def natural(self, step: int) -> Iterator[Array]:
        """Yield positions, `step` rows at a time: the rows to score in the source's own order, as if they were all."""
        rows = self.chosen
        if rows is None and self.stop < self.size:
            rows = self.order.positions(np.sort(self.order.rows(np.arange(self.stop))))
        for start in range(0, self.n, step):
            stop = min(start + step, self.n)
            yield self.order.positions(np.arange(start, stop)) if rows is None else rows[start:stop]

    def column(self, name: str) -> Iterator[Array]:
        """Yield the rows to score of one column, a chunk at a time."""
        return (columns[name] for columns, _ in self.chunks([name]))

    def holds(self, name: str) -> bool:
        """Return whether a column is kept."""
        return name in self.outcomes.names or name in self.data.names

    def has(self, metric: Metric) -> bool:
        """Return whether every column of a metric is kept."""
        return all(map(self.holds, metric.columns))

    def _take(self, name: str, positions: Array) -> Array:
        if self.stop > CHUNK:
            return self._reader(name).take(name, positions)
        key = name, self.stop
        if key not in self.read:
            self.read[key] = self._reader(name).slice(name, 0, self.stop)
        return self.read[key][positions]

    def _reader(self, name: str) -> "ColumnsReader | _GroupNumbers":
        if name == GROUP_NUMBER:
            return _GroupNumbers(self)
        return self.outcomes if name in self.outcomes.names else self.data


@dataclass(frozen=True, slots=True)
class _GroupNumbers:
    """The numbers of the rows' groups, which stand together in the order of the pass; read once for all slices."""

    scored: Scored

    def slice(self, _: str, start: int, stop: int) -> Array:
        return self._all()[start:stop]

    def take(self, _: str, positions: Array) -> Array:
        return np.asarray(self._all()[positions])

    def _all(self) -> Array:
        key = GROUP_NUMBER, self.scored.stop
        known = self.scored.read
        if key not in known:
            known[key] = np.concatenate(list(self._numbers()))
        return known[key]

    def _numbers(self) -> Iterator[Array]:
        """Yield them a chunk at a time: a group begins where it differs from the row before."""
        number, before = 0, None
        for start in range(0, self.scored.stop, CHUNK):
            groups = self.scored.data.slice("group", start, min(start + CHUNK, self.scored.stop))
            begins = np.concatenate([[before is not None and groups[0] != before], groups[1:] != groups[:-1]])
            numbers = number + np.cumsum(begins)
            number, before = int(numbers[-1]), groups[-1]
            yield numbers


def scored_of(
    store: Store,
    key: str,
    column_set: str,
    stop: int,
    order: RandomAccess | None = None,
    opened: dict[str, Dataset] | None = None,
) -> Scored:
    """Open what an evaluation's key has kept; the order comes from the data's description where it is not given.

    `opened` keeps the data sets by digest, for the next call.
    """
    folder = store.evaluation(key)
    spec = folder.spec()
    if spec is None:
        raise StoreError(f"evaluation {key}: the store has no such evaluation")
    dataset = ({} if opened is None else opened).setdefault(spec["data"], store.dataset(spec["data"]))
    described = dataset.spec() or {}
    size = int(described["size"])
    data = dataset.read()
    if order is None:
        kind = described["order"]
        permuted = "row" in data.names  # groups are: their number does not give their order
        order = _Recorded(data) if permuted else make_order(kind["kind"], size, kind.get("seed", 0))
    outcomes, partial = folder.parts(column_set).read(), partial_of(spec)
    names = {str(label): name for label, name in dataset.class_names.read().items()}
    about = {**described, "described": {**(described.get("described") or {}), "classes": names}} if names else described
    known = {"digest": spec["data"], "task": spec.get("task") or {}, "about": about}
    return Scored(outcomes, data, order, stop, size, spec["data_name"], partial, **known)


class _Recorded:
    """The order of grouped data, from the rows' numbers that passes left: of the rows covered from the first on."""

    def __init__(self, data: ColumnsReader) -> None:
        self._rows = data.slice("row", 0, data.coverage[0][1])
        self._sorted = np.argsort(self._rows)

    def rows(self, positions: Array) -> Array:
        return np.asarray(self._rows[positions])

    def positions(self, rows: Array) -> Array:
        return np.asarray(self._sorted[np.searchsorted(self._rows, rows, sorter=self._sorted)])


def holding(
    store: Store, key: str, metric: Metric, stop: int | None = None, opened: dict[str, Dataset] | None = None
) -> Scored | None:
    """Open what an evaluation has kept of a metric's columns on rows [0, stop), by default on as many as there are.

    None where its columns are not kept, or not on all of these rows.  `opened` keeps the data sets by digest, for the
    next call.
    """
    widest: Scored | None = None
    for column_set in store.evaluation(key).column_sets():
        try:
            scored = scored_of(store, key, column_set, 0, opened=opened)
        except StoreError as error:
            store.on_damage(error)
            continue
        covered = scored.outcomes.coverage
        last = covered[0][1] if covered and covered[0][0] == 0 else 0
        if scored.has(metric) and last >= max(stop or 1, widest.stop + 1 if widest else 1):
            widest = replace(scored, stop=last if stop is None else stop)
    return widest


def lacking(store: Store, key: str, metric: Metric, data: str) -> str:
    """Say which column of a metric an evaluation has not kept, and what to do about it."""
    folder = store.evaluation(key)
    opened = [scored_of(store, key, name, 0) for name in folder.column_sets()]
    names = sorted({name for scored in opened for name in (*scored.outcomes.names, *scored.data.names)})
    absent = [name for name in metric.columns if name not in names]
    if not absent:
        return f"{metric.headline} on {data}: no rows of {', '.join(metric.columns)} are kept from the first one on"
    return (
        f"{metric.headline} reads the column {absent[0]!r}, which is not kept on {data} (kept: {', '.join(names)}); "
        "add the metric to the evaluation, or set Evaluation(keep='all'), and run it again: this needs the model"
    )


def slices_of(store: Store, data: str, stop: int) -> dict[str, Array]:
    """Return the slices on record of some data, by its digest, as values of rows [0, stop): those known of them all."""
    dataset = store.dataset(data)
    readers = {name: dataset.slice(name).read() for name in dataset.slices()}
    whole = {name: reader for name, reader in readers.items() if reader.coverage[:1] and reader.coverage[0][0] == 0}
    return {name: reader.slice("value", 0, stop) for name, reader in whole.items() if reader.coverage[0][1] >= stop}
