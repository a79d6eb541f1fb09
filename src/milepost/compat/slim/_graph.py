"""A row of the table as operations of a TensorFlow 1 graph: `(value, update_op)` over one int64 local variable."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from milepost.compat.slim._errors import InvalidValue
from milepost.compat.slim._kinds import ABSENT, Arrays, Kind
from milepost.compat.slim._packed import PackedLayout
from milepost.compat.slim._table import ROWS, MetricRow
from milepost.core.types import Array
from milepost.errors import DataError, MilepostError, MissingExtra, UsageError

try:
    import tensorflow.compat.v1 as tf
except ModuleNotFoundError as error:
    raise MissingExtra("tensorflow", "tf") from error

from milepost.compat.slim._order import in_order

Metric = Callable[..., tuple[Any, Any]]
_NARROW = (tf.bfloat16, tf.float16)


def functions(*, slim: bool) -> dict[str, Metric]:
    """Return every metric by name, as `tf_slim.metrics` or as `tf.metrics` has it."""
    rows = [(row.twin if slim else row.name, row) for row in ROWS]
    return {name: _function(name, row, slim=slim) for name, row in rows if name is not None}


def _function(name: str, row: MetricRow, *, slim: bool) -> Metric:
    signature = row.signature(slim=slim)

    def metric(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _built(name, row, bound.arguments)

    metric.__name__ = metric.__qualname__ = name
    metric.__signature__ = signature  # type: ignore[attr-defined]  # what help() and inspect show
    kind = row.kind.func if hasattr(row.kind, "func") else row.kind
    metric.__doc__ = f"{(inspect.getdoc(kind) or '').strip()}\n\nReturns (value, update_op), both float64.\n"
    return metric


def _built(name: str, row: MetricRow, given: Mapping[str, Any]) -> tuple[Any, Any]:
    _check_graph(name)
    common = {key: given[key] for key in ("weights", "metrics_collections", "updates_collections", "name")}
    parameters = {key: given[key] for key, _ in row.parameters}
    if given["legacy"]:
        arrays = {key: given[key] for key in row.arrays}
        return _collected(*_original(row, arrays, parameters, common["weights"], common["name"]), common)
    if row.thresholds:
        parameters["threshold"] = given["threshold"]
    kind = row.kind(**parameters)
    arrays = {key: _dense(given[key]) for key in row.arrays}
    weights = None if common["weights"] is None else tf.convert_to_tensor(common["weights"])
    with tf.variable_scope(common["name"], name.removeprefix("streaming_"), [*arrays.values()]):
        return _collected(*_operations(kind, arrays, weights), common)


def _check_graph(name: str) -> None:
    if tf.get_default_graph().building_function:
        raise UsageError(
            f"{name} builds operations of a TensorFlow 1 graph, and not inside a tf.function; call it outside"
        )
    if tf.executing_eagerly():
        raise UsageError(
            f"{name} builds operations of a TensorFlow 1 graph, and TensorFlow 2 runs each operation at once; put the "
            "line `tf.disable_v2_behavior()` after the imports of the script, or call this under "
            "`with tf.Graph().as_default()`"
        )


def _collected(value: Any, update: Any, common: Mapping[str, Any]) -> tuple[Any, Any]:
    for key, tensor in (("metrics_collections", value), ("updates_collections", update)):
        names = common[key] or []
        tf.add_to_collections([names] if isinstance(names, str) else names, tensor)
    return value, update


def _dense(value: Any) -> Any:
    """Return a tensor that NumPy knows; of rows with unequal numbers of labels, one filled up with no label."""
    tensor = tf.convert_to_tensor_or_sparse_tensor(value)
    if isinstance(tensor, tf.SparseTensor):
        return tf.sparse.to_dense(tensor, ABSENT, validate_indices=False)
    return tf.cast(tensor, tf.float32) if tensor.dtype in _NARROW else tensor


def _operations(kind: Kind, arrays: dict[str, Any], weights: Any) -> tuple[Any, Any]:
    _check_shapes(kind, arrays, weights)
    layout = _layout(kind, arrays, weights)
    size = layout.size
    state = tf.Variable(
        lambda: tf.zeros([size], tf.int64),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES, tf.GraphKeys.METRIC_VARIABLES],
        use_resource=True,
        name="state",
    )
    names = tuple(arrays)

    def taken_in(*found: Array) -> Array:
        try:
            return layout.pack(kind.state(dict(zip(names, found, strict=False)), *found[len(names) :] or (None,)))
        except MilepostError as error:  # what is wrong with a batch is to be an invalid argument of TensorFlow's
            raise ValueError(str(error)) from None

    def value_of(vector: Array) -> Any:
        return np.float64(kind.value(layout.unpack(vector)))

    def update_of(vector: Array) -> Any:
        return np.asarray(kind.update(layout.unpack(vector)), np.float64)

    batch = [*arrays.values(), *([] if weights is None else [weights])]
    added = tf.numpy_function(taken_in, batch, tf.int64, name="batch")
    added.set_shape([size])
    # One addition to one variable, one look at it: no other step can come between the halves of a state.
    with tf.control_dependencies([tf.raw_ops.AssignAddVariableOp(resource=state.handle, value=added)]):
        after = tf.raw_ops.ReadVariableOp(resource=state.handle, dtype=tf.int64, name="after")
    look = tf.raw_ops.ReadVariableOp(resource=state.handle, dtype=tf.int64, name="look")
    value = tf.numpy_function(value_of, [look], tf.float64, stateful=False, name="value")
    update = tf.numpy_function(update_of, [after], tf.float64, stateful=False, name="update_op")
    value.set_shape([])
    update.set_shape(np.shape(kind.update(layout.unpack(np.zeros(size, np.int64)))))
    in_order(look, after)
    return value, update


def _check_shapes(kind: Kind, arrays: dict[str, Any], weights: Any) -> None:
    """Raise a `ValueError`, as TensorFlow does, where the shapes that the graph knows do not fit."""
    if not all(item.shape.is_fully_defined() for item in (*arrays.values(), *([] if weights is None else [weights]))):
        return
    zeros = {name: np.zeros(item.shape.as_list(), _dtype(item)) for name, item in arrays.items()}
    try:
        kind.state(zeros, None if weights is None else np.zeros(weights.shape.as_list()))
    except DataError as error:
        raise InvalidValue(str(error)) from None


def _dtype(tensor: Any) -> Any:
    return "S1" if tensor.dtype == tf.string else tensor.dtype.as_numpy_dtype


def _layout(kind: Kind, arrays: dict[str, Any], weights: Any) -> PackedLayout:
    """Ask the kind for the state of no rows."""
    empty: dict[str, Array] = {}
    for name, tensor in arrays.items():
        wide = name == "predictions" and hasattr(kind, "k")
        shape = (0, max(2, kind.k)) if wide else (0,)  # type: ignore[attr-defined]  # asked for in the line above
        empty[name] = np.zeros(shape, _dtype(tensor))
    return PackedLayout.of(kind.state(empty, None if weights is None else np.zeros(0)), kind.classes)


def _original(
    row: MetricRow, arrays: Arrays, parameters: dict[str, Any], weights: Any, name: str | None
) -> tuple[Any, Any]:
    """Build TensorFlow's own operations; its value comes after its update in a step that runs both."""
    if row.original == "in_top_k":
        hits = tf.cast(tf.nn.in_top_k(arrays["predictions"], arrays["labels"], parameters["k"]), tf.float32)
        value, update = tf.metrics.mean(hits, weights, name=name or f"recall_at_{parameters['k']}")
    else:
        value, update = getattr(tf.metrics, row.original or str(row.name))(
            **arrays, **parameters, weights=weights, name=name
        )
    # mean_per_class_accuracy's update is no number of its value's kind: it stays as it was, unordered.
    if not value.shape.is_compatible_with(update.shape):
        return value, update
    in_order(value, update)
    # What is taken from elsewhere in a step cannot be fetched in it; what is made of it can.
    return tf.identity(value, name="in_order"), update
