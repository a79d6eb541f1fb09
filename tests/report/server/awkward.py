"""Stores that are hard to show: long and hostile names, failures of every kind, 1,000 classes, one value, none."""

from pathlib import Path

import numpy as np
from tests._material import CLASSES, FEATURES, checkpoints, evaluation_of, examples, go, save, weights_of

from milepost.core.types import Identity
from milepost.data.arrays import Arrays
from milepost.errors import CheckpointError
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

MARKUP = "<img src=x onerror=alert(1)>&amp;"
STEERING = "\x1b[31mred\x1b[0m \u202eturned"
LONG = "a-rather-long-name-" * 10 + "to-200-chars"
ROWS = 600


def awkward(folder: Path) -> Path:
    """Return a store of five runs whose names are long or would do harm, with averages, slices and every failure."""
    inputs, labels = examples(ROWS)
    classes = [f"<script>{number}" if number % 2 else f"class {number} of a {LONG}" for number in range(CLASSES)]
    sites = np.array([MARKUP, "b", LONG, "north, 3rd floor"])[np.arange(ROWS) % 4]
    data = {
        "test": Arrays(inputs, labels, class_names=classes, slices={"site": sites}),
        f"shifted {LONG}": Arrays(inputs * 0.5, labels),
    }
    metrics = [TopK(1), TopK(5), CrossEntropy(), CalibrationError(), Confusion()]
    evaluation = evaluation_of(data=data, metrics=metrics, variants=("raw", "ema"))
    for number, run in enumerate(("lenet", MARKUP.replace("/", ""), STEERING, LONG)):
        runs = folder / run
        runs.mkdir(parents=True)
        for step in (100, 250, 500, 1000):
            averages = {f"ema.{name}": array for name, array in weights_of(step + 50 + number).items()}
            save(runs / f"step-{step}.npz", {**weights_of(step + number), **averages})
        save(runs / f"{LONG}-step-2000.npz", weights_of(2000 + number))
        (runs / f"step-500 {MARKUP.replace('/', '')}.pt").write_bytes(bytes(range(256)) * 8)
        go(evaluation, runs, store=folder / "evals")
    _failures(Store.open(folder / "evals"), folder)
    return folder / "evals"


def _failures(store: Store, folder: Path) -> None:
    """Put on record a failure of every kind, in a run of its own."""
    run = store.run_of(folder / "failing")
    for number, error in enumerate(sorted(CheckpointError.__subclasses__(), key=lambda item: item.kind)):
        message = f"{MARKUP}: expected 'fc.weight' [10, 84], found {LONG}"
        if error.several_lines:
            message += "\nTraceback (most recent call last):\n  File 'eval.py', line 12, in predict\nValueError: no"
        path = str(folder / "failing" / f"step-{number}.pt")
        record = CheckpointRecord(
            run, path, Identity(1, number, 9, 9, 9), f"step-{number}", step=number, failure=(error.kind, message)
        )
        store.add_checkpoint(record)


def thousand_classes(folder: Path) -> Path:
    """Return a store of two checkpoints on 1,000 classes and 20,000 rows, of which most are told apart."""
    count, rows = 1000, 20_000
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(count, FEATURES * 3)).astype(np.float32)
    labels = rng.integers(0, count, rows)
    inputs = (centres[labels] + rng.normal(scale=0.9, size=(rows, FEATURES * 3))).astype(np.float32)
    runs = folder / "many"
    runs.mkdir(parents=True)
    for step, noise in ((1000, 0.6), (2000, 0.3)):
        w = (centres + rng.normal(scale=noise, size=centres.shape)).T.astype(np.float32)
        save(runs / f"step-{step}.npz", {"w": w, "b": -(w**2).sum(axis=0) / 2})
    names = [f"n{number:08} kind {number}" for number in range(count)]
    data = {"test": Arrays(inputs, labels, class_names=names)}
    go(evaluation_of(data=data, metrics=[TopK(1), TopK(5), Confusion()], batch_size=1000), runs, store=folder / "evals")
    return folder / "evals"


def lonely(folder: Path) -> Path:
    """Return a store of one checkpoint and one metric."""
    runs = checkpoints(folder / "lenet", 100)
    go(evaluation_of(metrics=[TopK(1)]), runs, store=folder / "evals")
    return folder / "evals"


def empty(folder: Path) -> Path:
    """Return a store of nothing."""
    return Path(Store.create(folder / "evals").path)
