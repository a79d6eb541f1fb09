"""What does the model check cost, beside 40 batches of each checkpoint?

The light check of every checkpoint: median of 30, beside the median batch of the same model, predicted as the loop does
it.  The full check and the measurement of the rounding, once a process: in batches.  Promised is that the light check
takes at most 0.5 % of 40 batches, or a millisecond.
"""

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from _figures import Figure, main, plain_figure, seconds

from milepost.core.types import Array, Batch
from milepost.loop.checks import ModelChecks, predict
from milepost.models.numpy import FunctionModel
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

BATCHES, CHECKS = 40, 30
SHARE, LEAST = 0.5, 1.0


def perceptron() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(784, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1000))


def convolutions() -> torch.nn.Module:
    def block(before: int, after: int) -> list[torch.nn.Module]:
        return [torch.nn.Conv2d(before, after, 3, 2, 1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]

    return torch.nn.Sequential(
        *block(3, 32), *block(32, 64), *block(64, 64), torch.nn.Flatten(), torch.nn.Linear(64 * 16, 100)
    )


def small(weights: dict[str, Array], inputs: Array) -> Array:
    return np.asarray(np.maximum(inputs @ weights["a"], 0) @ weights["b"])


def cases() -> Iterator[tuple[str, Any, dict[str, Array], Array]]:
    """Yield a name, a model, its weights, and a batch."""
    random = np.random.default_rng(0)
    weights = {"a": random.normal(size=(64, 64)).astype("f4"), "b": random.normal(size=(64, 10)).astype("f4")}
    yield (
        "NumPy, 64 features, batches of 256",
        FunctionModel(small),
        weights,
        random.normal(size=(256, 64)).astype("f4"),
    )
    for name, build, shape in (
        ("perceptron of 1,000 classes", perceptron, (784,)),
        ("convolutions, 32 x 32", convolutions, (3, 32, 32)),
    ):
        tensors = {key: item.numpy() for key, item in build().state_dict().items()}
        for rows in (256, 32):
            inputs = random.normal(size=(rows, *shape)).astype("f4")
            yield f"{name}, batches of {rows}", TorchModel(build), tensors, inputs


def figures() -> list[Figure]:
    """Check every case."""
    made = []
    for name, model, tensors, inputs in cases():
        weights, rows = model.load(tensors), len(inputs)
        batch = Batch(inputs, np.zeros(rows, np.int64))
        outputs = predict(model, weights, inputs, 0, rows)
        one, full, light = [], [], []
        for _ in range(CHECKS):
            one.append(seconds(partial(predict, model, weights, inputs, 0, rows)))
            checks = ModelChecks(model, Classification(outputs="logits"), rows)
            checks.begin(0, rows)
            check = partial(checks.check, weights, batch, outputs)
            full.append(seconds(partial(check, None)))
            light.append(seconds(partial(check, None)))
            full[-1] += seconds(partial(check, check(None)))  # the batch in the middle of a pass
        shares = [100 * checked / (BATCHES * batched) for checked, batched in zip(light, one, strict=True)]
        share, milliseconds = statistics.median(shares), 1e3 * statistics.median(light)
        held = share <= SHARE or milliseconds <= LEAST
        found, promise = f"{share:.2f} % ({milliseconds:.2f} ms)", f"at most {SHARE:g} %, or {LEAST:g} ms"
        made.append(Figure(f"{name}: light check, of {BATCHES} batches", found, promise, held))
        batches = statistics.median(checked / batched for checked, batched in zip(full, one, strict=True))
        made.append(plain_figure(f"{name}: full check and rounding, once", batches, "batches", 1))
    return made


if __name__ == "__main__":
    main("What does the model check cost?", figures)
