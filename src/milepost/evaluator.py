"""The evaluator: the role that holds the user's evaluation, answers what it is, and evaluates units.

It is the user's trusted code: it imports their file.  It is handed tables of tensors as plain data (the reader's), maps
the bytes itself, and never parses a checkpoint.
"""

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from milepost._internal import heartbeat
from milepost._internal.bounded import expecting, unreadable
from milepost._internal.fileid import is_changed, is_overwritten
from milepost._internal.memory import ran_out
from milepost._internal.serialization import digest
from milepost.checkpoints._files.shards import identities, main_file
from milepost.core.capabilities import capability
from milepost.core.protocols import (
    DeclaresArithmetic,
    HasEnvironment,
    HasInitialValues,
    HasMerger,
    HasOverrides,
    HasRestorer,
    Merger,
    Metric,
    Model,
    OnDevice,
    Releases,
    Restorer,
    Source,
)
from milepost.core.specs import spec_of
from milepost.core.types import (
    CheckpointFiles,
    Description,
    Failure,
    Identified,
    Identity,
    Job,
    Json,
    MetricDescription,
    Overrides,
    Part,
    ScoreRequest,
    Table,
    Target,
    Unit,
)
from milepost.data._sample import Sample
from milepost.errors import CheckpointError, ModelFailed, OutOfMemory, Torn, UnstableData, UsageError
from milepost.evaluation.code_version import code_version, settings_of
from milepost.evaluation.definition import Evaluation, own_batch_size
from milepost.evaluation.live_code import LIVE
from milepost.evaluation.loader import entries, load
from milepost.evaluation.recorder import RECORDER
from milepost.evaluation.settings import readings
from milepost.loop.data_description import data_description
from milepost.loop.evaluate import Pass
from milepost.loop.made_with import made_with
from milepost.loop.memory import MemoryFit
from milepost.restore.matching import Initial, Restored, adopt, restore, signature
from milepost.restore.merging import merge
from milepost.restore.overrides import spec_of_overrides
from milepost.scoring.scorer import Scorer
from milepost.store.store import Store

_CACHED = 16
_MISSING_ALLOWED = ", missing allowed"
"""Marks the signature: what strict restoring refuses is another checkpoint record."""


def open_evaluator(job: Job, *, mapped: bool = False) -> "Evaluator":
    """Load a job's evaluation and stand ready; raises EvaluationFileError and UsageError.

    Checkpoints stay `mapped` where the process may die of a file that is cut short; else they are read.
    """
    return Evaluator(load(job), job.options, entries(job), mapped=mapped)


class Evaluator:
    """One evaluation, its model built at most once, with the checkpoints that are loaded."""

    def __init__(
        self, evaluation: Evaluation, options: Mapping[str, Json], entries: Sequence[str] = (), *, mapped: bool = False
    ) -> None:
        """Take the evaluation; `entries` are all that its file offers, and `mapped` says whether checkpoints are.

        `options`: "device" moves the model, "allow_missing", and "less" as for `MemoryFit.begin_with`.
        """
        self._evaluation = evaluation
        self._entries = list(entries)
        self._mapped = mapped
        self._sources = evaluation.sources
        self._sizes: dict[str, int] = {}
        self._settings: dict[str, Json] = {}
        self._readings = readings()
        self._model = evaluation.model
        device = options.get("device")
        if device is not None:
            placeable = capability(self._model, OnDevice)
            if placeable is None:
                raise UsageError(f"--device {device}: {type(self._model).__name__} has no devices to choose from")
            self._model = placeable.on(device)
        variants = evaluation.variants
        self._places: Mapping[str, str] = variants if isinstance(variants, Mapping) else {}
        self._initial = _initial_of(self._model) if options.get("allow_missing") else None
        self._fits: dict[str, MemoryFit] = {}
        self._less = int(options.get("less", 0))
        self._tables: Mapping[str, Table] = {}
        self._restored: OrderedDict[tuple[str, str], Restored] = OrderedDict()
        self._scorers: dict[str, Scorer] = {}

    def describe(self) -> Description:
        """Return what this evaluation is: all that the driver plans with."""
        evaluation = self._evaluation
        with RECORDER.attributed(evaluation.file or LIVE):
            variables = self._model.variables()
        with RECORDER.paused():
            data = {name: data_description(name, source) for name, source in self._sources.items()}
        self._sizes = {name: described.size for name, described in data.items()}
        arithmetic = capability(self._model, DeclaresArithmetic)
        code = code_version(evaluation)
        # Last, for what builds model and data may read some.
        self._settings, self._readings = settings_of(evaluation), readings()
        return Description(
            model={} if arithmetic is None else dict(arithmetic.spec()),
            settings=self._settings,
            entry=evaluation.entry,
            entries=tuple(self._entries),
            signature=signature(variables) + self._restored_with(code),
            variables=None if variables is None else len(variables),
            variants=tuple(evaluation.variants),
            task=spec_of(evaluation.task),
            metrics=tuple(_described(metric) for metric in evaluation.metrics),
            batch_sizes=dict(evaluation.batch_sizes),
            column_set=evaluation.column_set,
            kept=tuple(sorted(evaluation.kept)),
            folded=tuple(digest(spec_of(metric)) for metric in evaluation.folded),
            data=data,
            code=code,
            environment=self._environment(),
            file=evaluation.file,
        )

    def _restored_with(self, code: Mapping[str, Json]) -> str:
        """Return what else than the variables decides a checkpoint's weights digest, or its failure."""
        overrides = _overrides_of(self._model)
        found = _MISSING_ALLOWED if self._initial is not None else ""
        found += f", overrides {digest(spec_of_overrides(overrides))}" if overrides else ""
        found += f", variants {digest(dict(self._places))}" if self._places else ""
        if (merger := _merger_of(self._model)) is not None:
            found += f", adapters merged into {merger.base()}"
        # What a user's function restores is known by its code.
        return found + (f", by code {code['version']}" if _restorer_of(self._model) is not None else "")

    def identify(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        """Restore a checkpoint's variants into the model's variables: digest or failure of each, and the step."""
        with RECORDER.paused():
            return self._identified(files, table, variants)

    def _identified(self, files: CheckpointFiles, table: Table, variants: Sequence[str]) -> list[Identified]:
        rows = list[Identified]()
        for variant in variants:
            row = Identified(variant, step=table.step, step_source=table.step_source)
            try:
                restored = self._restore(files, table, variant)
                _check_files(files, is_changed)
            except CheckpointError as error:
                rows.append(replace(row, failure=Failure(error.kind, str(error))))
                continue
            self._restored[files.path, variant] = restored  # what was identified last is evaluated next
            while len(self._restored) > _CACHED:
                self._restored.popitem(last=False)
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
        _check_size(unit.data, self._sources[unit.data].size, self._sizes)
        fit = self._sampling(unit) if unit.sample else self._fit(unit.data)
        with RECORDER.paused():
            for outcome in fit.run(unit.targets, unit.start, unit.stop):
                self._check_settings()
                yield outcome

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Compute and publish the records of an evaluation that are not in the store yet; return the new ones."""
        if request.store not in self._scorers:
            store = Store.open(request.store)
            self._scorers[request.store] = Scorer(store, self._evaluation.metrics, self._sources)
        with RECORDER.paused():
            return self._scorers[request.store].score(request)

    def _load(self, target: Target) -> Any:
        """Load a checkpoint's weights, and see to it that they are those that were identified."""
        heartbeat.beat()
        path = target.files.path
        restored = self._restored.pop((path, target.variant), None)
        if restored is None or restored.digest != target.digest:
            restored = self._restore(target.files, self._tables[path], target.variant)
            if target.digest is not None and restored.digest != target.digest:
                raise Torn(f"{path} was overwritten after it was identified; the next run evaluates it again")
        try:
            weights = self._model.load(restored.arrays)
        except CheckpointError:
            raise
        except Exception as error:
            kind = OutOfMemory if ran_out(error) else ModelFailed
            raise kind(f"the model cannot take the weights: {type(error).__name__}: {error}") from error
        _check_files(target.files, is_overwritten)
        return weights

    def _restore(self, files: CheckpointFiles, table: Table, variant: str) -> Restored:
        """Restore one variant; where memory runs out, once more without what is kept for speed only."""
        for _ in range(2):
            heartbeat.beat()
            try:
                with expecting(identities(files)):
                    return self._restored_once(files, table, variant)
            except MemoryError as error:
                message = f"the weights do not fit into memory: {error}"
            self._free()
        raise OutOfMemory(message)

    def _restored_once(self, files: CheckpointFiles, table: Table, variant: str) -> Restored:
        """Restore by the table, or by what the model's user gave for it."""
        variables, overrides, restorer = self._model.variables(), _overrides_of(self._model), _restorer_of(self._model)
        merger = _merger_of(self._model)
        if merger is not None and table.adapter is not None and variant == "raw":
            return merge(table, table.adapter, variables or (), merger, overrides)
        if restorer is None:
            # What the reader unpacked is this session's own file: nobody cuts it short.
            foreign = frozenset[str]() if self._mapped else frozenset(files.paths)
            place = self._places.get(variant)
            return restore(table, variables, variant, self._initial, overrides, place, lambda file: file not in foreign)
        if self._places:
            raise UsageError(f"{restorer.place} finds the weights itself: variants is a tuple of names for it")
        return adopt(restorer(files.path, variant), variables or (), restorer.place, overrides)

    def _free(self) -> None:
        """Let go of everything that can be computed again."""
        self._restored.clear()
        if (releasing := capability(self._model, Releases)) is not None:
            releasing.release()
        gc.collect()

    def _fit(self, data: str) -> MemoryFit:
        if data not in self._fits:
            evaluation = self._evaluation
            self._fits[data] = self._fitted(data, self._sources[data], evaluation.kept, evaluation.folded)
        return self._fits[data]

    def _sampling(self, unit: Unit) -> MemoryFit:
        """Return what takes a sample: it gives every column that may be on record, and no states."""
        columns = self._evaluation.task.columns().items()
        kept = frozenset(name for name, column in columns if column.shape is not None)
        return self._fitted(unit.data, Sample(self._sources[unit.data], np.array(unit.sample, np.int64)), kept)

    def _fitted(self, data: str, source: Source, kept: frozenset[str], folded: Sequence[Metric] = ()) -> MemoryFit:
        size, own = self._evaluation.batch_sizes[data], own_batch_size(self._sources[data])
        replaced = {} if own in (None, size) else {"loader_batch_size": own}
        work = Pass(
            model=self._model,
            source=source,
            task=self._evaluation.task,
            kept=kept,
            batch_size=size,
            folded=folded,
            environment=self._environment() | replaced,
        )
        fit = MemoryFit(work, self._load, self._free)
        fit.begin_with(self._less)
        return fit

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
        model = capability(self._model, HasEnvironment)
        described = {} if model is None else model.environment()
        return {"numpy": np.__version__, "made_with": made_with(), **described}


def _overrides_of(model: Model) -> Overrides | None:
    overriding = capability(model, HasOverrides)
    return None if overriding is None else overriding.overrides


def _restorer_of(model: Model) -> Restorer | None:
    restoring = capability(model, HasRestorer)
    return None if restoring is None else restoring.restorer


def _merger_of(model: Model) -> Merger | None:
    merging = capability(model, HasMerger)
    return None if merging is None else merging.merger


def _initial_of(model: Model) -> Initial:
    """Return what gives the values that a model was built with; a UsageError where it has none."""
    built = capability(model, HasInitialValues)
    if built is None or model.variables() is None:
        raise UsageError(
            f"--allow-missing: a {type(model).__name__} has no values of its own that missing variables could keep; it "
            "takes an adapter that builds a model, such as TorchModel"
        )
    return built.initial


def _described(metric: Metric) -> MetricDescription:
    spec = spec_of(metric)
    return MetricDescription(spec, digest(spec), metric.headline, tuple(metric.columns), metric.direction)


def _check_size(name: str, size: int | None, known: Mapping[str, int]) -> None:
    """Refuse a source that is of another size than when it was described."""
    if size is not None and size != known.get(name, size):
        raise UnstableData(
            f"source {name!r} has {size} rows by now; it had {known[name]} when the run began: it must give the same "
            "rows every time"
        )


def _check_files(files: CheckpointFiles, is_other: Callable[[str, Identity], bool]) -> None:
    """Refuse a checkpoint whose main file is another one, or one of whose other files changed: writers replace these.

    What is deleted is still mapped whole.
    """
    main = main_file(files)
    try:
        changed = [main] if is_other(main, files.identity) else []
        changed += [path for path, known in zip(files.paths[1:], files.others, strict=False) if is_changed(path, known)]
    except OSError as error:
        raise unreadable(main, error) from error
    if changed:
        raise Torn(f"{changed[0]} changed while the checkpoint was read; the next run tries it again")
