"""The `SidecarEvaluator` of `tf.keras.utils`, which Keras 3 has not: the same constructor, but every checkpoint, once.

Checkpoints of any format that Milepost reads are restored whole or not at all, by the confined reader; the numbers are
those of Keras' own `model.evaluate`, under its names.  They go into no store: model and data are objects of this
process that nobody described.  For exact metrics, a store and a restart that goes on, write an `Evaluation`.
"""

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost._internal.text import natural
from milepost.checkpoints.names import step_of_name
from milepost.compat._arrivals import Arrivals, key_of
from milepost.core.types import CheckpointFiles, Failure
from milepost.engines._process.confined_reader import ConfinedReader
from milepost.errors import CheckpointError, Torn, UsageError
from milepost.restore.matching import restore
from milepost.watch.stop_conditions import Producer, StopConditions

_NUMBERED = re.compile(r"-(\d{1,18})$")
_SUFFIXES = (".weights.h5", ".weights.json", ".index", ".keras", ".h5", ".npz", ".safetensors")
_LAST = 1 << 62
_SILENCE_SECONDS = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SidecarResult:
    """One checkpoint: `logs` are `model.evaluate`'s numbers by name, or `failure` says why there are none.

    `step` is what the file tells, else its name; `digest` is that of the weights, `notes` say how they were restored.
    """

    checkpoint: str
    step: int | None
    logs: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    digest: str | None = None
    notes: Mapping[str, object] = field(default_factory=dict)


class SidecarEvaluator:
    """Evaluates every checkpoint of a folder beside training, in order, as each becomes whole.

    `model` is compiled, of Keras 3 or 2, and its weights are overwritten; `data` is what `model.evaluate` takes as its
    first argument (a `tf.data.Dataset`, ...), or a pair or triple of arrays: inputs, labels, weights.  `steps` and
    `callbacks` go to `model.evaluate`; with a checkpoint's step, the optimizer's `iterations` are set to it before.

    `max_evaluations=7` ends `start` once there is a result, a failure too, of a checkpoint whose name has the number 7
    or more ("ckpt-7"), and none is left in the folder.  It is no count: "model-500" as the first ends it as well; only
    names without a number are counted, in order.  A file DONE in the folder ends it too; without either, Ctrl-C, after
    which `results` has what was done.  One that is being written is waited for, at the end for as long as
    `torn_seconds` after its last change.  One that fails is a result, and the next ones are evaluated.  The same
    weights under another name are not evaluated again.  Each result is logged as it comes: numbers at level INFO,
    failures as warnings.

    >>> SidecarEvaluator(None, None, "runs", max_evaluations=3).results
    []
    """

    poll_seconds = 1.0
    torn_seconds = 600.0

    def __init__(
        self,
        model: Any,
        data: Any,
        checkpoint_dir: str,
        steps: int | None = None,
        max_evaluations: int | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.checkpoint_dir = os.fspath(checkpoint_dir)
        self.steps = steps
        self.max_evaluations = max_evaluations
        self.callbacks = list(callbacks or ())
        self.results: list[SidecarResult] = []
        self._known: dict[str, Mapping[str, float]] = {}

    def start(self) -> list[SidecarResult]:
        """Evaluate until the end, and return the results in the order in which they were made.

        Raises UsageError for a model that is not compiled or cannot be built; errors of `model.evaluate` pass through.
        """
        from milepost.models.keras import KerasModel  # noqa: PLC0415 - Keras, only where it is used

        if getattr(self.model, "optimizer", None) is None and not getattr(self.model, "compiled", False):
            raise UsageError("SidecarEvaluator: the model is not compiled; model.compile(loss=..., metrics=[...])")
        self._build()
        adapter = KerasModel(self.model)
        with tempfile.TemporaryDirectory(prefix="milepost-sidecar-") as spool:
            reader = ConfinedReader("milepost.checkpoints.reader", None, spool, [os.path.abspath(self.checkpoint_dir)])
            arrivals = _Arrivals(self, reader)
            try:
                for found in arrivals:
                    result = self._evaluated(found, reader, adapter, spool)
                    if result.failure is None or not arrivals.again(found, result.failure):
                        self.results.append(result)
                        _report(result)
            finally:
                reader.close()
        return self.results

    def _evaluated(self, found: CheckpointFiles, reader: ConfinedReader, adapter: Any, spool: str) -> SidecarResult:
        path, step = found.path.removesuffix(".index"), _number(found.path)
        try:
            table = reader.table(found, spool)
            step = table.step if table.step is not None else step
            # What the reader unpacked stays mapped after its name is gone; files of others are read.
            restored = restore(table, adapter.variables(), "raw", mapped=lambda file: file not in found.paths)
            fresh = restored.digest not in self._known
            if fresh:
                adapter.assign(restored.arrays)
        except CheckpointError as error:
            return SidecarResult(path, step, failure=Failure(error.kind, str(error)))
        finally:
            for name in os.listdir(spool):
                os.unlink(os.path.join(spool, name))
        if fresh:
            optimizer = getattr(self.model, "optimizer", None)
            if step is not None and optimizer is not None:
                optimizer.iterations.assign(step)
            logs = self.model.evaluate(
                **self._given(), steps=self.steps, callbacks=self.callbacks, verbose=0, return_dict=True
            )
            self._known[restored.digest] = {name: float(value) for name, value in logs.items()}
        return SidecarResult(path, step, self._known[restored.digest], None, restored.digest, restored.notes)

    def _given(self) -> dict[str, Any]:
        if isinstance(self.data, tuple):
            return dict(zip(("x", "y", "sample_weight"), self.data, strict=False))
        return {"x": self.data}

    def _build(self) -> None:
        """Show a model that has no weights yet one batch, as `model.evaluate` would."""
        if self.model.built:
            return
        batch = self._given()["x"] if isinstance(self.data, tuple) else next(iter(self.data))
        inputs = batch[0] if isinstance(batch, tuple) else batch
        self.model({name: item[:1] for name, item in inputs.items()} if isinstance(inputs, Mapping) else inputs[:1])


def _report(result: SidecarResult) -> None:
    name, failure = os.path.basename(result.checkpoint), result.failure
    if failure is not None:
        _log.warning("%s was not evaluated: %s: %s", name, failure.kind, failure.message)
        return
    numbers = " ".join(f"{metric}={value:.6g}" for metric, value in result.logs.items())
    _log.info("End of evaluation of %s at step %s: %s", name, result.step, numbers)


class _Arrivals(Arrivals):
    """Checkpoints as they become whole, in order of their numbers; at the end also those that nobody finished."""

    def __init__(self, owner: SidecarEvaluator, reader: ConfinedReader) -> None:
        super().__init__(owner.checkpoint_dir, lambda folder: sorted(reader.discover([folder]), key=_order))
        self._owner = owner
        self._producer = Producer(self._folder, StopConditions(done=True))
        self._retried: dict[tuple[str, object], float] = {}
        self._waiting = 0.0
        self._silent = time.monotonic()

    def __iter__(self) -> Iterator[CheckpointFiles]:
        while True:
            before = set(map(key_of, self._present))
            found = self.fresh()
            if set(map(key_of, self._present)) != before:
                self._waiting = time.monotonic()
            for one in found:
                yield one
                self._waiting = time.monotonic()
            patient = time.monotonic() - self._waiting < self._owner.torn_seconds
            if self._ended() and not (patient and any(key_of(one) not in self._handed for one in self._present)):
                yield from map(_given_up, self.unfinished())
                return
            self._say_that_nothing_comes()
            time.sleep(self._owner.poll_seconds)

    def _say_that_nothing_comes(self) -> None:
        waited = time.monotonic() - self._silent
        if self._present or waited < _SILENCE_SECONDS:
            return
        _log.info("No checkpoints appear to be found in %s for %.0f seconds; waiting goes on", self._folder, waited)
        self._silent = time.monotonic()

    def again(self, found: CheckpointFiles, failure: Failure) -> bool:
        """Have what was unfinished when it was read handed out again, as long as there is patience; return whether."""
        first = self._retried.setdefault(key_of(found), time.monotonic())
        if failure.kind != Torn.kind or found.failure or time.monotonic() - first >= self._owner.torn_seconds:
            return False
        self.later(found)
        return True

    def _ended(self) -> bool:
        most = self._owner.max_evaluations
        numbers = [_number(one.checkpoint) for one in self._owner.results]
        counted = [number if number is not None else place for place, number in enumerate(numbers, 1)]
        reached = most is not None and any(number >= most for number in counted)
        return reached or self._producer.ended() is not None


def _given_up(found: CheckpointFiles) -> CheckpointFiles:
    message = found.failure[1] if found.failure else f"{found.path}: it is still being written, or was cut off"
    return CheckpointFiles(found.path, None, found.paths, found.identity, "failed", (Torn.kind, message))


def _order(found: CheckpointFiles) -> tuple[int, object]:
    number = _number(found.path)
    return _LAST if number is None else number, natural(found.path)


def _number(path: str) -> int | None:
    """Return the number at the end of a name, after a hyphen, as TensorFlow counts its checkpoints; else its step."""
    name = os.path.basename(path)
    stem = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
    match = _NUMBERED.search(stem)
    return int(match[1]) if match else step_of_name(path)
