"""TensorFlow data: a `tf.data.Dataset`, batched or not, or TFRecord files, as a stream in natural order."""

import glob
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from milepost._internal.text import natural
from milepost.core.types import Array, Batch, Json
from milepost.data._labels import LabelOptions, label_options, labelling, named_as
from milepost.data._slices_groups import described, refuse_unknown
from milepost.data._torch_entries import Names
from milepost.data.batches import Batches
from milepost.errors import DataError, MissingExtra, UsageError

try:
    import tensorflow as tf
    from tensorflow.python.eager import context  # a pass may go on while a graph of TensorFlow 1 is being built
except ModuleNotFoundError as error:
    raise MissingExtra("tensorflow", "tf") from error

from milepost.data import _tf_pipeline as chain

_BATCH = 256
_LONGEST = 500


class _DatasetOptions(LabelOptions, total=False):
    """Further parameters: entries of dict elements, by name."""

    weights: str
    mask: str
    ids: str
    slices: str | Sequence[str]
    groups: str


class TFDataset(Batches):
    """A `tf.data.Dataset` of TensorFlow 2, or of a graph of TensorFlow 1, as a stream.

    Elements are (inputs, label), (inputs, label, weight), or dicts, for which `inputs` (a name, or names for a model
    with several inputs) and `label`, and where there are any `weights`, `mask`, `ids`, `slices` and `groups`, name the
    entries.  Labels are integers; rows of weight 0 or mask False are left out.  Text becomes NumPy's: bytes for
    inputs, text for ids, slices and groups.  `label_map`, `label_offset` and `class_names` are as in `Arrays`; without
    `class_names` they are those that Keras' `image_dataset_from_directory` gave.

    Whether elements are rows or batches is seen from a `batch()` in the chain, or from scalar labels; where neither
    shows it, `batched` declares it.  What repeats, never ends or is shuffled in every pass is refused.
    `drop_remainder=True` in its `batch()` is undone where possible, with a note, and else refused with the number of
    rows lost.

    A pass reads from the start; the stream's own batches are cut again at multiples of the evaluation's.  64 rows are
    read twice, and unequal ones are `UnstableData`, whether or not `version="mnist-test@1"` declares what the data is.
    `size` is known where TensorFlow knows it, else after a pass.  The fingerprint is that of `Batches`.

    Raises `UsageError` for what cannot be evaluated, `DataError` for elements that do not fit and for what TensorFlow
    reports while it reads.

    >>> rows = tf.data.Dataset.from_tensor_slices(([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [7, 8, 9]))
    >>> source = TFDataset(rows)
    >>> [(batch.inputs.tolist(), batch.labels.tolist()) for batch in source.batches(0, 3, batch_size=2)]
    [([[0.0, 1.0], [2.0, 3.0]], [7, 8]), ([[4.0, 5.0]], [9])]
    """

    name = "tf_dataset"

    def __init__(
        self,
        dataset: Any,
        *,
        inputs: str | Sequence[str] | None = None,
        label: str | None = None,
        batched: bool | None = None,
        version: str | None = None,
        **more: Unpack[_DatasetOptions],
    ) -> None:
        refuse_unknown(more, _DatasetOptions, type(self).__name__)
        self._names = Names.of(inputs, label, more)
        if self._names.slice_values is not None or self._names.group_values is not None:
            raise UsageError(
                "slices and groups of a tf.data.Dataset are entries of its dict elements: name them, as in "
                'groups="patient"'
            )
        held = getattr(dataset, "class_names", None)  # of image_dataset_from_directory
        names = dict(enumerate(map(str, held))) if isinstance(held, list | tuple) else None
        options = named_as(label_options(more), names)
        if not isinstance(dataset, tf.data.Dataset | tf.compat.v1.data.Dataset):
            raise UsageError(f"TFDataset takes a tf.data.Dataset; found a {type(dataset).__name__}")
        chain.refuse_repeated(dataset)
        chain.refuse_shuffled(dataset)
        with _home(dataset):
            whole, note = chain.kept_whole(dataset)
            if chain.is_endless(whole):
                raise UsageError("the tf.data.Dataset never ends; leave repeat() out of the data for evaluation")
            self._own_batch_size = chain.batch_size(whole)
            is_batched = _is_batched(whole, self._names, declared=batched)
            dropped = labelling(options).drops is not None or self._drops_rows(whole)
            known = None if dropped else chain.rows(whole, is_batched=is_batched)
            fixed = tf.data.Options()
            fixed.deterministic = True
            self._dataset = (whole if is_batched else whole.batch(_BATCH)).with_options(fixed)
        self.notes = () if note is None else (note,)
        if note is not None:
            warnings.warn(note, stacklevel=2)
        self._checked = False
        grouped = self._names.groups is not None
        super().__init__(self._elements, size=known, version=version, groups=grouped, **options)

    def _elements(self) -> Iterator[Batch]:
        return _elements(self._dataset, self._names)

    def _drops_rows(self, dataset: Any) -> bool:
        weighted = isinstance(dataset.element_spec, tuple) and len(dataset.element_spec) > 2  # noqa: PLR2004 - weights
        return weighted or self._names.weights is not None or self._names.mask is not None

    @property
    def own_batch_size(self) -> int | None:
        """That of a `batch()` in the chain; None where there is none that shows."""
        return self._own_batch_size

    def described(self) -> dict[str, Json]:
        """Return plain data to show: classes, slices (names), groups (True: their number is not known) and notes.

        `left_out` counts the rows of a whole pass that are left out for their label.
        """
        found = described(self.class_names, self._names.slices, self._names.groups is not None or None, self.notes)
        return {**found, "left_out": dict(self._left_out)} if self._left_out else found

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, order, and the size where it is known beforehand; reads the first 64 rows twice.

        Raises `UnstableData` where the two readings differ.
        """
        if self._version is not None and not self._checked:
            Batches(self._elements).fingerprint()
            self._checked = True
        return super().fingerprint()


class TFRecords(TFDataset):
    """TFRecord files, each record turned into a row by the user's own function.

    `files` is a path, a pattern with `*`, or a list of paths; those of a pattern are read in natural order.  `parse`
    takes one serialised record (a scalar string tensor) and returns an element as `TFDataset` takes it; it runs inside
    TensorFlow.  `compression` is "GZIP" or "ZLIB".  All else is as in `TFDataset`.

    Raises `DataError` where no file is found, or a record is damaged or cut off.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/test.tfrecord"
    >>> with tf.io.TFRecordWriter(path) as writer:
    ...     for label in range(3):
    ...         writer.write(bytes([label]))
    >>> def parse(record):
    ...     byte = tf.io.decode_raw(record, tf.uint8)
    ...     return tf.cast(byte, tf.float32), byte[0]
    >>> [batch.labels.tolist() for batch in TFRecords(path, parse).batches(0, 3, batch_size=2)]
    [[0, 1], [2]]
    >>> folder.cleanup()
    """

    name = "tf_records"

    def __init__(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        parse: Callable[[Any], Any],
        *,
        compression: str | None = None,
        inputs: str | Sequence[str] | None = None,
        label: str | None = None,
        version: str | None = None,
        **more: Unpack[_DatasetOptions],
    ) -> None:
        records = tf.data.TFRecordDataset(_files(files), compression_type=compression)
        rows = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        super().__init__(rows, inputs=inputs, label=label, batched=False, version=version, **more)


def _files(files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    if isinstance(files, str | os.PathLike):
        path = os.fspath(files)
        found = sorted(glob.glob(path), key=natural) if glob.has_magic(path) else [path]
    else:
        found = [os.fspath(path) for path in files]
    missing = next((path for path in found if not os.path.isfile(path)), None)
    if missing is not None or not found:
        raise DataError(f"TFRecords: no file is found at {missing or files}")
    return found


def _is_batched(dataset: Any, names: Names, *, declared: bool | None) -> bool:
    """Return whether elements are batches: declared, seen from the chain, or from labels that are single numbers."""
    spec = _label_spec(dataset.element_spec, names)
    rank = None if spec is None or spec.shape.rank is None else spec.shape.rank
    made = chain.batched(dataset) is not None
    if rank == 0:
        if declared or made:
            raise UsageError("the elements of the tf.data.Dataset are to be batches, but their labels are single ones")
        return False
    if declared is not None or made:
        return made if declared is None else declared
    raise UsageError(
        f"whether the elements of the tf.data.Dataset are batches or single rows does not show (its labels of shape "
        f"{None if spec is None else spec.shape}, no batch() at the end of its chain); set batched=True or "
        "batched=False"
    )


def _label_spec(spec: Any, names: Names) -> Any:
    if isinstance(spec, Mapping):
        found = spec.get(names.label)
    else:
        found = spec[1] if isinstance(spec, tuple | list) and len(spec) > 1 else None
    return found if hasattr(found, "shape") else None


def _home(dataset: Any) -> Any:
    """Return the context in which the data set lives: eager, or the graph that it was built in."""
    graph = _graph_of(dataset)
    return context.eager_mode() if graph is None else graph.as_default()


def _graph_of(dataset: Any) -> Any | None:
    variant = getattr(dataset, "_variant_tensor", None)
    return None if variant is None or isinstance(variant, tf.__internal__.EagerTensor) else variant.graph


def _elements(dataset: Any, names: Names) -> Iterator[Batch]:
    """Yield the batches of one pass, checked by the caller."""
    graph = _graph_of(dataset)
    found = _eager(dataset) if graph is None else _in_graph(dataset, graph)
    try:
        for number, element in enumerate(found):
            where = f"batch {number} of the stream"
            yield _texts(names.batch(_arrays(element, where), where), where)
    except tf.errors.OpError as error:
        raise DataError(
            f"TensorFlow could not read the data set: {type(error).__name__}: {error.message[:_LONGEST]}"
        ) from error
    finally:
        found.close()


def _eager(dataset: Any) -> Generator[Any, None, None]:
    with context.eager_mode():
        elements = iter(dataset)
    while True:
        # Entered for each element: between two, the caller is in whatever context it was in.
        with context.eager_mode():
            try:
                element = next(elements)
            except StopIteration:
                return
        yield element


def _in_graph(dataset: Any, graph: Any) -> Generator[Any, None, None]:
    with graph.as_default():
        iterator = tf.compat.v1.data.make_initializable_iterator(dataset)
        element = iterator.get_next()
        tables = tf.compat.v1.tables_initializer()
    with tf.compat.v1.Session(graph=graph) as session:
        session.run([iterator.initializer, tables])
        while True:
            try:
                yield session.run(element)
            except tf.errors.OutOfRangeError:
                return


def _arrays(value: Any, where: str) -> Any:
    """Turn tensors into NumPy arrays that no model can write through."""
    if isinstance(value, Mapping):
        return {str(name): _arrays(item, where) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_arrays(item, where) for item in value)
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor | tf.compat.v1.SparseTensorValue):
        raise DataError(f"{where}: found a {type(value).__name__}; expected dense tensors: map to_tensor() or pad them")
    array = np.asarray(value)
    return _bytes(array, where) if array.dtype.hasobject else array


def _bytes(array: Array, where: str) -> Array:
    """Turn TensorFlow's strings into NumPy's bytes, which end at the last that is not 0."""
    found = array.astype(np.bytes_)
    if not np.array_equal(found.astype(object), array):
        raise DataError(f"{where}: strings that end with a zero byte cannot be kept; decode them in the data set")
    return found


def _texts(batch: Batch, where: str) -> Batch:
    """Decode ids, slices and groups, which are text."""
    slices = None if batch.slices is None else {name: _text(item, where) for name, item in batch.slices.items()}
    return replace(batch, ids=_text(batch.ids, where), slices=slices, groups=_text(batch.groups, where))


def _text(array: Any, where: str) -> Any:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: ids, slices and groups are text in UTF-8; {error}") from error
