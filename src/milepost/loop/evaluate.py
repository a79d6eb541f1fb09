"""THE LOOP: the loaded weights of one or many checkpoints through one pass over a range of the data.

Everything else in Milepost serves these lines: predict a batch with each of them, reduce outputs and labels to
columns, and hand the columns on as parts that begin and end on the grid.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from milepost._internal import heartbeat
from milepost._internal.serialization import digest
from milepost._internal.text import listed
from milepost._internal.threads import OneBehind, ahead
from milepost.core.capabilities import capability
from milepost.core.protocols import (
    HoldsOutputs,
    Metric,
    Model,
    NotesUnread,
    ReadsLabels,
    Source,
    Task,
)
from milepost.core.specs import spec_of
from milepost.core.types import LEAST_WEIGHT, MOST_WEIGHT, Array, Batch, Failure, Json, Part
from milepost.errors import CheckpointError, DataError, Mismatch
from milepost.loop.checks import ModelChecks, predict
from milepost.loop.grid import GridCuts, is_grouped
from milepost.loop.input_summary import summary_of
from milepost.loop.model_check import ModelCheck
from milepost.loop.output_summary import output_summary
from milepost.loop.row_checksums import with_checksums

PUBLISH_SECONDS = 5.0
"""A part is handed on after this time at the latest (and the batch in flight), so that a kill loses no more."""

PUBLISH_ROWS = 1 << 17
"""Or after this many rows, so that memory does not grow with the speed of the model."""

TOGETHER_ROWS = 1 << 12
"""Small outputs wait for others and are reduced together: a call costs as much for few rows as for many."""

TOGETHER_BYTES = 1 << 17
"""Or from this many bytes of outputs on; larger ones wait for nothing."""

_Held = tuple[Array, "_BatchRows", int, int]


@dataclass(slots=True)
class Pass:
    """What a pass needs besides the weights.

    `checks` know which checkpoint was checked, and how; the first batch fills `inputs`, what the model is given, and
    `outputs`, its scores.
    `kept` are the columns that parts hold; the metrics in `folded` read columns that are not kept, and live on as
    states.
    """

    model: Model
    source: Source
    task: Task
    kept: frozenset[str]
    batch_size: int
    folded: Sequence[Metric] = ()
    environment: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Json] | None = None
    outputs: Mapping[str, Json] | None = None
    checks: ModelChecks = field(init=False)

    def __post_init__(self) -> None:
        self.checks = ModelChecks(self.model, self.task, self.batch_size)

    @property
    def wanted(self) -> frozenset[str]:
        """Every column to compute."""
        return self.kept.union(*(metric.columns for metric in self.folded)) & frozenset(self.task.columns())


def evaluate(
    work: Pass, loaded: Mapping[str, Any], start: int, stop: int, loading: Mapping[str, float] | None = None
) -> Iterator[tuple[str, Part | Failure]]:
    """Yield (checkpoint's name, part) as the pass over positions [start, stop) goes on, or its one failure.

    Parts of grouped data begin and end at the first group end at or after these bounds, and after the grid's.
    Batches are cut at multiples of the batch size in the order: one that begins before `start` is predicted whole and
    gives its own rows only, so that a resumed range has the columns of an undisturbed one.  Parts carry the
    data's own columns too (`data.label`, ...), by which passes are compared.  A DataError ends the pass: it is no
    checkpoint's fault.
    """
    buffers = {name: _Buffer(work, (loading or {}).get(name, 0.0)) for name in loaded}
    cuts = GridCuts(start, stop, grouped=is_grouped(work.source), size=work.source.size)
    work.checks.begin(start, stop)
    with OneBehind() as behind:
        for outcome in _passed(work, loaded, buffers, behind, cuts):
            if isinstance(outcome[1], Failure):
                buffers.pop(outcome[0], None)
            yield outcome


def _passed(
    work: Pass, loaded: Mapping[str, Any], buffers: dict[str, "_Buffer"], behind: OneBehind, cuts: GridCuts
) -> Iterator[tuple[str, Part | Failure]]:
    """Take the buffers through the pass; one that failed is taken out by the caller before the next is asked for."""
    published = mark = time.perf_counter()
    start = done = cuts.start
    for batch, checksums in ahead(with_checksums(work.source.batches(*cuts.asked, work.batch_size))):
        waited, mark = time.perf_counter() - mark, time.perf_counter()
        cells, (low, high) = cuts.meet(batch), cuts.rows(batch)
        done = batch.start + len(batch.labels)
        if low == high:  # of grouped data: before the range, or behind it
            if cuts.over(done):
                break
            continue
        rows = _rows_of(work.task, batch, checksums, cells)
        for name in list(buffers):
            buffers[name].clocks["data"] += waited / len(buffers)
            failure = _take(work, loaded[name], batch, rows, (low, high), buffers[name], behind)
            if failure is not None:
                yield name, failure
            heartbeat.beat()
        mark = time.perf_counter()
        if not buffers:
            return
        if cuts.over(high):
            break
        if mark - published > PUBLISH_SECONDS or high - start >= PUBLISH_ROWS:
            published, start = mark, cuts.done(high)
            yield from _cut(buffers, start, behind)
    if done < cuts.stop:
        raise DataError(
            f"the source ended at row {done}, but {cuts.stop} rows were expected: it has fewer rows than its size"
        )
    yield from _cut(buffers, cuts.done(done) if cuts.over(done) else done, behind)


def _take(  # noqa: PLR0917 - one row of a table of checkpoints and batches
    work: Pass,
    weights: Any,
    batch: Batch,
    rows: "_BatchRows",
    bounds: tuple[int, int],
    buffer: "_Buffer",
    behind: OneBehind,
) -> Failure | None:
    """Predict a batch with one checkpoint's weights, hand the outputs to its buffer; return what it failed of."""
    mark = time.perf_counter()
    try:
        outputs = predict(work.model, weights, batch.inputs, batch.start, batch.start + len(batch.labels))
        mark = _tick(buffer.clocks, "model", mark)
        buffer.take(outputs, rows, bounds, behind)  # before the check: a model may use one array for all its outputs
        buffer.model_check = _check(work, weights, batch, outputs, buffer.model_check)
    except CheckpointError as error:
        # The error ends here: its traceback holds what may be large.
        return Failure(error.kind, str(error))
    finally:
        _tick(buffer.clocks, "metrics", mark)
    return None


def _cut(buffers: dict[str, "_Buffer"], stop: int, behind: OneBehind) -> Iterator[tuple[str, Part | Failure]]:
    """Hand on what lies before `stop`, once all of it is reduced."""
    behind.settle()
    for name, buffer in list(buffers.items()):
        part = buffer.cut(stop)
        if part is not None:
            yield name, part


def _tick(clocks: dict[str, float], name: str, since: float) -> float:
    now = time.perf_counter()
    clocks[name] += now - since
    return now


def _check(work: Pass, weights: Any, batch: Batch, outputs: Any, known: ModelCheck | None) -> ModelCheck:
    """Return the checkpoint's model check, made on its first batch; see that a function read all that it was given."""
    if work.inputs is None:
        work.inputs, work.outputs = summary_of(batch.inputs), output_summary(work.task.scores(outputs))
    found = work.checks.check(weights, batch, outputs, known)
    noting = capability(work.model, NotesUnread)
    names = [] if noting is None else noting.unread(weights)
    if names:
        raise Mismatch(
            f"predict never read {len(names)} tensors of the checkpoint: {listed(names)}; expected it to "
            "read all: name in FunctionModel(ignore=...) what belongs to something else"
        )
    return found


class _Buffer:
    """The rows of one checkpoint since its last part: kept columns as they come, the rest folded into states."""

    def __init__(self, work: Pass, loading: float) -> None:
        self.clocks = {"load": loading, "data": 0.0, "model": 0.0, "metrics": 0.0}
        self.model_check: ModelCheck | None = None
        self._work = work
        self._holding = capability(work.task, HoldsOutputs)
        self._begin: int | None = None
        self._waiting: list[_Held] = []
        self._columns: dict[str, list[Array]] = {}
        self._cells: dict[int, dict[str, Any]] = {}  # by the first row of a cell: metric -> state

    def take(self, outputs: Any, rows: "_BatchRows", bounds: tuple[int, int], behind: OneBehind) -> None:
        """Take rows [low, high) of a batch: what the task can hold is reduced while the next batch is predicted."""
        held = None if self._holding is None else self._holding.hold(outputs, rows.labels)
        self._begin = bounds[0] if self._begin is None else self._begin
        if held is None or (self._waiting and not _alike(self._waiting[-1], held, rows)):
            behind.start(self._reduce, self._waiting)
            self._waiting = []
        if held is None:
            behind.settle()
            self._add(self._work.task.reduce(outputs, rows.labels, self._work.wanted), rows, *bounds)
            return
        self._waiting.append((held, rows, *bounds))
        if len(self._waiting) * len(held) >= TOGETHER_ROWS or len(self._waiting) * held.nbytes >= TOGETHER_BYTES:
            behind.start(self._reduce, self._waiting)
            self._waiting = []

    def _reduce(self, waiting: list[_Held]) -> None:
        if not waiting:
            return
        outputs = np.concatenate([held for held, _, _, _ in waiting]) if len(waiting) > 1 else waiting[0][0]
        labels = np.concatenate([batch.labels for _, batch, _, _ in waiting])
        columns = self._work.task.reduce(outputs, labels, self._work.wanted)
        begin = 0
        for held, batch, low, high in waiting:
            rows = slice(begin, begin + len(held))
            self._add({name: item[rows] for name, item in columns.items()}, batch, low, high)
            begin = rows.stop

    def _add(self, columns: Mapping[str, Array], batch: "_BatchRows", low: int, high: int) -> None:
        """Take the rows [low, high) of a batch, and what the data itself says of them."""
        rows = slice(low - batch.start, high - batch.start)
        for name in self._work.kept & columns.keys():
            self._columns.setdefault(name, []).append(columns[name][rows])
        for name, item in batch.shared.items():
            self._columns.setdefault(f"data.{name}", []).append(item[rows])
        if self._work.folded:
            self._fold({**columns, "label": batch.shared["label"]}, batch, low, high)

    def _fold(self, columns: Mapping[str, Array], batch: "_BatchRows", low: int, high: int) -> None:
        """Add rows to the state of their cell, so that states end where parts may."""
        for cell, end in pairwise((*batch.cells, high)):
            first, last = max(low, cell), min(high, end)
            if first >= last:
                continue
            rows = slice(first - batch.start, last - batch.start)
            here = self._cells.setdefault(cell, {})
            weights = batch.shared.get("weight")
            for metric in self._work.folded:
                name = digest(spec_of(metric))
                own = {item: columns[item][rows] for item in metric.columns}
                state = metric.state(own, None if weights is None else weights[rows])
                here[name] = here[name].merge(state) if name in here else state

    def cut(self, stop: int) -> Part | None:
        """Hand on the rows before `stop` as a part; None where there are none."""
        waiting, self._waiting = self._waiting, []
        self._reduce(waiting)
        if self._begin is None or stop <= self._begin:
            return None
        count = stop - self._begin
        columns = {}
        for name, pieces in self._columns.items():
            whole = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
            columns[name], self._columns[name] = whole[:count], [whole[count:]]
        part = Part(self._begin, stop, columns, self._states(stop), self._environment())
        self._begin = stop
        self.clocks = dict.fromkeys(self.clocks, 0.0)
        return part

    def _states(self, stop: int) -> dict[str, bytes]:
        merged: dict[str, Any] = {}
        for cell in sorted(self._cells):
            if cell < stop:
                for name, state in self._cells.pop(cell).items():
                    merged[name] = merged[name].merge(state) if name in merged else state
        return {name: state.to_bytes() for name, state in merged.items()}

    def _environment(self) -> dict[str, Json]:
        checked = self.model_check
        seconds = {name: round(spent, 6) for name, spent in self.clocks.items()}
        return {
            **self._work.environment,
            "batch_size": self._work.batch_size,
            "model_check": None if checked is None else self._work.checks.record(checked),
            "inputs": self._work.inputs,
            "outputs": self._work.outputs,
            "timings": seconds,
        }


class _BatchRows(NamedTuple):
    """What is needed of a batch once it was predicted: not its inputs, which may be large.

    `labels` are the source's, `shared` are the data's own columns, and `cells` where the cells of the grid begin in it.
    """

    labels: Array
    start: int
    shared: Mapping[str, Array]
    cells: tuple[int, ...]


def _rows_of(task: Task, batch: Batch, checksums: Array | None, cells: tuple[int, ...]) -> _BatchRows:
    """Take what is needed of a batch; a DataError for weights that no source of Milepost's gives."""
    if batch.weights is not None:
        weights = np.asarray(batch.weights)
        fine = (weights >= LEAST_WEIGHT) & (weights <= MOST_WEIGHT)
        if weights.shape != (len(batch.labels),) or not fine.all():
            found = f"{weights[~fine][0]}" if weights.size and not fine.all() else f"shape {weights.shape}"
            raise DataError(
                f"weights of the batch at row {batch.start}: expected one number a row, from {LEAST_WEIGHT} to "
                f"{MOST_WEIGHT}; found {found}: a source leaves out rows of weight 0"
            )
    # Where groups are permuted only the rows' own numbers lead back to the source's order.
    rows = None if batch.groups is None else batch.rows
    reading = capability(task, ReadsLabels)
    labels = batch.labels if reading is None else reading.label_column(batch.labels)
    columns = {"label": labels, "weight": batch.weights, "id": batch.ids, "group": batch.groups, "row": rows}
    columns["checksum"] = checksums
    slices = {f"slice.{name}": item for name, item in (batch.slices or {}).items()}
    shared = {name: np.asarray(item) for name, item in {**columns, **slices}.items() if item is not None}
    return _BatchRows(batch.labels, batch.start, shared, cells)


def _alike(before: _Held, held: Array, batch: _BatchRows) -> bool:
    """Return whether outputs and labels can stand behind others without changing the dtype of either."""
    known, label, own = before[0], before[1].labels, batch.labels
    here = held.dtype, held.shape[1:], own.dtype, own.shape[1:]
    return (known.dtype, known.shape[1:], label.dtype, label.shape[1:]) == here
