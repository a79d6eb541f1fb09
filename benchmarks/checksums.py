"""What the checksum of each row costs: `python benchmarks/checksums.py` prints milliseconds a megabyte of inputs.

It is made in the thread that reads ahead, so that a pass waits for it only where the model is faster than both.
"""

import time

import numpy as np

from milepost.core.types import Array, Batch
from milepost.loop.row_checksums import with_checksums

BATCHES: dict[str, tuple[int, tuple[int, ...], str]] = {
    "tabular, 8 float32": (4096, (8,), "float32"),
    "MNIST, float32": (256, (1, 28, 28), "float32"),
    "CIFAR, uint8": (256, (3, 32, 32), "uint8"),
    "ImageNet, uint8": (64, (3, 224, 224), "uint8"),
    "ImageNet, float32": (64, (3, 224, 224), "float32"),
    "odd width, uint8": (64, (3, 299, 299), "uint8"),
    "512 tokens, int64": (64, (512,), "int64"),
}


def best(batch: Batch, times: int = 15) -> float:
    """Return the least seconds that the checksums of a batch take."""
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        list(with_checksums([batch]))
        spent.append(time.perf_counter() - begin)
    return min(spent)


def batch_of(rows: int, shape: tuple[int, ...], dtype: str) -> Batch:
    rng = np.random.default_rng(0)
    inputs: Array = rng.integers(0, 256, (rows, *shape)).astype(dtype)
    return Batch(inputs, rng.integers(0, 10, rows))


def main() -> None:
    for name, (rows, shape, dtype) in BATCHES.items():
        batch = batch_of(rows, shape, dtype)
        seconds, megabytes = best(lambda batch=batch: list(with_checksums([batch]))), batch.inputs.nbytes / 1e6  # type: ignore[misc]
        print(
            f"{name:20} {megabytes:8.2f} MB {seconds / megabytes * 1e3:7.3f} ms/MB {seconds / rows * 1e6:8.3f} us/row"
        )


if __name__ == "__main__":
    main()
