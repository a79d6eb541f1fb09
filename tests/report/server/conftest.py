"""A store with two runs, and names that would do harm on a careless page."""

from pathlib import Path

import numpy as np
import pytest
from tests._material import CLASSES, checkpoints, evaluation_of, examples, go

from milepost.data.arrays import Arrays
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.confusion import Confusion
from milepost.metrics.top_k import TopK

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    inputs, labels = examples(300)
    names = [f"<script>{number}" for number in range(CLASSES)]
    data = {
        "test": Arrays(inputs, labels, class_names=names, slices={"site": np.array([HOSTILE, "b"])[np.arange(300) % 2]})
    }
    evaluation = evaluation_of(data=data, metrics=[TopK(1), CalibrationError(), Confusion()], batch_size=64)
    for run in ("lenet", HOSTILE.replace("/", "")):
        runs = checkpoints(folder / run, 100, 300, 900)
        (runs / f"step-500 {HOSTILE}.pt").write_bytes(bytes(range(256)) * 8)
        go(evaluation, runs, store=folder / "evals")
    return folder / "evals"
