"""What do exact top-1 and top-5 of one batch cost, from logits to counts, beside torchmetrics?

Ours is the task's reduction to rank, ties, prediction and finite, and both metrics' states.  Theirs is `update` of a
MetricCollection of two MulticlassAccuracy, which gives tied scores another answer (facts in docs/design).
"""

import statistics

import numpy as np
import torch
from _figures import Figure, in_turn, main, plain_figure, ratio
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from milepost.metrics import TopK
from milepost.tasks import Classification

ROWS, ROUNDS, REPEATS = 256, 15, 20


def beside(classes: int) -> list[Figure]:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.standard_normal((ROWS, classes), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, classes, ROWS))
    task, metrics = Classification(outputs="logits"), [TopK(1), TopK(5)]
    theirs = MetricCollection(
        {f"top{k}": MulticlassAccuracy(classes, top_k=k, average="micro", validate_args=False) for k in (1, 5)}
    )
    host = labels.numpy()
    wanted = frozenset(name for name, column in task.columns().items() if column.always)

    def ours() -> None:
        for _ in range(REPEATS):
            columns = task.reduce(scores, host, wanted)
            for metric in metrics:
                metric.state(columns, None)

    def full() -> None:
        for _ in range(REPEATS):
            task.reduce(scores, host, wanted | {"nll", "confidence"})

    def peers() -> None:
        for _ in range(REPEATS):
            theirs.update(scores, labels)

    own, every, other = in_turn([ours, full, peers], ROUNDS, warm=2)
    named = f"{ROWS} rows, {classes:,} classes: "
    return [
        plain_figure(f"{named}top-1 and top-5, Milepost", 1e3 * statistics.median(own) / REPEATS, "ms", 3),
        plain_figure(f"{named}top-1 and top-5, torchmetrics", 1e3 * statistics.median(other) / REPEATS, "ms", 3),
        plain_figure(f"{named}torchmetrics' time beside ours", ratio(other, own), "times"),
        plain_figure(
            f"{named}all columns of five metrics (rank to confidence)",
            1e3 * statistics.median(every) / REPEATS,
            "ms",
            3,
        ),
    ]


def measure() -> list[Figure]:
    with torch.inference_mode():
        return beside(10) + beside(1000)


if __name__ == "__main__":
    main("What do top-1 and top-5 cost a batch?", measure)
