"""The laws of a task: columns as declared, rows that do not know their neighbours, one answer for every kind of array.

```python
def test_my_task() -> None:
    check_task(MyTask(), {"torch": as_torch})
```
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from milepost.core.capabilities import capability
from milepost.core.protocols import HoldsOutputs, Sampled, Task
from milepost.core.types import Array, Columns
from milepost.errors import DataError
from milepost.testing._refusals import refused

Convert = Callable[[Array, str], Any]
"""From a NumPy array and the name of a dtype to an array of a framework; None where the framework has no such dtype."""

TOLERANCE = 1e-6
"""What float columns may differ by, absolute and relative; integer columns are equal."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
_RANKED = {"rank", "above", "ties", "prediction", "finite"}
_ROWS = 120


def check_task(task: Task, convert: Mapping[str, Convert] | None = None) -> None:
    """Check a task against every law; raise `AssertionError` where it fails.

    The rows are the task's own: `sample(random, rows)` returns outputs and labels that try its hard cases.
    `convert` names the frameworks' arrays that have to agree with NumPy's.  A task whose columns rank one label among
    classes is held to the laws of ranks as well.
    """
    sampled = capability(task, Sampled)
    assert sampled is not None, f"{task} has no `sample(random, rows)`: outputs and labels that try its hard cases"
    outputs, labels = sampled.sample(np.random.default_rng(7), _ROWS)
    assert len(outputs) == len(labels) == _ROWS, f"{task}.sample gave {len(outputs)} outputs, {len(labels)} labels"
    laws = [_declares, _computes_what_is_wanted, _keeps_rows_apart, _reads_any_layout, _holds_copies, _refuses_labels]
    if task.columns().keys() >= _RANKED:
        laws += [_ranks, _has_nonfinite]
    case = _TaskCase(task, np.asarray(outputs), labels)
    for law in laws:
        law(case)
    for name, item in {"numpy": as_numpy, **(convert or {})}.items():
        _agrees(case, name, item)


def as_numpy(array: Array, dtype: str) -> Array:
    """Return an array in a dtype of NumPy or ml_dtypes."""
    return array.astype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)


@dataclass(frozen=True, slots=True)
class _TaskCase:
    """A task and the rows on which it is judged."""

    task: Task
    outputs: Array
    labels: Array

    def reduce(self, outputs: Any, labels: Array) -> dict[str, Array]:
        return self.task.reduce(outputs, labels, frozenset(self.task.columns()))

    def whole(self) -> dict[str, Array]:
        return self.reduce(self.outputs, self.labels)


def _declares(case: _TaskCase) -> None:
    task, outputs, labels = case.task, case.outputs, case.labels
    columns = task.columns()
    every = frozenset(columns)
    for rows in (len(labels), 1, 0):
        found = task.reduce(outputs[:rows], labels[:rows], every)
        assert found.keys() == every, f"declared and not computed, or computed and not declared: {found.keys() ^ every}"
        for name, item in columns.items():
            assert item.name == name, f"the column {item.name} is declared under the name {name}"
            assert item.doc, f"the column {name} does not say what it holds"
            assert isinstance(found[name], np.ndarray), f"{name} is a {type(found[name]).__name__}, no NumPy array"
            dtype = np.dtype(item.dtype if item.shape is not None else object)
            assert found[name].dtype == dtype, f"{name} is {found[name].dtype}, declared {dtype}"
            shape = (rows, *(item.shape or ()))
            assert found[name].shape == shape, f"{name} has shape {found[name].shape}, declared {shape}"
    scores = task.scores(outputs)
    assert len(scores) == len(labels), f"{task}.scores gave {len(scores)} rows of {len(labels)}"
    assert scores.dtype.kind == "f", f"{task}.scores are {scores.dtype}: expected floats"


def _computes_what_is_wanted(case: _TaskCase) -> None:
    task, outputs, labels = case.task, case.outputs, case.labels
    whole = case.whole()
    for name in whole:
        found = task.reduce(outputs, labels, frozenset({name}))
        assert found.keys() == {name}, f"{name} was asked for, {', '.join(found)} were given"
        _same(found, {name: whole[name]}, f"{name} asked for alone")


def _keeps_rows_apart(case: _TaskCase) -> None:
    outputs, labels = case.outputs, case.labels
    whole = case.whole()
    order = np.random.default_rng(1).permutation(len(labels))
    moved = {name: item[order] for name, item in whole.items()}
    _same(case.reduce(outputs[order], labels[order]), moved, "rows in another order")
    for size in (1, 7):
        pieces = [case.reduce(outputs[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size)]
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in whole}
        _same(joined, whole, f"rows reduced by {size}")


def _reads_any_layout(case: _TaskCase) -> None:
    outputs, labels = case.outputs, case.labels
    whole = case.whole()
    twice = np.repeat(outputs, 2, axis=0)[::2]
    locked = outputs.copy()
    locked.flags.writeable = False
    swapped = outputs.astype(outputs.dtype.newbyteorder(">"))
    layouts = {"columns first": np.asfortranarray(outputs), "every second row": twice, "read-only": locked}
    for name, item in (layouts | {"backwards": outputs[::-1].copy()[::-1], "big-endian": swapped}).items():
        _same(case.reduce(item, labels), whole, f"outputs {name}")
    if labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < 128:
        for dtype in ("int8", "uint8", "int32", "uint64", ">i8"):
            _same(case.reduce(outputs, labels.astype(dtype)), whole, f"labels of {dtype}")


def _holds_copies(case: _TaskCase) -> None:
    holder = capability(case.task, HoldsOutputs)
    held = None if holder is None else holder.hold(case.outputs, case.labels)
    if held is None:
        return
    assert not np.shares_memory(held, case.outputs), "what is held is the outputs' own memory, which may be used again"
    twice = case.reduce(np.concatenate([held, held]), np.concatenate([case.labels, case.labels]))
    for name, item in case.whole().items():
        alike = twice[name].tobytes() == item.tobytes() * 2
        assert alike, f"{name} of held outputs that are reduced together differs from that of each batch"


def _refuses_labels(case: _TaskCase) -> None:
    task, outputs, labels = case.task, case.outputs, case.labels
    wrong = {"a label too few": labels[1:], "text": labels.astype("U"), "an axis too many": labels[:, None, None]}
    for name, item in wrong.items():
        with refused(DataError, f"{task} takes wrong labels ({name}) without a DataError"):
            case.reduce(outputs, item)


def _ranks(case: _TaskCase) -> None:
    outputs, labels = case.outputs, case.labels
    rows, classes = outputs.shape
    every = [case.reduce(outputs, np.full(rows, item)) for item in range(classes)]
    fine = every[0]["finite"] != 0
    ranks = np.stack([item["rank"] for item in every], axis=1)[fine]
    assert (np.sort(ranks, axis=1) == np.arange(classes)).all(), "the ranks of a row's classes are not 0, 1, 2, ..."
    best = np.argmax(outputs, axis=1)
    for label, found in enumerate(every):
        assert (found["prediction"][fine] == best[fine]).all(), "the prediction is not the argmax"
        right = found["rank"][fine] == 0
        assert (right == (best[fine] == label)).all(), "rank 0 and argmax do not agree"
        assert (found["above"] <= found["rank"]).all(), "more classes above than the rank says"
        assert (found["rank"] - found["above"] <= found["ties"]).all(), "the rank counts more ties than there are"
    constant = np.full((classes, classes), 1.0 / classes)
    found = case.reduce(constant, np.arange(classes))
    assert (found["rank"] == np.arange(classes)).all(), "the rank in a constant row is not the class index"
    assert (found["ties"] == classes - 1).all(), "a constant row ties with all other classes"
    taken = {name: np.stack([item[name] for item in every])[labels, np.arange(rows)] for name in every[0]}
    _same(case.whole(), taken, "all rows with one label")


def _has_nonfinite(case: _TaskCase) -> None:
    row = np.array([0.5, 0.25, 0.125, 0.125])
    for bad, where, label in ((bad, i, j) for bad in (np.nan, np.inf) for i in range(4) for j in range(4)):
        scores = np.stack([row, row])
        scores[1, where] = bad
        found = case.reduce(scores, np.array([label, label]))
        _is_nonfinite(found, f"{bad} at class {where}, label {label}")
        alone = case.reduce(scores[:1], np.array([label]))
        _same({name: item[:1] for name, item in found.items()}, alone, "a non-finite row")
    masked = np.array([[1.0, -np.inf, 0.5, 0.0]])
    for label in range(4):
        try:
            found = case.reduce(masked, np.array([label]))
        except DataError:  # probabilities have no -inf
            return
        assert found["finite"].tolist() == [2], "-inf among finite scores is not counted apart"
        assert found["rank"].tolist() == [[0, 3, 1, 2][label]], "-inf does not rank last"
        if "nll" in found:
            assert np.isposinf(found["nll"]).all() == (label == 1), "the nll of a label at -inf is +inf, and no other's"
    _is_nonfinite(case.reduce(np.stack([row, np.full(4, -np.inf)]), np.array([1, 1])), "-inf everywhere")


def _is_nonfinite(found: Columns, what: str) -> None:
    assert found["finite"][1] == 0, f"{what} does not make the row non-finite"
    assert found["prediction"][1] == -1, f"{what}: the row has a prediction"
    assert found["rank"][1] == found["above"][1] == np.iinfo(np.int32).max, f"{what}: the row has a rank"
    for name, item in found.items():
        assert item.dtype.kind != "f" or np.isnan(item[1]), f"{what}: {name} is {item[1]}, expected NaN"


def _agrees(case: _TaskCase, framework: str, convert: Convert) -> None:
    """Each dtype gives what the same numbers give in NumPy's float64, into which all of them fit."""
    for dtype, values in _values(case.outputs):
        made = convert(values, dtype)
        if made is None:
            continue
        try:
            expected = case.reduce(as_numpy(values, dtype).astype(np.float64), case.labels)
        except DataError:  # such as probabilities cut to integers
            continue
        _same(case.reduce(made, case.labels), expected, f"outputs of {framework} in {dtype}")


def _values(outputs: Array) -> Iterator[tuple[str, Array]]:
    yield from ((dtype, outputs) for dtype in _FLOATS)
    whole = np.nan_to_num(np.round(outputs), posinf=0.0, neginf=0.0)
    yield from ((dtype, np.abs(whole) if dtype.startswith("u") else whole) for dtype in _INTEGERS)


def _same(found: Columns, expected: Columns, what: str) -> None:
    for name, item in expected.items():
        assert found[name].dtype == item.dtype, f"{what}: {name} is {found[name].dtype}, expected {item.dtype}"
        if item.dtype.kind == "f":
            close = np.isclose(found[name], item, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        else:
            close = found[name] == item
        assert close.all(), (
            f"{what}: {name} of row {int(np.argmin(close))} is {found[name][~close][0]}, not {item[~close][0]}"
        )
