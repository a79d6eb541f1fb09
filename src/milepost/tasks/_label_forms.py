"""The forms in which one class a row is given: numbers, a column of them, one-hot rows; and what other labels are."""

import numpy as np

from milepost.core.types import Array
from milepost.errors import DataError

_SHOWN = 5
_UNKNOWN = -1


def class_numbers(labels: Array) -> Array:
    """Return class numbers [rows] of labels [rows], of integers [rows, 1], or of rows with one 1 among 0.

    Raises DataError for other shapes; it says what these labels seem to be, and what to do.

    >>> class_numbers(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist(), class_numbers(np.array([[7], [3]])).tolist()
    ([1, 0], [7, 3])
    """
    if labels.ndim == 1:
        return labels
    if labels.ndim == 2 and labels.dtype.kind in "iubf":  # noqa: PLR2004 - a matrix
        if labels.shape[1] == 1 and labels.dtype.kind != "f":
            return np.asarray(labels[:, 0])
        if labels.shape[1] > 1 and bool(one_hot_rows(labels).all()):
            return np.asarray(labels.argmax(axis=1))
    raise DataError(_refusal(labels))


def one_hot_rows(labels: Array) -> Array:
    """Return which rows of a matrix have one 1 and else 0."""
    return np.asarray(((labels == 0) | (labels == 1)).all(axis=1) & ((labels == 1).sum(axis=1) == 1))


def _refusal(labels: Array) -> str:
    shape = f"[rows, {', '.join(map(str, labels.shape[1:]))}]"
    if labels.dtype.kind not in "iubf" or not labels.ndim:
        return f"labels must be integers (class numbers); found dtype {labels.dtype}, shape {labels.shape}"
    if labels.ndim > 2:  # noqa: PLR2004 - more than a matrix
        return (
            f"labels of shape {shape} are several a row, one a pixel: Milepost has no task for them yet, and expects "
            "one class a row; what works today, where a pixel's scores depend on that pixel alone: each pixel as a "
            "row, with labels.reshape(-1), mask= for those to ignore, and groups= the number of its image"
        )
    if labels.shape[1] == 1:
        return (
            f"labels of shape {shape} are of dtype {labels.dtype}; expected integers: if they are class numbers, pass "
            "labels[:, 0].astype('int64')"
        )
    known = labels[~np.isnan(labels)] if labels.dtype.kind == "f" else labels
    if labels.dtype.kind != "f" and ((known < _UNKNOWN) | (known > 1)).any():
        return (
            f"labels of shape {shape} are several a row, one a token: Milepost has no task for them yet, and expects "
            "one class a row; what works today: the scores of one token a row (the last) with its label, or, where a "
            "token's scores depend on that token alone, each token as a row: Arrays(x.reshape(-1), y.reshape(-1), "
            "mask=y.reshape(-1) >= 0, groups=np.repeat(np.arange(len(y)), y.shape[1]))"
        )
    return _no_classes(labels, shape)


def _no_classes(labels: Array, shape: str) -> str:
    """Say why rows of 0 and 1, of shares, or with unknown ones are no class each."""
    unknown = np.isnan(labels) if labels.dtype.kind == "f" else labels == _UNKNOWN
    row = labels[unknown.any(axis=1)] if unknown.any() else labels[~one_hot_rows(labels)]
    shown = f"{', '.join(f'{value:g}' for value in row[0][:_SHOWN])}{', ...' if labels.shape[1] > _SHOWN else ''}"
    at_once = (
        "what works today is one label at a time: labels[:, j], and a model that returns the logits [0, s] of its "
        "score s (in PyTorch torch.stack([0 * s[:, j], s[:, j]], dim=1))"
    )
    if unknown.any():
        left_out = "mask=~np.isnan(labels[:, j])" if labels.dtype.kind == "f" else "mask=labels[:, j] >= 0"
        return (
            f"labels of shape {shape} are unknown in places (a row is {shown}), as where a row has several labels: "
            f"Milepost has no task for these yet, and expects one class a row; {at_once}, with {left_out}"
        )
    if ((row != 0) & (row != 1)).any():
        return (
            f"labels of shape {shape} are no classes: a row is {shown}, which looks smoothed or mixed; pass "
            "labels.argmax(axis=1), of data without mix-up; CrossEntropy(label_smoothing=0.1) smooths in the metric"
        )
    if (row.sum(axis=1) > 1).any():
        return (
            f"labels of shape {shape} have several classes a row, or none (a row is {shown}): Milepost has no task for "
            f"these yet, and expects one class a row; {at_once}"
        )
    return (
        f"labels of shape {shape} are one-hot, but a row has no class ({shown}); leave such rows out, as with "
        "mask=labels.sum(axis=1) == 1"
    )
