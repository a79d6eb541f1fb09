"""Random streams of rows that outside judges see too: absent classes, one class only, ties, weights."""

from collections.abc import Iterator

import numpy as np

from milepost.core.protocols import Metric
from milepost.core.types import Array, Value
from milepost.tasks import Classification

CLASSES = 5
ALL = list(range(CLASSES))
KINDS = ("plain", "tied", "absent", "one class")


class Stream:
    """Logits, their probabilities in float64, labels, weights, and the columns that our task makes of them."""

    def __init__(self, kind: str, rows: int = 24) -> None:
        random = np.random.default_rng(KINDS.index(kind))
        self.labels = random.integers(0, CLASSES, rows)
        logits = random.normal(size=(rows, CLASSES)) * 2
        logits[np.arange(rows), self.labels] += random.random(rows) * 2
        if kind == "tied":
            logits = np.round(logits)
        elif kind == "absent":
            self.labels[self.labels == 1] = 3  # class 1 is predicted and never right, class 4 is never predicted
            logits[:, 4] -= 20
        elif kind == "one class":
            self.labels[:] = 2
        self.logits = logits.astype(np.float32)
        exponentials = np.exp(self.logits.astype(np.float64))
        self.shares = exponentials / exponentials.sum(axis=1, keepdims=True)
        self.best = self.logits.argmax(axis=1)
        self.weights = random.integers(1, 50, rows) / 7
        task = Classification(outputs="logits")
        self.columns = {**task.reduce(self.logits, self.labels, frozenset(task.columns())), "label": self.labels}

    def values(self, metric: Metric, weights: Array | None = None) -> Iterator[tuple[int, dict[str, Value]]]:
        """Yield (rows so far, values), merging one row after another."""
        state = None
        for n in range(len(self.labels)):
            row = {name: self.columns[name][n : n + 1] for name in metric.columns}
            new = metric.state(row, None if weights is None else weights[n : n + 1])
            state = new if state is None else state.merge(new)
            yield n + 1, metric.values(state)
