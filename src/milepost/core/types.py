"""The nouns of Milepost and the seams between its rooms: plain data and Protocols; nothing here does any work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = Any  # listing a store must not cost NumPy's import

SCHEMA = 2
"""Version of what an evaluation key means; a change makes every evaluation a new one."""

GRID = 256
"""Rows of one cell of the grid on which parts begin and end."""

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
class CheckpointFiles:
    """The files of a checkpoint, as discovery lists them: only its first bytes and its name have been read.

    `path` is its address, a file or a folder; `paths` are its files, first the one that stands for it, whose `identity`
    is the checkpoint's; `others` are the identities of the rest.  `format` is None where no format
    claims a file that is named like a checkpoint; then `failure` says why: a failure class and a message.
    """

    path: str
    format: str | None
    paths: tuple[str, ...]
    identity: Identity
    state: Literal["complete", "writing", "failed"] = "complete"
    failure: tuple[str, str] | None = None
    others: tuple[Identity, ...] = ()


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
    or ml_dtypes name with byte order "<" or ">" where it matters ("float32", ">f4", "bfloat16").  `made_as` is what the
    framework called the variable when it was made, where the file has that besides its name ("dense_7/kernel").
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    where: Extent
    role: Role = "weights"
    group: str = ""
    made_as: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is known of weights that only change those of another model, the base: PEFT's, or LoRA's by their names.

    `base` is the name or path of the base as training wrote it, None where the file does not say; `kind` is PEFT's word
    ("LORA", "IA3"); `config` is the whole `adapter_config.json`, {} where there is none.
    """

    base: str | None
    kind: str
    config: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """What a checkpoint holds, as plain data: read without executing anything of it.

    `step` comes from the content, if at all.  `foreign` lists classes that the file names and that were not imported.
    `adapter` is there where the weights are no model's of their own.  `averaging`: the file's config says that training
    kept averages of the weights, and they may stand in these weights' place.  `checksum`: the file has a checksum of
    every weight, and `read` or `fetch` compares it; without one the reader adds a note.
    """

    format: str
    tensors: tuple[Tensor, ...]
    step: int | None = None
    step_source: str | None = None
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    adapter: Adapter | None = None
    averaging: bool = False
    checksum: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """One checkpoint looked into: its files, its table, the single values in it, and those in files beside, by file."""

    files: CheckpointFiles
    table: Table
    facts: Mapping[str, Json] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the model that a checkpoint must restore; `tied_to` names the owner of a shared one.

    `dtype` and `shape` are None where the model does not say (a function of named arrays): any will do.  `optional`
    marks bookkeeping that changes no prediction (a count of batches): it may be missing; one number may have any shape.
    `also` are its names in others' files, pairs of scheme and name: ("weights_h5", "layers/dense/vars/0"), or
    ("legacy_h5", ...), ("objects", ...); a checkpoint is matched by one scheme for all variables.  `buffer` marks what
    no optimizer trains (running statistics): an average of the trained parameters has none of it.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...] | None
    tied_to: str | None = None
    optional: bool = False
    also: tuple[tuple[str, str], ...] = ()
    buffer: bool = False


@dataclass(frozen=True, slots=True)
class Overrides:
    """How the user maps a checkpoint's names to a model's: recorded with every result, and part of its key.

    `renames` lead from a checkpoint's name to the variable's; where both end in "/" or ".", or one does and the other
    is "", from everything below one scope to another.  `patterns` are regular expressions and what takes their place,
    in order, for names that are not in `renames`.  `keep` and `ignore` are names or glob patterns: of variables that
    are not restored, whatever the checkpoint holds, and of tensors of the checkpoint.  `built` gives the kept values.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    built: Callable[[Sequence[str]], Mapping[str, Array]] | None = None
    patterns: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.renames or self.keep or self.ignore or self.patterns)


LEAST_WEIGHT, MOST_WEIGHT = 1e-60, 1e60
"""Between these, sums of weighted values are exact."""


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


@dataclass(frozen=True, slots=True)
class Column:
    """A named column of outcomes: one row an example.  `shape` is the row's shape, None where it is ragged.

    `nbytes` a row decides whether it is kept; `doc` says what it holds.  Ragged: an array of arrays, not kept.
    `always` marks a column that is computed whatever the metrics ask for.
    """

    name: str
    dtype: str
    doc: str
    shape: tuple[int, ...] | None = ()
    always: bool = False

    @property
    def nbytes(self) -> float | int:
        """Bytes of one row; infinite where it is ragged."""
        if self.shape is None:
            return float("inf")
        import numpy as np  # noqa: PLC0415 - as above

        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


KEEP_BYTES = 64
"""A column is kept as long as a row of it takes no more than this; `keep="all"` keeps every one that is not ragged."""


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a metric; `value` None means undefined.

    `proportion` marks `numerator` of `denominator` rows, each of which counts once: where rows are independent, the
    value gets Wilson's interval from these counts.
    """

    value: float | None
    numerator: float | int | None = None
    denominator: float | int | None = None
    note: str | None = None
    proportion: bool = False


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

    files: CheckpointFiles
    variant: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """A range of the order and the checkpoints that lack it: what an engine is given at once.

    With a `sample`, ascending positions of the order, `start` and `stop` count these: single rows from all over it.
    """

    start: int
    stop: int
    targets: tuple[Target, ...]
    data: str
    sample: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True)
class MetricDescription:
    """A metric of an evaluation: `digest` is that of its `spec`."""

    spec: Mapping[str, Json]
    digest: str
    headline: str
    columns: tuple[str, ...]
    direction: str


@dataclass(frozen=True, slots=True)
class DataDescription:
    """A data set of an evaluation: its number of rows, its fingerprint, the digest of both, what the source adds."""

    size: int
    fingerprint: Mapping[str, Json]
    digest: str
    described: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """What an evaluation is, as plain data: all that the driver plans with.

    `signature` stands for what decides a checkpoint's weights digest or failure: variables, overrides, options.
    `batch_sizes` are those of the data sets, by name.  `entries` are all evaluations of the file, `entry` is this one's
    name; `folded` are the digests of the metrics that
    have states instead of kept columns.
    """

    signature: str = ""
    variants: tuple[str, ...] = ("raw",)
    task: Mapping[str, Json] = field(default_factory=dict)
    metrics: tuple[MetricDescription, ...] = ()
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    column_set: str = ""
    kept: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    data: Mapping[str, DataDescription] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    model: Mapping[str, Json] = field(default_factory=dict)
    settings: Mapping[str, Json] = field(default_factory=dict)
    entry: str | None = None
    entries: tuple[str, ...] = ()
    variables: int | None = None
    environment: Mapping[str, Json] = field(default_factory=dict)
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """One variant of a checkpoint as an evaluation knows it: the digest of its weights, or why there is none."""

    variant: str
    digest: str | None = None
    failure: Failure | None = None
    step: int | None = None
    step_source: str | None = None
    notes: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The records to compute from kept columns: the evaluation `key` in `store`, its rows [0, stop), and which metrics.

    `metrics` are digests of specs, `sizes` batch sizes of batch means, `slices` names; `digest` is that of `data`.
    """

    store: str
    key: str
    column_set: str
    data: str
    digest: str
    stop: int
    metrics: tuple[str, ...]
    sizes: tuple[int, ...]
    slices: tuple[str, ...]
