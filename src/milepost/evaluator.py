"""The evaluator: the role that holds the user's evaluation, answers what it is, and evaluates units.

It is the user's trusted code: it imports their file.  It is handed tables of tensors as plain data (the reader's), maps
the bytes itself, and never parses a checkpoint.
"""

import gc
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from milepost._internal import heartbeat
from milepost._internal.serialization import digest, spec_of
from milepost.checkpoints._files.shards import main_file
from milepost.core.protocols import Metric, Source
from milepost.core.types import (
    Batch,
    CheckpointFiles,
    DataDescription,
    Description,
    Failure,
    Identified,
    Job,
    Json,
    MetricDescription,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)
from milepost.errors import CheckpointError, ModelFailed, OutOfMemory, Torn, UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import code_version, entries, load, settings_of
from milepost.evaluation.settings import readings
from milepost.loop.evaluate import Pass, ran_out
from milepost.loop.memory import Fitting
from milepost.restore.matching import Initial, Restored, adopt, restore, signature
from milepost.scoring.columns import scored_of, slices_of
from milepost.scoring.records import records
from milepost.scoring.slices import complete
from milepost.store.store import Store

_CACHED = 16
_ENDLESS = 1 << 62
_MISSING_ALLOWED = ", missing allowed"
"""Marks the signature, by which sightings are known: what strict restoring refuses is another sighting."""


def open_evaluator(job: Job) -> "Evaluator":
    """Load a job's evaluation and stand ready; raises EvaluationFileError and UsageError."""
    return Evaluator(load(job), job.options, entries(job))


class Evaluator:
    """One evaluation, its model built at most once, with the checkpoints that are resident."""

    def __init__(self, evaluation: Evaluation, options: Mapping[str, Json], entries: Sequence[str] = ()) -> None:
        """Take the evaluation; `entries` are all that its file offers.

        `options`: "device" moves the model, "allow_missing", and "less" as for `Fitting.begin_with`.
        """
        self._evaluation = evaluation
        self._entries = list(entries)
        self._sources = evaluation.sources
        self._settings: dict[str, Json] = {}
        self._readings = readings()
        self._model = evaluation.model
        device = options.get("device")
        if device is not None:
            if not hasattr(self._model, "on"):
                raise UsageError(f"--device {device}: {type(self._model).__name__} has no devices to choose from")
            self._model = self._model.on(device)
        self._initial = _initial_of(self._model) if options.get("allow_missing") else None
        self._fittings: dict[str, Fitting] = {}
        self._less = int(options.get("less", 0))
        self._tables: Mapping[str, Table] = {}
        self._restored: OrderedDict[tuple[str, str], Restored] = OrderedDict()
        self._sliced: set[tuple[Json, ...]] = set()

    def describe(self) -> Description:
        """Return what this evaluation is: all that the driver plans with."""
        evaluation = self._evaluation
        variables = self._model.variables()
        data = {name: _described_source(source) for name, source in self._sources.items()}
        spec = getattr(self._model, "spec", None)
        code = code_version(evaluation)
        # Last, for what builds model and data may read some.
        self._settings, self._readings = settings_of(evaluation), readings()
        return Description(
            model=spec() if spec is not None else {},
            settings=self._settings,
            entry=evaluation.entry,
            entries=tuple(self._entries),
            signature=signature(variables) + self._said(code),
            variables=None if variables is None else len(variables),
            variants=tuple(evaluation.variants),
            task=spec_of(evaluation.task),
            metrics=tuple(_described(metric) for metric in evaluation.metrics),
            batch_size=evaluation.batch_size,
            column_set=evaluation.column_set,
            kept=tuple(sorted(evaluation.kept)),
            folded=tuple(digest(spec_of(metric)) for metric in evaluation.folded),
            data=data,
            code=code,
            environment=self._environment(),
            file=evaluation.file,
        )

    def _said(self, code: Mapping[str, Json]) -> str:
        """Return what decides beside the variables what a checkpoint's content is for this model, or its failure."""
        said = _MISSING_ALLOWED if self._initial is not None else ""
        by_hand = getattr(self._model, "by_hand", None)
        said += f", by hand {digest(by_hand.spec())}" if by_hand else ""
        # What a user's function restores is known by its code.
        return said + (f", by code {code['version']}" if getattr(self._model, "restorer", None) is not None else "")

    def identify(self, found: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Restore a checkpoint's variants into the model's variables: digest or failure of each, and the step."""
        rows = list[Identified]()
        for variant in variants:
            row = Identified(variant, step=table.step, step_source=table.step_source)
            try:
                restored = self._restore(found.path, table, variant)
                _check_same(found)
            except CheckpointError as error:
                rows.append(replace(row, failure=Failure(error.kind, str(error))))
                continue
            self._remember(found.path, variant, restored)
            notes = {
                **restored.notes,
                "format": table.format,
                "foreign": list(table.foreign),
                "notes": list(table.notes),
            }
            rows.append(replace(row, digest=restored.digest, notes=notes))
        return rows

    def evaluate(self, unit: Unit, tables: Mapping[str, Table]) -> Iterator[tuple[Target, Part | Failure]]:
        """Take a unit's checkpoints through one pass over its range of the data, or through several if memory ends."""
        self._tables = tables
        for outcome in self._fitting(unit.data).run(unit.targets, unit.start, unit.stop):
            self._check_settings()
            yield outcome

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Compute and publish the records of an evaluation that are not in the store yet; return the new ones."""
        store = Store.open(request.store)
        source: Any = self._sources[request.data]
        scored = scored_of(store, request.key, request.column_set, request.stop, source)
        folder = store.evaluation(request.key)
        wanted = [metric for metric in self._evaluation.metrics if digest(spec_of(metric)) in request.metrics]
        asked = request.store, request.digest, request.stop, *request.slices
        if asked not in self._sliced:  # once for all checkpoints
            complete(store.dataset(request.digest), source, request.slices, request.stop)
            self._sliced.add(asked)
        known = slices_of(store, request.digest, request.stop) if request.slices else {}
        slices = {name: known[name] for name in request.slices}
        made = []
        for payload, tables in records(scored, wanted, request.sizes, slices):
            folder.records.publish(payload, tables)
            made.append(payload)
        return made

    def _load(self, target: Target) -> Any:
        """Make a checkpoint resident, and see to it that what is resident is what was identified."""
        heartbeat.beat()
        path = target.files.path
        restored = self._restored.pop((path, target.variant), None)
        if restored is None or restored.digest != target.digest:
            restored = self._restore(path, self._tables[path], target.variant)
            if target.digest is not None and restored.digest != target.digest:
                raise Torn(f"{path} was overwritten after it was identified; the next run evaluates it anew")
        try:
            weights = self._model.load(restored.arrays)
        except CheckpointError:
            raise
        except Exception as error:
            kind = OutOfMemory if ran_out(error) else ModelFailed
            raise kind(f"the model cannot take the weights: {type(error).__name__}: {error}") from error
        _check_unchanged(target.files)
        return weights

    def _restore(self, path: str, table: Table, variant: str) -> Restored:
        """Restore one variant; where memory runs out, once more without what is kept for speed only."""
        for last in (False, True):
            heartbeat.beat()
            try:
                return self._restored_once(path, table, variant)
            except MemoryError as error:
                said = f"the weights do not fit into memory: {error}"
            if last:
                break
            self._free()
        raise OutOfMemory(said)

    def _restored_once(self, path: str, table: Table, variant: str) -> Restored:
        """Restore by the table, or by what the model's user gave for it."""
        model: Any = self._model
        by_hand = getattr(model, "by_hand", None)
        restorer = getattr(model, "restorer", None)
        if restorer is None:
            return restore(table, model.variables(), variant, self._initial, by_hand)
        return adopt(restorer(path, variant), model.variables(), restorer.place, by_hand)

    def _free(self) -> None:
        """Let go of everything that can be had again."""
        self._restored.clear()
        release = getattr(self._model, "release", None)
        if release is not None:
            release()
        gc.collect()

    def _remember(self, path: str, variant: str, restored: Restored) -> None:
        """Keep the mapped arrays of what was identified last: it is evaluated next."""
        self._restored[path, variant] = restored
        while len(self._restored) > _CACHED:
            self._restored.popitem(last=False)

    def _fitting(self, data: str) -> Fitting:
        if data not in self._fittings:
            evaluation = self._evaluation
            work = Pass(
                model=self._model,
                source=self._sources[data],
                task=evaluation.task,
                kept=evaluation.kept,
                batch_size=evaluation.batch_size,
                folded=evaluation.folded,
                environment=self._environment(),
            )
            self._fittings[data] = Fitting(work, self._load, self._free)
            self._fittings[data].begin_with(self._less)
        return self._fittings[data]

    def _check_settings(self) -> None:
        """Refuse settings that are read for the first time, or with another value, once the key is made."""
        if readings() == self._readings:
            return
        now = settings_of(self._evaluation)
        late = [name for name, value in now.items() if name not in self._settings or self._settings[name] != value]
        if late:
            raise UsageError(
                f"setting {late[0]!r} was read while the model predicted: it is not in the key of these results, so "
                "none were stored; read it where the evaluation is built, at the top of the file"
            )

    def _environment(self) -> dict[str, Json]:
        environment = getattr(self._model, "environment", None)
        return {"numpy": np.__version__, **(environment() if environment is not None else {})}


def _initial_of(model: Any) -> Initial:
    """Return how a model tells the values that it was built with; a UsageError where it has none."""
    initial: Initial | None = getattr(model, "initial", None)
    if initial is None or model.variables() is None:
        raise UsageError(
            f"--allow-missing: a {type(model).__name__} has no values of its own that missing variables could keep; it "
            "takes an adapter that builds a model, such as TorchModel"
        )
    return initial


def _described(metric: Metric) -> MetricDescription:
    spec, direction = spec_of(metric), getattr(metric, "direction", None)
    return MetricDescription(spec, digest(spec), metric.headline, tuple(metric.columns), direction)


def _described_source(source: Source) -> DataDescription:
    """Return a source's size (a stream is read once for it), its fingerprint, and the digest of this."""
    fingerprint = source.fingerprint()
    size = source.size
    if size is None:
        size = sum(_counted(batch) for batch in source.batches(0, _ENDLESS, 4096))
    shown = getattr(source, "described", None)
    return DataDescription(size, fingerprint, digest([fingerprint, size]), shown() if shown is not None else {})


def _counted(batch: Batch) -> int:
    heartbeat.beat()
    return len(batch.labels)


def _check_same(found: CheckpointFiles) -> None:
    """Refuse a file that was replaced between the reader's look at it and ours; a deleted one is still mapped whole."""
    _check_parts(found)
    with suppress(FileNotFoundError):
        status = os.stat(main_file(found))
        known = found.identity
        seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if seen != (known.device, known.inode, known.size, known.mtime_ns):
            raise Torn(f"{main_file(found)} changed while it was read; it is tried again by the next run")


def _check_unchanged(found: CheckpointFiles) -> None:
    """Refuse what was overwritten in place while it was mapped; a file replaced or deleted is still mapped whole."""
    _check_parts(found)
    path = main_file(found)
    with suppress(FileNotFoundError):
        status = os.stat(path)
        known = found.identity
        same_file = (status.st_dev, status.st_ino) == (known.device, known.inode)
        if same_file and (status.st_size, status.st_mtime_ns) != (known.size, known.mtime_ns):
            raise Torn(f"{path} changed while it was read; it is tried again by the next run")


def _check_parts(found: CheckpointFiles) -> None:
    """Refuse a checkpoint of several files one of which is not what the reader saw: writers replace them first."""
    for path, known in zip(found.paths[1:], found.others, strict=False):
        with suppress(FileNotFoundError):
            status = os.stat(path)
            if (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) != known.content:
                raise Torn(f"{path} changed while the checkpoint was read; it is tried again by the next run")
