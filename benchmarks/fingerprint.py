"""How fast is data identified, and does the seeded order cost a pass anything?

The fingerprint is of arrays in memory.  The passes go over 1 KiB rows with a consumer that
works about as long as a model of 5 ms a batch, and take batches from the thread that reads ahead, as `run` does.
"""

import hashlib
import statistics
from collections.abc import Callable

import google_crc32c
import numpy as np
from _figures import Figure, in_turn, main, plain_figure, ratio

from milepost._internal.threads import ahead
from milepost.data import Arrays

ROWS, ROUNDS, BATCH = 1 << 17, 5, 256


def passing(source: Arrays, work: Callable[[], object]) -> Callable[[], None]:
    def one() -> None:
        for _ in ahead(source.batches(0, ROWS, BATCH)):
            work()

    return one


def measure() -> list[Figure]:
    inputs = np.random.default_rng(0).integers(0, 255, (ROWS, 1024), np.uint8)
    labels = np.zeros(ROWS, np.int64)
    size = inputs.nbytes / 1e9
    ours, crc, sha = in_turn(
        [
            lambda: Arrays(inputs, labels).fingerprint(),
            lambda: google_crc32c.value(inputs.reshape(-1)),  # type: ignore[arg-type]
            lambda: hashlib.sha256(inputs).digest(),
        ],
        ROUNDS,
    )
    square = np.ones((384, 384), np.float32)
    seeded, natural, bare, idle = in_turn(
        [
            passing(Arrays(inputs, labels), lambda: square @ square),
            passing(Arrays(inputs, labels, order="natural"), lambda: square @ square),
            lambda: [square @ square for _ in range(ROWS // BATCH)],
            passing(Arrays(inputs, labels), lambda: None),
        ],
        ROUNDS,
    )
    return [
        plain_figure("fingerprint of the data", size / statistics.median(ours), "GB/s", 1),
        plain_figure("CRC-32C alone", size / statistics.median(crc), "GB/s", 1),
        plain_figure("SHA-256 alone", size / statistics.median(sha), "GB/s", 1),
        plain_figure("fingerprint's time beside CRC-32C", ratio(ours, crc), "times"),
        plain_figure("seeded pass beside a natural one, reading ahead of work", ratio(seeded, natural), "times"),
        plain_figure("seeded pass beside the work alone", ratio(seeded, bare), "times"),
        plain_figure("seeded gather with nothing to hide behind", size / statistics.median(idle), "GB/s", 1),
    ]


if __name__ == "__main__":
    main("How fast is data identified and gathered?", measure)
