"""Checkpoints that crash, hang or flood their evaluator: the culprit is a row, and the others are evaluated."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests._material import ENVIRONMENT, Events, command, leftovers, lines_of, save

EVALUATION = """
import ctypes, os, signal, sys
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)


def once():
    \"\"\"Tell whether this is the first time that anybody asks.\"\"\"
    try:
        os.close(os.open(os.environ["TEST_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def segfault():
    ctypes.string_at(0)


def hang():
    ctypes.PyDLL(None).sleep(600)


def flood():
    for _ in range(200):
        os.write(2, b"x" * 100_000)
    os.write(2, b"\\nthe flood ends\\n")
    os._exit(4)


def stop():
    sys.exit("no more")


def killed_once():
    if once():
        os.kill(os.getpid(), signal.SIGKILL)


DEEDS = [None, segfault, hang, flood, stop, killed_once]


def predict(weights, x):
    if int(weights["deed"]) > 0:
        DEEDS[int(weights["deed"])]()
    return x @ weights["w"]


class Model(FunctionModel):
    def load(self, tensors):
        if int(tensors["deed"]) < 0:
            DEEDS[-int(tensors["deed"])]()
        return super().load(tensors)


evaluation = Evaluation(
    model=Model(predict),
    data={"test": Arrays(rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 10, 300))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=64,
)
"""
GOOD, SEGFAULT, HANG, FLOOD, STOP, KILLED_ONCE = range(6)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "ev.py").write_text(EVALUATION)
    (tmp_path / "run").mkdir()
    return tmp_path


def events_of(world: Path, *deeds: int, code: int, words: tuple[object, ...] = ()) -> tuple[Events, str]:
    """Evaluate a checkpoint for each deed: step 1 does the first."""
    for step, deed in enumerate(deeds, 1):
        w = np.random.default_rng(step).normal(size=(8, 10)).astype(np.float32)
        save(world / "run" / f"step-{step}.npz", {"w": w}, deed=np.int64(deed))
    environment = {**ENVIRONMENT, "TEST_MARK": str(world / "mark")}
    asked = ["run", world / "ev.py", world / "run", "--store", world / "store", "--json", *words]
    ended = command(*asked, env=environment)
    assert ended.returncode == code, ended.stderr[-2000:]
    return lines_of(ended.stdout), ended.stderr


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text


def test_a_hang_among_others_is_the_culprits_row_alone(world: Path) -> None:
    events, _ = events_of(world, GOOD, HANG, GOOD, code=3, words=("--timeout", "2s"))
    assert events.done == (2, 0, 1)
    assert list(events.failures) == ["step-2.npz"]
    pattern = r"(?s)^timeout: the evaluator process \d+ gave no sign of life for 2 s .*ev\.py.* in hang"
    assert_matches(pattern, events.failures["step-2.npz"])


def test_crashes_and_floods_among_others(world: Path) -> None:
    events, stderr = events_of(world, SEGFAULT, GOOD, FLOOD, STOP, -SEGFAULT, GOOD, code=3)
    assert events.done == (2, 0, 4)
    message = events.failures
    assert list(message) == [f"step-{step}.npz" for step in (1, 3, 4, 5)]
    assert_matches(
        r"(?s)^crashed: the evaluator .* signal 11 \(SIGSEGV\).*Segmentation fault.* in segfault", message["step-1.npz"]
    )
    assert_matches(
        r"(?s)^crashed: .* exit code 4; the last lines it wrote:\nx{300} \.\.\.\nthe flood ends$", message["step-3.npz"]
    )
    assert_matches(r"^crashed: code of the evaluation called sys.exit\('no more'\)", message["step-4.npz"])
    assert_matches(r"(?s)^crashed: .* in segfault.* in load", message["step-5.npz"])
    assert all(item["attempts"] == 1 for item in events.of("failure"))
    assert "the flood ends" in stderr


def test_a_timeout_that_is_no_time_is_refused(world: Path) -> None:
    ended = command("run", world / "ev.py", world / "run", "--timeout", "soon")
    assert ended.returncode == 2
    assert "expected a time above 0 such as 90s, 10m, 2h or 1d, found 'soon'" in ended.stderr


def test_several_workers_give_the_same_and_one_kill_costs_nothing(world: Path) -> None:
    single = world / "single"
    deeds = [GOOD] * 5
    first, _ = events_of(world, *deeds, code=0, words=("--store", single))
    events, _ = events_of(world, *deeds, KILLED_ONCE, code=0, words=("--workers", "2", "--per-pass", "2"))
    assert first.done == (5, 0, 0)
    assert events.done == (6, 0, 0)
    assert (world / "mark").exists()
    for step in range(1, 6):
        for estimator in ("exact", "batch_mean"):
            assert events.value("top1", estimator, step=step) == first.value("top1", estimator, step=step)
    assert len(events.of("record")) == len(first.of("record")) * 6 // 5
    assert leftovers(world / "store") == []
