"""Outputs of several batches reduced together give the columns of each batch reduced alone, to the bit."""

import numpy as np
import pytest

from milepost.tasks import Classification


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
@pytest.mark.parametrize("classes", [2, 10, 31])
def test_rows_do_not_depend_on_their_company(classes: int, dtype: str) -> None:
    rng = np.random.default_rng(7)
    task = Classification(outputs="logits")
    scores = (rng.integers(-40, 40, (700, classes)) / 8).astype(dtype)
    if scores.dtype.kind == "f":
        scores[rng.integers(0, 700, 30), rng.integers(0, classes, 30)] = rng.choice([np.nan, np.inf, -np.inf], 30)
    labels = rng.integers(0, classes, 700)
    together = task.reduce(scores, labels, frozenset(task.columns()))
    for size in (1, 3, 256):
        for begin in range(0, 700, size):
            rows = slice(begin, begin + size)
            alone = task.reduce(scores[rows], labels[rows], frozenset(task.columns()))
            for name, column in alone.items():
                assert column.tobytes() == together[name][rows].tobytes(), (name, size, begin)


def test_what_is_held_is_a_copy() -> None:
    task = Classification(outputs="logits")
    scores = np.zeros((4, 3), np.float32)
    held = task.hold(scores, np.arange(4) % 3)
    scores += 1  # a model that uses one array for all its outputs
    assert held is not None
    assert not held.any()


def test_large_outputs_and_wrong_labels_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Classification(outputs="logits")
    assert task.hold(np.zeros((256, 1000), np.float32), np.zeros(256, np.int64)) is not None
    monkeypatch.setattr("milepost.tasks.classification._HOLDABLE", 1000)
    assert task.hold(np.zeros((256, 1000), np.float32), np.zeros(256, np.int64)) is None
    assert task.hold(np.zeros((4, 3), np.float32), np.zeros(5, np.int64)) is None
