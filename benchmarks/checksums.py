"""What does the checksum of each row cost, by megabyte of inputs and beside 40 batches of a model?

It is made in the thread that reads ahead, so that a pass waits for it only where the model is faster than both.
Promised is that it takes at most 0.1 ms a megabyte of inputs, or 1 % of the model's batches; the models are those of
`model_check.py`, on their own batches.
"""

import statistics
from functools import partial

import numpy as np
from _figures import Figure, main, seconds
from model_check import BATCHES, cases

from milepost.core.types import Array, Batch
from milepost.loop.checks import predict
from milepost.loop.row_checksums import with_checksums

TIMES = 30
SHARE, LEAST = 1.0, 0.1
SHAPES: dict[str, tuple[int, tuple[int, ...], str]] = {
    "tabular, 8 float32": (4096, (8,), "float32"),
    "MNIST, float32": (256, (1, 28, 28), "float32"),
    "CIFAR, uint8": (256, (3, 32, 32), "uint8"),
    "ImageNet, uint8": (64, (3, 224, 224), "uint8"),
    "ImageNet, float32": (64, (3, 224, 224), "float32"),
    "odd width, uint8": (64, (3, 299, 299), "uint8"),
    "512 tokens, int64": (64, (512,), "int64"),
}


def checksums(batch: Batch) -> None:
    """Make the checksums of a batch."""
    for _ in with_checksums([batch]):
        pass


def labelled(inputs: Array) -> Batch:
    """Return a batch with labels."""
    return Batch(inputs, np.random.default_rng(0).integers(0, 10, len(inputs)))


def by_megabyte(name: str, rows: int, shape: tuple[int, ...], dtype: str) -> Figure:
    """Measure one kind of inputs: the least of several times."""
    batch = labelled(np.random.default_rng(0).integers(0, 256, (rows, *shape)).astype(dtype))
    cost = 1e3 * min(seconds(partial(checksums, batch)) for _ in range(TIMES)) / (batch.inputs.nbytes / 1e6)
    return Figure(name, f"{cost:.3f} ms/MB", f"at most {LEAST:g} ms/MB", cost <= LEAST)


def figures() -> list[Figure]:
    """Measure every kind of inputs, and every model."""
    made = [by_megabyte(name, *what) for name, what in SHAPES.items()]
    for name, model, tensors, inputs in cases():
        weights, batch, rows = model.load(tensors), labelled(inputs), len(inputs)
        predicted = [seconds(partial(predict, model, weights, inputs, 0, rows)) for _ in range(TIMES)]
        summed = [seconds(partial(checksums, batch)) for _ in range(TIMES)]
        share = 100 * statistics.median(summed) / statistics.median(predicted)
        cost = 1e3 * statistics.median(summed) / (inputs.nbytes / 1e6)
        found, promise = f"{share:.2f} % ({cost:.2f} ms/MB)", f"at most {SHARE:g} %, or {LEAST:g} ms/MB"
        made.append(Figure(f"{name}: of {BATCHES} batches", found, promise, share <= SHARE or cost <= LEAST))
    return made


if __name__ == "__main__":
    main("What does the checksum of each row cost?", figures)
