"""How many predictions does another batch size move, and how many does `show` announce?

60 networks with weights at random predict 10,000 rows in batches of 1, 7, 256 and all at once, each through the loop as
a run does it: a third are small NumPy perceptrons, a third wide ones, a third perceptrons of PyTorch.  In half of them
1 % of the rows are a thousand times larger.  In half of them five classes have the weights of the other five, off by
1e-6, so that thousands of rows lie near a tie.  For each batch size, a row has moved if another size predicts another
class; a row is announced if its margin is below 2 d times its scale, with the d that was measured in this batch size
alone.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _figures import Figure, main, plain_figure

from milepost._internal.text import counted
from milepost.core.types import Array, Part
from milepost.data import Arrays
from milepost.loop.evaluate import Pass, evaluate
from milepost.models.numpy import FunctionModel
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

ROWS, CLASSES, SEEDS = 10_000, 10, 5
SIZES = (1, 7, 256, ROWS)
KINDS = (("numpy", 64, 64), ("numpy", 784, 256), ("torch", 128, 128))
KEPT = frozenset({"prediction", "margin", "scale"})


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of all rows in batches of one size, those announced to be near a tie, and the d of the check."""

    prediction: Array
    announced: Array
    relative: float
    measured: int


def networks() -> Iterator[tuple[Any, dict[str, Array], Array]]:
    """Yield a model, its weights, and inputs."""
    both = (False, True)
    for (kind, features, hidden), tail, twins, seed in itertools.product(KINDS, both, both, range(SEEDS)):
        random = np.random.default_rng([features, tail, twins, seed])
        shapes = {"a": (hidden, features), "b": (hidden,), "c": (CLASSES, hidden), "d": (CLASSES,)}
        weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        if twins:
            for name in "cd":
                half = weights[name][: CLASSES // 2]
                noise = 1e-6 * random.normal(size=half.shape)
                weights[name] = np.concatenate([half, half * (1 + noise)]).astype(np.float32)
        inputs = random.normal(size=(ROWS, features)).astype(np.float32)
        if tail:
            inputs[random.choice(ROWS, ROWS // 100, replace=False)] *= 1000
        if kind == "numpy":
            yield FunctionModel(perceptron), weights, inputs
        else:
            names = dict(zip("abcd", ("0.weight", "0.bias", "2.weight", "2.bias"), strict=True))
            yield module(features, hidden), {names[name]: item for name, item in weights.items()}, inputs


def perceptron(weights: dict[str, Array], inputs: Array) -> Array:
    return np.asarray(np.maximum(inputs @ weights["a"].T + weights["b"], 0) @ weights["c"].T + weights["d"])


def module(features: int, hidden: int) -> TorchModel:
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(features, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, CLASSES))

    return TorchModel(build)


def predictions(model: Any, weights: dict[str, Array], inputs: Array, size: int) -> Predictions:
    """Predict all rows in batches of a size, as a run does."""
    source = Arrays(inputs, np.zeros(ROWS, np.int64), order="natural")
    work = Pass(model=model, source=source, task=Classification(outputs="logits"), kept=KEPT, batch_size=size)
    parts = [part for _, part in evaluate(work, {"": model.load(weights)}, 0, ROWS)]
    made = [part for part in parts if isinstance(part, Part)]
    columns = {name: np.concatenate([part.columns[name] for part in made]) for name in KEPT}
    check: Any = max((part.environment["model_check"] for part in made), key=lambda check: check["relative"])
    near = columns["margin"] < 2 * check["relative"] * columns["scale"].astype(np.float64)
    return Predictions(columns["prediction"], near, check["relative"], check["measured"])


def figures() -> list[Figure]:
    """Predict with every network in every size."""
    made: list[Figure] = []
    every = [{size: predictions(*network, size) for size in SIZES} for network in networks()]
    for size in SIZES:
        own = [one[size] for one in every]
        moved = [np.any([item.prediction != one[size].prediction for item in one.values()], axis=0) for one in every]
        missed = sum(int(np.count_nonzero(rows & ~one.announced)) for rows, one in zip(moved, own, strict=True))
        short = sum(rows.sum() > one.announced.sum() for rows, one in zip(moved, own, strict=True))
        name = "all rows" if size == ROWS else counted(size, "row")
        counts = [
            sum(int(rows.sum()) for rows in moved),
            sum(int(one.announced.sum()) for one in own),
            missed,
            int(short),
        ]
        what = ("rows that moved", "rows announced", "rows that moved, not announced", "networks where more moved")
        made += [
            plain_figure(f"batches of {name}: {text}", count, "", 0) for text, count in zip(what, counts, strict=True)
        ]
        spread = np.quantile([one.relative for one in own], (0, 0.5, 1))
        alone = int(np.median([one.measured for one in own]))
        texts = ", ".join(f"{item:.2g}" for item in spread)
        made.append(Figure(f"batches of {name}: d (least, median, largest)", f"{texts} on {counted(alone, 'row')}"))
    return made


if __name__ == "__main__":
    main("How many predictions does another batch size move, and how many does show announce?", figures)
