"""Which check a checkpoint gets on its first batch, and how far batches of other sizes move its scores.

Every process checks in full until a checkpoint passes whose scores vary from row to row; those behind it are checked
lightly.  With the one that passed, the rounding is measured: rows that are predicted alone beside the same rows in a
batch, in the first batch and in one from the middle of the pass, of the latter one half as well.  That takes at most
the time of one more batch, or a millisecond.  Where the user's batches are single rows, a few of them are predicted
together.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from milepost._internal import heartbeat
from milepost._internal.memory import ran_out
from milepost._internal.text import listed
from milepost.core.capabilities import capability
from milepost.core.protocols import (
    CompilesEachSize,
    DeclaresArithmetic,
    HasFixedBatch,
    Model,
    NamesChanges,
    NamesSuspects,
    Task,
)
from milepost.core.types import Array, Batch, Json
from milepost.errors import CheckpointError, DataError, ModelFailed, OutOfMemory, StochasticModel
from milepost.loop.model_check import ModelCheck, Predicted, full_check, light_check, rounding_step, slice_rows
from milepost.loop.rounding import relative_differences

SINGLE_ROWS = 32
"""So many rows of a batch are predicted alone, if there is time for it."""

JOINED_ROWS = 8
"""So many single rows are predicted together: who evaluates row by row may have no memory for more."""

_LEAST_SECONDS = 1e-3
"""A batch that takes less time than this is no measure of what may be spent."""

_UNLIKE = 2.0
"""No two numbers differ by more than twice the larger one; where NaN or infinities differ, nothing is alike."""


def has_fixed_batch(model: Model) -> bool:
    """Return whether a model takes batches of one size only."""
    fixed = capability(model, HasFixedBatch)
    return fixed is not None and fixed.fixed_batch


def predict(model: Model, weights: Any, inputs: Any, start: int, stop: int) -> Any:
    """Run the model on rows [start, stop); what its own code raises becomes the checkpoint's failure, with the place.

    The error is a text: a traceback's frames hold weights and batches.
    """
    try:
        return model.predict(weights, inputs)
    except (CheckpointError, DataError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        kind = OutOfMemory if ran_out(error) else ModelFailed
        raise kind(f"rows {start} to {stop}: {type(error).__name__}: {error} (raised at {place})") from error


@dataclass(slots=True)
class Rounding:
    """What was measured of rows that were predicted in batches of several sizes.

    `relative` is the largest difference in units of a row's scale; of `batches`, `alone` were predicted one by one and
    `resized` in halves.
    """

    relative: float = 0.0
    alone: int = 0
    resized: int = 0
    batches: int = 0

    def add(self, differences: Array) -> None:
        """Take the relative differences of some rows."""
        self.relative = max(self.relative, min(float(differences.max(initial=0.0)), _UNLIKE))


class ModelChecks:
    """The checks of one model on one data set, in one process; `batch_size` is what the user asked for."""

    def __init__(self, model: Model, task: Task, batch_size: int) -> None:
        self._model, self._task = model, task
        self._single = batch_size == 1
        self._held: list[tuple[int, Any, Array]] = []
        self._fixed = has_fixed_batch(model)
        compiling = capability(model, CompilesEachSize)
        self._compiled = compiling is not None and compiling.compiles_each_size
        self._passed = False
        self._seconds = 0.0
        self._middle = 0
        self._rounding = Rounding()

    def begin(self, start: int, stop: int) -> None:
        """Note the range of a pass: rounding is measured at its begin and in its middle."""
        self._middle = (start + stop) // 2
        self._held.clear()

    def check(self, weights: Any, batch: Batch, outputs: Any, known: ModelCheck | None) -> ModelCheck:
        """Return a checkpoint's check, made on the first batch that it predicts; `known` is that of an earlier batch.

        Raises StochasticModel, and ModelFailed where the model takes the batch but not a part of it.
        """
        if self._single and not self._rounding.batches:
            self._join(weights, batch, self._task.scores(outputs))
        if known is None:
            return self._lightly(weights, batch, outputs) if self._passed else self._fully(weights, batch, outputs)
        if self._is_due(batch):
            self._measure(weights, batch, self._task.scores(outputs), half=True)
        return known

    def record(self, check: ModelCheck) -> dict[str, Json]:
        """Return plain data of a checkpoint's check, with what was measured of the rounding so far."""
        known = self._rounding
        relative = max(min(check.relative, _UNLIKE), known.relative)
        own = check.resized if check.proves else 0  # rows that are all the same say nothing of rounding
        return {**check.plain(), "relative": relative, "measured": known.alone or max(known.resized, own)}

    def _fully(self, weights: Any, batch: Batch, outputs: Any) -> ModelCheck:
        seconds: list[float] = []

        def timed(inputs: Any) -> Array:
            begun = time.perf_counter()
            scores = self._scores(weights, batch, inputs)
            seconds.append(time.perf_counter() - begun)
            return scores

        changing = capability(self._model, NamesChanges)
        changed: Callable[[], list[str]] = list if changing is None else changing.changes(weights)
        given = replace(self._given(weights, batch, outputs), predict=timed, one_size=self._fixed)
        found = full_check(given)
        left = changed()
        if left:
            raise StochasticModel(
                f"the forward pass changes {listed(left)}: a prediction may depend on those before it; let it change "
                "in training only (in PyTorch, register a mere cache with persistent=False)"
            )
        if found.proves:
            self._passed, self._seconds = True, max(seconds[0], _LEAST_SECONDS)
            self._rounding = Rounding(found.relative, resized=found.resized)
            self._measure(weights, batch, given.first, half=False)
        return found

    def _lightly(self, weights: Any, batch: Batch, outputs: Any) -> ModelCheck:
        return light_check(self._given(weights, batch, outputs))

    def _given(self, weights: Any, batch: Batch, outputs: Any) -> Predicted:
        arithmetic, naming = capability(self._model, DeclaresArithmetic), capability(self._model, NamesSuspects)
        return Predicted(
            first=self._task.scores(outputs),
            predict=partial(self._scores, weights, batch),
            inputs=batch.inputs,
            step=rounding_step(outputs, {} if arithmetic is None else arithmetic.spec()),
            one_size=self._fixed or self._compiled,
            suspects=None if naming is None else partial(naming.suspects, weights, batch.inputs),
        )

    def _scores(self, weights: Any, batch: Batch, inputs: Any) -> Array:
        heartbeat.beat()
        stop = batch.start + len(batch.labels)
        try:
            return self._task.scores(predict(self._model, weights, inputs, batch.start, stop))
        except ModelFailed as error:
            raise ModelFailed(
                f"{error}: it took these rows before; the model check predicts them again, some of them in a smaller "
                "batch, as the last one of a pass may be"
            ) from error

    def _join(self, weights: Any, batch: Batch, first: Array) -> None:
        """Hold single rows of one checkpoint; predict them together once there are enough, whose scores differ."""
        if any(owner != id(weights) for owner, _, _ in self._held):
            return
        self._held.append((id(weights), batch.inputs, first))  # not the weights: what a pass is done with is let go
        if len(self._held) < JOINED_ROWS:
            return
        scores = np.concatenate([item for _, _, item in self._held])
        rows = [inputs for _, inputs, _ in self._held]
        self._held.clear()
        if (scores == scores[:1]).all() or self._fixed or self._compiled:
            return
        self._rounding.batches = 1
        with suppress(Exception):  # rows of several shapes, or objects of the framework's own
            found = self._scores(weights, batch, _joined(rows))
            self._rounding.add(relative_differences(scores, found))
            self._rounding.resized = len(scores)

    def _is_due(self, batch: Batch) -> bool:
        """Return whether this is the batch in the middle of a pass, and rounding was not measured there yet."""
        return self._rounding.batches == 1 and batch.start <= self._middle < batch.start + len(batch.labels)

    def _measure(self, weights: Any, batch: Batch, first: Array, *, half: bool) -> None:
        """Measure the rounding of a batch: a quarter of its time for single rows, and half of it for its first half."""
        rows = len(first)
        if self._fixed or self._compiled or rows == 1:
            return
        self._rounding.batches += 1
        with suppress(Exception):  # it has passed its check: not every model takes a single row
            if half:
                found = self._scores(weights, batch, slice_rows(batch.inputs, 0, rows // 2))
                self._rounding.add(relative_differences(first[: rows // 2], found))
            end = time.perf_counter() + self._seconds / 4
            for row in range(0, rows, max(1, rows // SINGLE_ROWS))[:SINGLE_ROWS]:
                found = self._scores(weights, batch, slice_rows(batch.inputs, row, row + 1))
                self._rounding.add(relative_differences(first[row : row + 1], found))
                self._rounding.alone += 1
                if time.perf_counter() > end:
                    break


def _joined(rows: Sequence[Any]) -> Any:
    """Return the inputs of several batches as those of one: arrays, or dicts of arrays."""
    if isinstance(rows[0], Mapping):
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return np.concatenate(rows)
