"""Every registered task keeps the published laws, by NumPy's calls and by the array-API standard's; the laws bite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from milepost.core.types import Array
from milepost.registry import classes
from milepost.tasks import classification
from milepost.tasks._outputs import near
from milepost.tasks.classification import Classification
from milepost.testing.tasks import check_task
from milepost.testing.variants import variants

EVERY = [task for cls in classes("tasks").values() for task in variants(cls)]


def as_torch(array: Array, dtype: str) -> torch.Tensor:
    return torch.tensor(array).to(getattr(torch, dtype))


def as_strided_torch(array: Array, dtype: str) -> torch.Tensor:
    """Every second row of a tensor with its axes swapped in memory, which asks for gradients where it can."""
    tensor = as_torch(np.repeat(array, 2, axis=0), dtype).T.contiguous().T[::2]
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


CONVERT = {"torch": as_torch, "strided torch": as_strided_torch}


@pytest.mark.parametrize("task", EVERY, ids=str)
def test_a_registered_task_keeps_the_laws(task: Any) -> None:
    check_task(task, CONVERT)


@pytest.mark.parametrize("task", EVERY, ids=str)
def test_the_standards_own_calls_agree_with_numpy(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def stay(scores: Any) -> Any:
        used.append(type(scores))
        return scores

    monkeypatch.setattr(classification, "near", stay)
    check_task(task, CONVERT)
    assert torch.Tensor in used


def test_what_lies_in_host_memory_takes_the_short_way() -> None:
    assert isinstance(near(torch.zeros(2, 3)), np.ndarray)
    assert isinstance(near(torch.zeros(2, 3, dtype=torch.bfloat16)), torch.Tensor)


LOGITS = Classification(outputs="logits")
Columns = dict[str, Array]


@dataclass(frozen=True)
class Faulty:
    """A classification whose columns are changed on their way out."""

    change: Callable[[Columns, Any, Array], Columns]
    right: Classification = LOGITS

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> Columns:
        every = self.change(self.right.reduce(outputs, labels, frozenset(self.columns())), outputs, labels)
        return {name: item for name, item in every.items() if name in wanted}


def changed(name: str, change: Callable[[Array, Any, Array], Any]) -> Callable[[Columns, Any, Array], Columns]:
    def apply(columns: Columns, outputs: Any, labels: Array) -> Columns:
        if name not in columns or not len(labels):
            return columns
        return {**columns, name: np.asarray(change(columns[name], outputs, labels))}

    return apply


FAULTS: dict[str, tuple[str, Callable[[Columns, Any, Array], Columns]]] = {
    "dtype": ("is int64, declared int32", changed("rank", lambda rank, *_: rank.astype(np.int64))),
    "float64": ("is float64, declared float32", changed("nll", lambda nll, *_: nll.astype(np.float64))),
    "missing": ("declared and not computed", lambda columns, *_: {k: v for k, v in columns.items() if k != "ties"}),
    "neighbours": ("nll of row", changed("nll", lambda nll, *_: nll + np.float32(0.01) * np.float32(len(nll) > 1))),
    "first row": ("rows in another order: rank", changed("rank", lambda rank, *_: np.maximum.accumulate(rank))),
    "optimistic": (
        "ranks of a row's classes are not 0, 1, 2",
        lambda columns, *_: {**columns, "rank": columns["above"]},
    ),
    "last of ties": (
        "prediction is not the argmax",
        changed(
            "prediction",
            lambda best, outputs, _: np.where(
                best < 0, best, outputs.shape[1] - 1 - np.argmax(np.asarray(outputs)[:, ::-1], axis=1)
            ).astype(np.int32),
        ),
    ),
    "nan counts": ("the row has a prediction", changed("prediction", lambda best, *_: np.maximum(best, 0))),
    "nan is a number": ("expected NaN", changed("nll", lambda nll, *_: np.nan_to_num(nll, posinf=np.inf))),
    "half precision": (
        "outputs of numpy in float16",
        changed("nll", lambda nll, outputs, _: nll + np.float32(1e-3 * (str(np.asarray(outputs).dtype) == "float16"))),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_laws_find_each_fault(fault: str) -> None:
    words, change = FAULTS[fault]
    with pytest.raises(AssertionError, match=words):
        check_task(Faulty(change))


def test_the_laws_take_the_same_without_a_fault() -> None:
    check_task(Faulty(lambda columns, outputs, labels: columns))


def test_the_laws_find_a_framework_that_disagrees() -> None:
    with pytest.raises(AssertionError, match="outputs of odd in float32"):
        check_task(
            Classification(outputs="logits"),
            {"odd": lambda array, dtype: array.astype("f4")[:, ::-1] if dtype == "float32" else None},
        )


class Lax(Faulty):
    """Makes labels fit instead of refusing them."""

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> Columns:
        return super().reduce(outputs, np.resize(labels, len(outputs)), wanted)


def test_the_laws_find_a_task_that_takes_any_labels() -> None:
    with pytest.raises(AssertionError, match=r"takes wrong labels \(a label too few\)"):
        check_task(Lax(lambda columns, outputs, labels: columns))
