"""An evaluator that the kernel ends for lack of memory: less is tried at once, and the counts are the same."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests._material import ENVIRONMENT, MILEPOST, Events, lines_of, save

LIMIT = 420 << 20
EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)


def predict(weights, x):
    touched = np.ones((len(x), int(weights["appetite"])), np.uint8)  # real memory, which nobody refuses
    return x @ weights["w"] + 0.0 * touched[:, :1]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(rng.normal(size=(600, 8)).astype(np.float32), rng.integers(0, 10, 600))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=256,
)
"""


@pytest.fixture
def cage() -> Iterator[Path]:
    """Make a control group with little memory, of either version; it takes a kernel that lets us."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(root, f"milepost-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(LIMIT))
        except OSError:
            folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("no control group for memory can be made here: it takes root and a cgroup file system")


def events_of(world: Path, cage: Path | None, *appetites: int) -> tuple[Events, str]:
    """Evaluate a checkpoint for each appetite, in bytes a row, within the cage."""
    (world / "ev.py").write_text(EVALUATION)
    run = world / f"run-{bool(cage)}"
    run.mkdir()
    for step, appetite in enumerate(appetites, 1):
        w = np.random.default_rng(step).normal(size=(8, 10)).astype(np.float32)
        save(run / f"step-{step}.npz", {"w": w}, appetite=np.int64(appetite))
    words = ["run", str(world / "ev.py"), str(run), "--store", str(world / f"store-{bool(cage)}"), "--json"]
    enter = f"echo $$ > {cage}/cgroup.procs && " if cage else ""
    ended = subprocess.run(
        ["sh", "-c", f'{enter}exec "$@"', "sh", *MILEPOST, *words],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == (3 if cage else 0), ended.stderr[-2000:]
    return lines_of(ended.stdout), ended.stderr


@pytest.mark.wide
def test_the_kernels_kill_makes_it_one_checkpoint_then_half_the_batch(cage: Path, tmp_path: Path) -> None:
    hungry, hopeless = 2 << 20, 600 << 20
    events, message = events_of(tmp_path, cage, 1, hungry, hopeless, 1)
    assert events.done == (3, 0, 1)
    assert list(events.failures) == ["step-3.npz"]
    assert events.failures["step-3.npz"].startswith("out of memory: not even one row at a time fits: ")
    assert "the kernel ended it for lack of memory: the evaluator process" in events.failures["step-3.npz"]
    assert re.search(
        "memory ran out: from here on at most 1 checkpoint at once, (128|64) rows a batch instead of", message
    )
    free, _ = events_of(tmp_path, None, 1, hungry, 1, 1)
    for step in (1, 2, 4):
        assert events.value("top1", step=step) == free.value("top1", step=step)
