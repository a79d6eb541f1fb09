"""The user's Evaluation: a model, held-out data, a task, and metrics."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost._internal.html import facts, paragraphs
from milepost._internal.serialization import digest
from milepost.core.capabilities import capability
from milepost.core.protocols import HasBatchSize, Metric, Model, Source, Task
from milepost.core.specs import spec_of
from milepost.core.types import KEEP_BYTES
from milepost.errors import DataError, UsageError
from milepost.evaluation.origin import is_foreign
from milepost.evaluation.recorder import RECORDER
from milepost.evaluation.validation import check_seams

_LONG = 300

if TYPE_CHECKING:
    from milepost.report.results import RunResults


DEFAULT_BATCH_SIZE = 256
"""Rows that go through the model together where nobody says how many: of arrays, folders of images, streams."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to evaluate every checkpoint with.

    `data` maps the user's names to sources.  `batch_size` rows go through the model together: by default as many as the
    source's own batches have (a DataLoader's, or those of `batch()` in a tf.data.Dataset), else 256.  It never changes
    an exact value.  `variants` are the sets of weights to look for in each checkpoint ("raw", "ema"); a mapping also
    says where in the file each stands (`{"raw": "state_dict", "ema": "ema_state_dict"}`; "" is the top level):
    `milepost inspect` shows the wrappers.  `keep="all"` keeps every column that the task can compute; by default those
    that the metrics ask for and the task's own are kept.  `version` names the code's version where there is no file to
    take it from (a prompt, a notebook).  `entry` is its name among several of one file, which the file's dict
    `evaluations`, or the variable that holds it, gives: it is part of the key, and stands before the names of the data
    ("clean/test").

    Raises UsageError for a model, source, task or metric that lacks a member of its seam (`milepost.core.protocols`),
    for two metrics that give one value name, for metrics whose columns the task does not have, and for settings out
    of range; DataError for no data.

    >>> import numpy as np
    >>> from milepost.data.arrays import Arrays
    >>> from milepost.models.numpy import FunctionModel
    >>> from milepost.metrics.top_k import TopK
    >>> from milepost.tasks.classification import Classification
    >>> evaluation = Evaluation(
    ...     model=FunctionModel(lambda weights, inputs: inputs @ weights["w"]),
    ...     data={"test": Arrays(np.eye(3, dtype=np.float32), np.arange(3))},
    ...     task=Classification(outputs="logits"),
    ...     metrics=[TopK(1)],
    ... )
    >>> sorted(evaluation.wanted)
    ['finite', 'margin', 'prediction', 'rank', 'scale', 'ties']
    """

    model: Model
    data: Mapping[str, Source]
    task: Task
    metrics: Sequence[Metric]
    batch_size: int | None = None
    variants: Sequence[str] | Mapping[str, str] = ("raw",)
    keep: str | None = None
    version: str | None = None
    file: str | None = field(default=None, repr=False)
    entry: str | None = None

    def __post_init__(self) -> None:
        """Check all that can be checked without building the model or reading data."""
        _check_settings(self.batch_size, self.data, self.variants, self.keep)
        check_seams(self.model, self.data, self.task, self.metrics)
        self._check_metrics()
        if self.entry is not None and (not isinstance(self.entry, str) or not self.entry or "/" in self.entry):
            raise UsageError(f"Evaluation(entry={self.entry!r}): expected None or a name of text without '/'")
        if self.file is None:
            object.__setattr__(self, "file", _script())
            RECORDER.evaluation_made()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the parts, one a line."""
        data = ((f"data {name}", _shown(source)) for name, source in self.data.items())
        metrics = ", ".join(metric.headline for metric in self.metrics)
        options = {"batch_size": self.batch_size, "variants": self.variants, "keep": self.keep, "version": self.version}
        given = ((name, repr(value)) for name, value in options.items() if value not in (None, ("raw",)))
        parts = [("model", _shown(self.model)), *data, ("task", _shown(self.task)), ("metrics", metrics), *given]
        return paragraphs(["Evaluation" + (f" {self.entry}" if self.entry else "")]) + facts(parts)

    def _check_metrics(self) -> None:
        if not self.metrics:
            raise UsageError("Evaluation(metrics=[]): expected at least one metric, such as TopK(1)")
        known = {*self.task.columns(), "label"}
        headlines: dict[str, Metric] = {}
        for metric in self.metrics:
            lacking = [name for name in metric.columns if name not in known]
            if lacking:
                raise UsageError(
                    f"{metric.headline} reads the column {lacking[0]!r}, which {self.task!r} does not give; it gives: "
                    f"{', '.join(sorted(known))}"
                )
            if metric.headline in headlines:
                raise UsageError(
                    f"two metrics give the value {metric.headline!r}: {headlines[metric.headline]}, {metric}"
                )
            headlines[metric.headline] = metric

    @property
    def sources(self) -> dict[str, Source]:
        """The data by the names that results are shown under: those of `data`, after the entry's name if it has one."""
        return {f"{self.entry}/{name}" if self.entry else name: source for name, source in self.data.items()}

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The number of rows that go through the model together, by the names of `sources`."""
        own = {name: own_batch_size(source) for name, source in self.sources.items()}
        return {name: self.batch_size or size or DEFAULT_BATCH_SIZE for name, size in own.items()}

    @property
    def wanted(self) -> frozenset[str]:
        """The columns to compute: what the metrics read and the task always gives, or all."""
        columns = self.task.columns()
        if self.keep == "all":
            return frozenset(columns)
        asked = {name for metric in self.metrics for name in metric.columns}
        return frozenset(name for name, column in columns.items() if column.always or name in asked)

    @property
    def kept(self) -> frozenset[str]:
        """The columns that are stored row by row; a metric that reads others lives on as a state."""
        columns = self.task.columns()
        most = sys.float_info.max if self.keep == "all" else KEEP_BYTES  # a ragged column has no end of bytes
        return frozenset(name for name in self.wanted if columns[name].nbytes <= most)

    @property
    def folded(self) -> tuple[Metric, ...]:
        """The metrics that read columns which are not kept."""
        return tuple(metric for metric in self.metrics if set(metric.columns) - self.kept - {"label"})

    @property
    def column_set(self) -> str:
        """The name under which parts with these columns are stored."""
        states = sorted(digest(spec_of(metric)) for metric in self.folded)
        return digest([sorted(self.kept), states])[:12]

    def run(
        self, *checkpoints: str, store: str = "milepost-store", engine: str = "inprocess", **options: Any
    ) -> "RunResults":
        """Evaluate what is missing of some files or folders of checkpoints, and return the results.

        `store` is made if absent; `engine="inprocess"` does all in this process, "local" spawns.  `options` are those
        of the command line (`match`, `limit`, `data`, `device`, `again`, `per_pass`, `allow_missing`).  The results
        print as a table.

        Raises UsageError and DataError; a checkpoint that fails is a row of the results.
        """
        from milepost.run.run import run_evaluation  # noqa: PLC0415 - a call upwards, an exception of the contract

        return run_evaluation(self, checkpoints, store=store, engine=engine, **options)


def own_batch_size(source: Source) -> int | None:
    """Return how many rows a source's own batches have; None where it has none of its own, or they differ."""
    batched = capability(source, HasBatchSize)
    return None if batched is None else batched.own_batch_size


def _shown(thing: object) -> str:
    """Return what a part is called: its own text, or its class where that text is only an address."""
    text = repr(thing)
    return type(thing).__name__ if " at 0x" in text else text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _check_settings(batch_size: object, data: object, variants: object, keep: object) -> None:
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1):
        raise UsageError(f"Evaluation(batch_size={batch_size!r}): expected a positive integer")
    if not isinstance(data, Mapping) or not data:
        raise DataError('Evaluation(data=...): expected a mapping of names to sources, such as {"test": Arrays(...)}')
    odd = next((name for name in data if not isinstance(name, str) or not name or "/" in name), None)
    if odd is not None:
        raise UsageError(f"Evaluation(data={{{odd!r}: ...}}): expected a name of text without '/'")
    if isinstance(variants, str) or not isinstance(variants, Sequence | Mapping) or not variants:
        raise UsageError(f'Evaluation(variants={variants!r}): expected a tuple of names, such as ("raw", "ema")')
    texts = (*variants, *(variants.values() if isinstance(variants, Mapping) else ()))
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f"Evaluation(variants={variants!r}): expected where in the file each stands, such as "
            '{"raw": "state_dict", "ema": "ema_state_dict"}'
        )
    if keep not in (None, "all"):
        raise UsageError(f"Evaluation(keep={keep!r}): expected None or 'all'")


def _script() -> str | None:
    """Return the script that an Evaluation is made by: the outermost frame of the user's, if all of these are files."""
    script = None
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's frame
    while frame is not None:
        name = frame.f_code.co_filename
        ours = str(frame.f_globals.get("__name__", "")).startswith("milepost.")  # a dataclass' __init__ has no file
        if not ours and not is_foreign(name):
            if not Path(name).is_file():
                return None
            script = name
        frame = frame.f_back  # type: ignore[assignment]
    return str(Path(script).resolve()) if script else None
