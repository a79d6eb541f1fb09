"""What does `run` cost beside the bare loop `for x, y in batches: model(x)` of the same module and batches?

The promise is about the loop: the time between the end of one forward pass and the beginning of the next, median over
all batches, beside the median forward pass of the bare loop.  Told as well: all that the whole in-process `run` of one
checkpoint into a fresh store takes outside the forward passes, from the call to the returned results: discovery,
reading and restoring the checkpoint, fingerprint of the data, seeded gather, all outcome columns that five metrics ask
for, model check, parts, seal, exact values and batch means, records, every fsync, reading the store for the
results.  The forward passes are timed inside the module itself (the model check's extra ones are forward passes too).
Memory: growth of the process's own memory (RssAnon, so that mapped data is aside) over a run, at its highest.
"""

import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from _figures import Figure, at_most, in_turn, main, memory_kib, plain_figure, ratio

from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

BATCH, BATCHES, ROUNDS, WIDTH, HIDDEN = 256, 200, 5, 784, 1024
FORWARD = 0.020
MEMORY_ROWS = 1 << 17


class Timed(torch.nn.Module):
    """A perceptron that keeps the time that it spends in `forward`, call by call."""

    def __init__(self, classes: int, depth: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = [WIDTH, *[HIDDEN] * depth]
        layers = [layer for a, b in itertools.pairwise(widths) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        self.body = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], classes))
        self.spent: list[float] = []
        self.gaps: list[float] = []
        self._ended = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        made: torch.Tensor = self.body(x)
        self.gaps.append(began - self._ended)
        self._ended = time.perf_counter()
        self.spent.append(self._ended - began)
        return made


def depth_of(classes: int) -> int:
    """Return the number of hidden layers with which a forward pass takes about 20 ms here, now, and rather more."""
    x = torch.randn(BATCH, WIDTH)

    def cost(depth: int) -> float:
        module = Timed(classes, depth).eval()
        with torch.inference_mode():
            for _ in range(12):
                module(x)
        return statistics.median(module.spent[2:])

    few, many = cost(2), cost(10)
    return max(1, math.ceil(2 + (FORWARD - few) / max((many - few) / 8, 1e-5)))


def evaluation_of(module: torch.nn.Module, inputs: np.ndarray, labels: np.ndarray) -> Evaluation:
    return Evaluation(
        model=TorchModel(lambda: module),
        data={"test": Arrays(inputs, labels)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1), TopK(5), CrossEntropy(), CalibrationError(bins=15), Confusion()],
        batch_size=BATCH,
        version="1",
    )


def loop(classes: int, folder: Path) -> list[Figure]:
    """Compare run and bare loop in turn."""
    depth = depth_of(classes)
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((BATCH * BATCHES, WIDTH), dtype=np.float32)
    labels = rng.integers(0, classes, len(inputs))
    module = Timed(classes, depth).eval()
    (folder / "run").mkdir()
    torch.save(module.state_dict(), folder / "run" / "step-1.pt")
    batches = list(zip(torch.from_numpy(inputs).split(BATCH), torch.from_numpy(labels).split(BATCH), strict=True))
    outside, plain, between = [], [], []

    def bare() -> None:
        module.spent.clear()
        with torch.inference_mode():
            for x, _ in batches:
                module(x)
        plain.append(statistics.median(module.spent))

    def ours() -> None:
        # A fresh object each time, so that the data's fingerprint is counted each time.
        evaluation = evaluation_of(module, inputs, labels)
        module.spent.clear()
        module.gaps.clear()
        began = time.perf_counter()
        evaluation.run(str(folder / "run"), store=str(folder / f"store-{len(outside)}"))
        whole = time.perf_counter() - began
        outside.append(whole - sum(module.spent))
        between.append(statistics.median(module.gaps[4:]))  # behind the three of the model check

    loops, runs = in_turn([bare, ours], ROUNDS)
    outside, plain, between = outside[1:], plain[1:], between[1:]
    share = 100 * ratio(between, plain)
    named = f"{classes:,} classes: "
    return [
        plain_figure(f"{named}forward pass of {BATCH} rows in the bare loop", 1e3 * statistics.median(plain), "ms"),
        plain_figure(f"{named}bare loop, {BATCHES} batches", statistics.median(loops), "s", 3),
        plain_figure(f"{named}run(), all in all", statistics.median(runs), "s", 3),
        plain_figure(
            f"{named}run() beside the bare loop, the model check included",
            100 * ratio(runs, loops) - 100,
            "%",
        ),
        plain_figure(f"{named}from one forward pass to the next", 1e3 * statistics.median(between), "ms", 3),
        at_most(f"{named}the same beside a forward pass", share, 2 if classes == 10 else 6, "%"),
        plain_figure(f"{named}all else of run(), from call to results", 1e3 * statistics.median(outside), "ms", 0),
    ]


def memory() -> list[Figure]:
    """Compare the growth of memory over a run of N rows and of 8 N, each in a process of its own."""
    grown = {}
    for rows in (MEMORY_ROWS, 8 * MEMORY_ROWS):
        command = [sys.executable, __file__, "--memory", str(rows)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown[rows] = json.loads(done.stdout) / 1024
    few, many = grown.values()
    return [
        plain_figure(f"own memory that a run of {rows:,} rows adds at its highest", mib, "MiB", 1)
        for rows, mib in grown.items()
    ] + [at_most("growth of it from N to 8 N rows", many - few, 8, "MiB", 1)]


def grow(rows: int) -> int:
    """Return by how many KiB a run of many rows of mapped data grows this process at its highest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, 16))
        labels = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int64, (rows,))
        rng = np.random.default_rng(0)
        for begin in range(0, rows, 1 << 16):
            inputs[begin : begin + (1 << 16)] = rng.standard_normal((len(inputs[begin : begin + (1 << 16)]), 16))
        labels[:] = np.arange(rows) % 10
        module = torch.nn.Linear(16, 10)
        (folder / "run").mkdir()
        torch.save(module.state_dict(), folder / "run" / "step-1.pt")
        small = evaluation_of(module, inputs[: 4 * BATCH], labels[: 4 * BATCH])
        small.run(str(folder / "run"), store=str(folder / "warm"))
        evaluation = evaluation_of(module, np.load(folder / "x.npy", "r"), np.load(folder / "y.npy", "r"))
        before, highest, stop = memory_kib("RssAnon"), [0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.002):
                highest[0] = max(highest[0], memory_kib("RssAnon"))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        evaluation.run(str(folder / "run"), store=str(folder / "store"))
        stop.set()
        watcher.join()
        return highest[0] - before


def measure() -> list[Figure]:
    figures = [Figure("threads of torch", str(torch.get_num_threads()))]
    for classes in (10, 1000):
        with tempfile.TemporaryDirectory() as folder:
            figures += loop(classes, Path(folder))
    return figures + memory()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(grow(int(sys.argv[2])))
    else:
        main("What does run() cost beside the bare loop?", measure)
