"""The nouns of Milepost and the seams between its rooms: plain data and Protocols; nothing here does any work."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

SCHEMA = 1
"""Version of what an evaluation key means; a change makes every evaluation a new one."""

GRID = 256
"""Rows of one cell of the grid on which parts begin and end."""

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
Json = Any
Role = Literal["weights", "optimizer", "bookkeeping"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A file as the file system knows it; a changed file has another identity."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def content(self) -> tuple[int, int, int, int]:
        """What changes where the content does: all but ctime, which a hard link to the file or a chmod changes too."""
        return self.device, self.inode, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint seen in a folder, before anything of it but its first bytes and its name was read.

    `path` is its address, a file or a folder; `files` are the paths of its files, first the one that stands for it,
    whose `identity` is the checkpoint's; `parts` are the identities of the others.  `format` is None where no format
    claims a file that is named like a checkpoint; then `failure` says why: a failure class and a message.
    """

    path: str
    format: str | None
    files: tuple[str, ...]
    identity: Identity
    state: Literal["complete", "writing", "failed"] = "complete"
    failure: tuple[str, str] | None = None
    parts: tuple[Identity, ...] = ()


@dataclass(frozen=True, slots=True)
class Extent:
    """A tensor's bytes: `encoding` "raw" (mapped; `strides` in bytes where not C-contiguous), or one `fetch` undoes."""

    file: str
    offset: int
    nbytes: int
    encoding: str = "raw"
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of a checkpoint's table.

    `group` is the wrapper that holds it ("" at top level, "model_state_dict", "optimizer/state/0"); `dtype` is a NumPy
    or ml_dtypes name with byte order "<" or ">" where it matters ("float32", ">f4", "bfloat16").
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    where: Extent
    role: Role = "weights"
    group: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """What a checkpoint holds, as plain data: read without executing anything of it.

    `step` comes from the content, if at all.  `foreign` lists classes that the file names and that were not imported.
    """

    format: str
    tensors: tuple[Tensor, ...]
    step: int | None = None
    step_source: str | None = None
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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


class Format(Protocol):
    """A checkpoint format: one file in `milepost/checkpoints`."""

    @property
    def name(self) -> str:
        """The registered name."""

    def find(self, entries: Sequence[Entry]) -> Iterable[Found]:
        """Claim checkpoints among one folder's entries, by content."""

    def read(self, found: Found) -> Table:
        """Return the table of tensors; raise a `CheckpointError` for a file that is damaged, unsafe or unsupported."""

    def fetch(self, tensor: Tensor) -> bytes:
        """Return the bytes of a tensor whose encoding is not "raw": C order, at most the declared size."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the model that a checkpoint must restore; `tied_to` names the owner of a shared one.

    `dtype` and `shape` are None where the model does not say (a function of named arrays): any will do.  `optional`
    marks bookkeeping that changes no prediction (a count of batches): it may be missing; one number may have any shape.
    `also` are its names in others' files, pairs of scheme and name: ("weights_h5", "layers/dense/vars/0"), or
    ("legacy_h5", ...), ("objects", ...); a checkpoint is matched by one scheme for all variables.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...] | None
    tied_to: str | None = None
    optional: bool = False
    also: tuple[tuple[str, str], ...] = ()


class Model(Protocol):
    """A framework adapter: builds the user's model once; `predict` is a pure function of the weights."""

    def variables(self) -> Sequence[Variable] | None:
        """Return what a checkpoint must restore, or None where the function takes whatever the checkpoint holds."""

    def load(self, tensors: Mapping[str, Array]) -> Any:
        """Turn arrays by variable name into resident weights; several may be resident at once."""

    def predict(self, weights: Any, inputs: Any) -> Any:
        """Return the outputs (an array of the framework, or a dict of them) for one batch of inputs."""


class Placed(Protocol):
    """An adapter that runs on a device and can say on which, and with what."""

    def on(self, device: str) -> "Model":
        """Return the same adapter for another device."""

    def environment(self) -> dict[str, Json]:
        """Return framework, version, device, threads: recorded, never part of a key."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that go through the model together.

    `inputs` is an array, a dict of arrays or the framework's own objects; `labels` has a row an example.  `slices` are
    values a row by the slice's name; rows of one value in `groups` stand together.  `start` is the first row's position
    in the order; `rows` are the rows' natural numbers (their index in the source), int64.
    """

    inputs: Any
    labels: Array
    weights: Array | None = None
    mask: Array | None = None
    ids: Array | None = None
    slices: Mapping[str, Array] | None = None
    groups: Array | None = None
    start: int = 0
    rows: Array | None = None


class Source(Protocol):
    """Held-out data.  `size` is None for a stream until it was read once."""

    @property
    def size(self) -> int | None:
        """Number of examples."""

    def fingerprint(self) -> dict[str, Json]:
        """Return what identifies data and order: `{"kind", "digest", "order", ...}`, plain data."""

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches that touch positions [start, stop) of the order, cut at multiples of `batch_size`."""


class Ordered(Protocol):
    """A source that can say which natural row stands at a position, and the other way round."""

    def rows(self, positions: Array) -> Array:
        """Natural row numbers at these positions (int64)."""

    def positions(self, rows: Array) -> Array:
        """Positions of these natural rows (int64)."""


class Sliced(Protocol):
    """A source that can tell its rows' slices without reading their inputs."""

    def slices(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return values by the slice's name, one a row of positions [start, stop); {} where it has no slices."""


@dataclass(frozen=True, slots=True)
class Column:
    """A named column of outcomes: one row an example.  `shape` is the row's shape, None where it is ragged.

    `nbytes` a row decides whether it is kept; `doc` says what it holds.  Ragged: an array of arrays, not kept.
    """

    name: str
    dtype: str
    doc: str
    shape: tuple[int, ...] | None = ()

    @property
    def nbytes(self) -> float | int:
        """Bytes of one row; infinite where it is ragged."""
        if self.shape is None:
            return float("inf")
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


KEEP_BYTES = 64
"""A column is kept as long as a row of it takes no more than this; `keep="all"` keeps every one that is not ragged."""


class Task(Protocol):
    """Reduces outputs and labels to columns of outcomes: the only code that touches big arrays."""

    @property
    def name(self) -> str:
        """The registered name."""

    def columns(self) -> Mapping[str, Column]:
        """Every column that the task can compute; those in `always` are computed whatever the metrics ask for."""

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        """Compute the wanted columns of one batch as NumPy arrays, one row an example."""

    def scores(self, outputs: Any) -> Array:
        """Return the scores as a float NumPy array [rows, ...]: what the proof of the model compares."""


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a metric; `value` None means undefined.  `interval_of` is "proportion" where Wilson applies."""

    value: float | None
    numerator: float | int | None = None
    denominator: float | int | None = None
    note: str | None = None


class State(Protocol):
    """A mergeable summary of columns; `merge` is associative and commutative to the bit."""

    def merge(self, other: Self) -> Self:
        """Return the state of both."""

    def to_bytes(self) -> bytes:
        """Serialise: versioned, never pickle."""


class Metric(Protocol):
    """From columns to a state, from a state to named numbers.  It also declares `direction`, `unit` and `range`."""

    @property
    def name(self) -> str:
        """The registered name of the class (`top_k`)."""

    @property
    def headline(self) -> str:
        """The name of the value that stands for the metric (`top1`)."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of outcomes that it reads."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        """Summarise rows; `weights` is None where every row counts once, else float64 above 0."""

    def values(self, state: Any) -> dict[str, Value]:
        """Return the numbers by name, the headline first."""


class Tabled(Protocol):
    """A metric with arrays beside its numbers: per class, confusion, curves."""

    def tables(self, state: Any) -> dict[str, Array]:
        """Return arrays by name; stored beside the records, never in the index."""


class MeanMetric(Protocol):
    """A metric that is a mean: `contribution` gives each row's share; intervals, pairs and races follow from it."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible contribution."""

    def contribution(self, columns: Columns) -> Array:
        """Return one number a row."""


@dataclass(frozen=True, slots=True)
class Part:
    """The outcomes of one checkpoint on rows [start, stop) of the order.

    `states` holds those of metrics without kept columns, by the digest of the metric's spec; `environment` is recorded.
    """

    start: int
    stop: int
    columns: Mapping[str, Array]
    states: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """One checkpoint and variant to be evaluated: where it is and, once known, the digest of its weights."""

    found: Found
    variant: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """A range of the order and the checkpoints that lack it: what an engine is given at once."""

    start: int
    stop: int
    targets: tuple[Target, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Job:
    """How an evaluator comes to its evaluation: by (file, attribute), or a live object in this process.

    `options` is plain data (device) that goes to the evaluator as it is.
    """

    file: str | None
    attribute: str
    options: Mapping[str, Json] = field(default_factory=dict)
    live: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed failure of one checkpoint: `kind` is a class of errors.py (`corrupt`, `mismatch`, ...)."""

    kind: str
    message: str


class Engine(Protocol):
    """Runs evaluators: in this process, in another, on a cluster.  What crosses is plain data."""

    @property
    def name(self) -> str:
        """The registered name."""

    def open(self, job: Job) -> "Session":
        """Start what is needed and return a session; closing it ends every process that it started."""


class Session(Protocol):
    """An open engine: three calls, and `close`."""

    def call(self, method: str, argument: Json) -> Json:
        """Ask the evaluator or reader a plain question: `describe`, `discover`, `identify`, `inspect`."""

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Target, Part | Failure]]:
        """Evaluate units; yields parts as they are ready, any order, at least once."""

    def close(self) -> None:
        """End every process that the session started."""
