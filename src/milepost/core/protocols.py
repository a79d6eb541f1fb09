"""The seams between rooms: every Protocol with its required members, each optional capability as one of its own.

`milepost.core.capabilities` says what a thing has of them: no other code looks for members.  The seam to what runs
evaluations is in `milepost.core.sessions`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from milepost.core.types import (
    Adapter,
    Array,
    Batch,
    CheckpointFiles,
    Column,
    Columns,
    Json,
    Overrides,
    Table,
    Tensor,
    Value,
    Variable,
)


class Named(Protocol):
    """What is found by its name, or named in a record."""

    @property
    def name(self) -> str:
        """The registered name of the class (`top_k`)."""


class Versioned(Protocol):
    """What gives other numbers than it gave before: its version is part of what records say of it."""

    @property
    def version(self) -> Json:
        """Plain data, as a rule a number."""


class Entry(Protocol):
    """A file or folder of a listing, as a format sees it while looking for checkpoints."""

    @property
    def path(self) -> str:
        """The full path."""

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""

    @property
    def head(self) -> bytes:
        """The first 4096 bytes (b"" for a folder), read once."""

    @property
    def tail(self) -> bytes:
        """The last 8 bytes (b"" for a folder), read once."""


class Format(Named, Protocol):
    """A checkpoint format, one file in `checkpoints/formats`; the reader checks its tables, finds steps in tensors."""

    def find(self, entries: Sequence[Entry]) -> Iterable[CheckpointFiles]:
        """Claim checkpoints among one folder's entries, by content."""

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table of tensors; raise a `CheckpointError` for a file that is damaged, unsafe or unsupported."""

    def fetch(self, tensor: Tensor) -> bytes | memoryview:
        """Return the bytes of a tensor whose encoding is not "raw", in C order; raise as `read` does."""


class ShardedFormat(Protocol):
    """A format whose checkpoints may consist of several files, of which the main file stands for the checkpoint."""

    def main_name(self, name: str) -> str | None:
        """Return the name of the main file that a shard called `name` belongs to; None where `name` is no shard's."""


class HoldsFacts(Protocol):
    """A format whose files hold single values beside tensors: an epoch, a score, settings."""

    def facts(self, files: CheckpointFiles) -> Mapping[str, Json]:
        """Return them by name, for `inspect`; raise as `read` does."""


class Model(Protocol):
    """A framework adapter: builds the user's model once; `predict` is a pure function of the weights."""

    def variables(self) -> Sequence[Variable] | None:
        """Return what a checkpoint must restore, or None where the function takes whatever the checkpoint holds."""

    def load(self, tensors: Mapping[str, Array]) -> Any:
        """Turn arrays by variable name into loaded weights; those of several checkpoints may be loaded at once."""

    def predict(self, weights: Any, inputs: Any) -> Any:
        """Return the outputs (an array of the framework, or a dict of them) for one batch of inputs."""


class OnDevice(Protocol):
    """A model that runs on a device of the user's choice (`--device`)."""

    def on(self, device: str) -> Model:
        """Return the same adapter for another device."""


class HasEnvironment(Protocol):
    """A model that says what it runs with."""

    def environment(self) -> Mapping[str, Json]:
        """Return framework, version, device, threads: recorded, never part of a key."""


class DeclaresArithmetic(Protocol):
    """A model whose user chose how it computes (dtypes, fixed feeds): another choice is another evaluation."""

    def spec(self) -> Mapping[str, Json]:
        """Return the choices as plain data: part of the evaluation's key; {} where all are the defaults."""


class HasOverrides(Protocol):
    """A model whose user may map a checkpoint's names to the model's."""

    @property
    def overrides(self) -> Overrides:
        """What the user gave."""


class Restorer(Protocol):
    """A function of the user's that restores a checkpoint in place of Milepost."""

    @property
    def place(self) -> str:
        """What messages call it, where they would name a checkpoint's file."""

    def __call__(self, path: str, variant: str) -> Mapping[str, Array]:
        """Return the variables' values by name, as restored from a checkpoint's address."""


class HasRestorer(Protocol):
    """A model whose user may restore its variables with a function of his own."""

    @property
    def restorer(self) -> Restorer | None:
        """The function, or None where Milepost restores."""


class Merger(Protocol):
    """What merges adapters into the base that a model was built with."""

    @property
    def called(self) -> str:
        """What does it, and which version: recorded."""

    def base(self) -> str:
        """Return a digest of the base's values and of what merges: what a merged weights digest depends on."""

    def __call__(self, adapter: Adapter, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the values of the model's variables once an adapter's tensors are merged into the base."""


class HasMerger(Protocol):
    """A model whose user may have adapters merged into the base that he gives."""

    @property
    def merger(self) -> Merger | None:
        """What merges them, or None where the user did not say that the built values are a base's."""


class HasInitialValues(Protocol):
    """A model with values of its own, which variables that a checkpoint lacks may keep (`--allow-missing`)."""

    def initial(self, names: Sequence[str]) -> Mapping[str, Array]:
        """Return the values that these variables were built with."""


class Releases(Protocol):
    """A model that keeps memory only for speed."""

    def release(self) -> None:
        """Give back what can be computed again; called where memory runs out."""


class NamesChanges(Protocol):
    """A model that can name the variables that a forward pass changes."""

    def changes(self, weights: Any) -> Callable[[], list[str]]:
        """Note the state of loaded weights now; the function that is returned names what has changed since."""


class NamesSuspects(Protocol):
    """A model that can name what makes its predictions differ from call to call: dropout, training mode."""

    def suspects(self, weights: Any, inputs: Any) -> list[str]:
        """Return what may be random, or depend on other rows; [] where nothing is known."""


class NotesUnread(Protocol):
    """A model that declares no variables and notes which tensors a prediction reads instead."""

    def unread(self, weights: Any) -> list[str]:
        """Return the names of the tensors that no prediction has read."""


class HasFixedBatch(Protocol):
    """A model that may take batches of one size only."""

    @property
    def fixed_batch(self) -> bool:
        """Whether it takes no other size: then batches are neither halved by the model check nor by lack of memory."""


class CompilesEachSize(Protocol):
    """A model that may be compiled again for every number of rows."""

    @property
    def compiles_each_size(self) -> bool:
        """Whether it is: then each checkpoint's check predicts a whole batch, and single rows are not tried."""


class Source(Protocol):
    """Held-out data.  `size` is None for a stream until it was read once."""

    @property
    def size(self) -> int | None:
        """Number of examples."""

    def fingerprint(self) -> dict[str, Json]:
        """Return what identifies data and order: `{"kind", "digest", "order", ...}`, plain data."""

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches that touch positions [start, stop) of the order, cut at multiples of `batch_size`."""


class RandomAccess(Protocol):
    """A source that knows which natural row stands at a position, and the other way round."""

    def rows(self, positions: Array) -> Array:
        """Return the natural row numbers at these positions (int64)."""

    def positions(self, rows: Array) -> Array:
        """Return the positions of these natural rows (int64)."""


class GathersRows(Protocol):
    """A source that reads single rows without those between them: of others all is read, and the rows are picked."""

    def gather(self, positions: Array, batch_size: int) -> Iterator[Batch]:
        """Yield the rows at ascending positions of the order (int64), `batch_size` at a time; `start` counts these."""


class Sliced(Protocol):
    """A source that gives its rows' slices without reading their inputs."""

    def slices(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return values by the slice's name, one a row of positions [start, stop); {} where it has no slices."""


class HasBatchSize(Protocol):
    """A source that is made of its user's own batches, as a loader is."""

    @property
    def own_batch_size(self) -> int | None:
        """Return how many rows they have: the default of an evaluation; None where this is not known, or differs."""


class Described(Protocol):
    """A source with more to show: its class names, slices, groups and notes."""

    def described(self) -> dict[str, Json]:
        """Return plain data, recorded beside the fingerprint and no part of it."""


class Task(Named, Protocol):
    """Reduces outputs and labels to columns of outcomes: the only code that touches big arrays."""

    def columns(self) -> Mapping[str, Column]:
        """Return every column that the task can compute."""

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        """Compute the wanted columns of one batch as NumPy arrays, one row an example."""

    def scores(self, outputs: Any) -> Array:
        """Return the scores as a float NumPy array [rows, ...]: what the model check compares."""


class HoldsOutputs(Protocol):
    """A task that can reduce the outputs of several batches together."""

    def hold(self, outputs: Any, labels: Array) -> Array | None:
        """Return a copy of outputs that may wait; None where they have to be reduced at once."""


class ReadsLabels(Protocol):
    """A task that takes labels in several forms (one-hot rows) and keeps them in one."""

    def label_column(self, labels: Array) -> Array:
        """Return a batch's labels as the column `label`, [rows]; raise `DataError` for labels of another task."""


class Sampled(Protocol):
    """A task that makes up rows on which it and its metrics are judged."""

    def sample(self, random: np.random.Generator, rows: int) -> tuple[Array, Array]:
        """Return outputs and labels that try every hard case."""


class State(Protocol):
    """A mergeable summary of columns; `merge` is associative and commutative to the bit."""

    def merge(self, other: Self) -> Self:
        """Return the state of both."""

    def to_bytes(self) -> bytes:
        """Serialise: versioned, never pickle."""


class Metric(Named, Protocol):
    """From columns to a state, from a state to named numbers."""

    @property
    def headline(self) -> str:
        """The name of the value that stands for the metric (`top1`)."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of outcomes that it reads."""

    @property
    def direction(self) -> str:
        """Which value is better: "higher", "lower", or "none"."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        """Summarise rows; `weights` is None where every row counts once, else float64 above 0."""

    def values(self, state: Any) -> dict[str, Value]:
        """Return the numbers by name, the headline first."""


class Bounded(Protocol):
    """A metric whose headline stays within bounds."""

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest possible value."""


class MeanMetric(Bounded, Protocol):
    """A metric that is a mean of contributions within its range: it has an interval, and `compare` pairs by them."""

    def contribution(self, columns: Columns) -> Array:
        """Return one number a row."""


class ShareMetric(Protocol):
    """A metric that is a share of some of the rows (the recall of a class, of its rows): so it has an interval."""

    def hits(self, columns: Columns) -> tuple[Array, Array] | None:
        """Return which rows are hits and which rows count, as booleans; None where its settings make it no share."""


class TrivialForFew(Protocol):
    """A metric that says nothing of a model with few classes."""

    def trivial(self, classes: int) -> str | None:
        """Return why its value says nothing where a model has so many classes, in a sentence; None where it does."""


class Tabled(Protocol):
    """A metric with arrays beside its numbers: per class, confusion, curves."""

    def tables(self, state: Any) -> dict[str, Array]:
        """Return arrays by name; stored beside the records, never in the index."""


class FastBatches(Protocol):
    """A metric that gives the values of many batches at once, faster than state by state."""

    def batch_values(self, columns: Columns, weights: Array | None, size: int) -> dict[str, list[Value]]:
        """Return the values of every batch of `size` rows, by name."""


class Export(Named, Protocol):
    """A way out of the store: one file in `milepost/exports`."""

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write records and failures, plain data as `ls --json` prints them, to a target that it understands."""
