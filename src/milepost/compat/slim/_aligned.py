"""Labels, predictions and weights as TensorFlow 1 hands them in: shapes that differ by an axis of 1, and floats."""

import numpy as np

from milepost.core.types import Array
from milepost.errors import DataError


def pair(labels: Array, predictions: Array) -> tuple[Array, Array]:
    """Return both in one shape: a last axis of 1 that only one of them has is taken off.

    TensorFlow does the same, and then lets other shapes broadcast; here they are a `DataError`.
    """
    if predictions.ndim == labels.ndim + 1 and predictions.shape[-1] == 1:
        predictions = predictions[..., 0]
    elif labels.ndim == predictions.ndim + 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != predictions.shape:
        raise DataError(f"labels have shape {labels.shape} and predictions {predictions.shape}; expected one shape")
    return labels, predictions


def spread(weights: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Return weights [rows] (float64) for values of a shape; a scalar, or axes of 1, stand for all.

    A last axis of 1 more or less than the values have is allowed.  Raises `DataError` for weights that are negative or
    not finite.
    """
    if weights is None:
        return None
    found = weights.astype(np.float64)
    if found.ndim == len(shape) + 1 and found.shape[-1] == 1:
        found = found[..., 0]
    elif found.ndim and found.ndim == len(shape) - 1:
        found = found[..., None]
    fits = found.ndim == len(shape) and all(mine in {1, other} for mine, other in zip(found.shape, shape, strict=True))
    if found.ndim and not fits:
        raise DataError(
            f"weights can not be broadcast to values: they have shape {weights.shape}, the values {shape}; expected a "
            "scalar, the same, or 1s"
        )
    flat: Array = np.broadcast_to(found, shape).ravel()
    wrong = ~(np.isfinite(flat) & (flat >= 0))
    if wrong.any():
        raise DataError(f"weights: expected finite numbers >= 0; found {flat[wrong][0]}")
    return flat


def whole(values: Array, what: str) -> Array:
    """Return class numbers as int64, whatever dtype they come in; what is no whole number is a `DataError`."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        raise DataError(f"{what}: expected numbers; found dtype {values.dtype}")
    wrong = ~np.isfinite(values) | (values != np.floor(values))
    if wrong.any():
        raise DataError(f"{what}: expected class numbers; found {values[wrong][0]}")
    return values.astype(np.int64)


def decided(predictions: Array, threshold: float) -> Array:
    """Return 0 or 1 for each prediction, -1 where it is NaN: numbers strictly between 0 and 1 are probabilities.

    Raises `DataError` for any other number: scores without bounds (logits) have no threshold that could be known.
    """
    values = predictions.astype(np.float64)
    wrong = ~np.isnan(values) & ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise DataError(
            f"predictions: expected 0, 1, True, False or probabilities; found {values[wrong][0]}: for logits say "
            "tf.greater(logits, 0)"
        )
    return np.where(np.isnan(values), -1, values > threshold).astype(np.int64)


def equal(labels: Array, predictions: Array, threshold: float) -> Array:
    """Tell where predictions are right: equal in value, whatever the dtypes; a probability decides between 0 and 1.

    A prediction that is no whole number beside a label that is one (TensorFlow would cut it off to an integer) is taken
    for a probability where the label is 0 or 1 and it lies between them, and is else a `DataError`.  NaN is wrong.
    """
    kinds = {labels.dtype.kind, predictions.dtype.kind}
    if kinds & set("OSU"):
        return np.asarray(labels == predictions)
    if "f" not in kinds:
        return np.asarray(labels.astype(np.int64) == predictions.astype(np.int64))
    if labels.dtype.kind == "f":
        predictions = predictions.astype(labels.dtype, copy=False)
    exact: Array = labels == predictions
    part = np.isfinite(predictions) & (predictions != np.floor(predictions)) & (labels == np.floor(labels))
    if not part.any():
        return exact
    probable = (labels >= 0) & (labels <= 1) & (predictions > 0) & (predictions < 1)
    wrong = part & ~probable
    if wrong.any():
        raise DataError(
            f"predictions: {predictions[wrong][0]} is no class, and beside the label {labels[wrong][0]} no probability "
            "either; expected class numbers, such as tf.argmax(logits, 1)"
        )
    return np.where(part, (predictions > threshold) == (labels == 1), exact)
