"""A run over files that are no files, change while it goes on, or have odd names, sizes, times and links.

Each is a row, the good ones beside them are evaluated, and the command ends.  `tests/checkpoints/test_file_faults.py`
changes files at each operation of a reader.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests._material import CLASSES, FEATURES, Events, checkpoints, command, lines_of, save, weights_of

EVALUATION = f"""
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"] + weights["b"]),
    data={{"test": Arrays(np.random.default_rng(1).normal(size=(40, {FEATURES})), np.arange(40) % {CLASSES})}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""
APPEND = """
import sys
files = [open(path, "ab", buffering=0) for path in sys.argv[1:]]
print("ready", flush=True)
while True:
    for file in files:
        file.write(bytes(4096) if file.tell() < 1 << 26 else b"")
        file.truncate(file.tell() % (1 << 26))
"""
EXCHANGE = """
import os, sys
link, good, foreign = sys.argv[1:]
print("ready", flush=True)
while True:
    for target in (foreign, good):
        os.symlink(target, link + ".new")
        os.replace(link + ".new", link)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "ev.py").write_text(EVALUATION)
    return checkpoints(tmp_path / "runs", 1, 2)


def run(runs: Path, *more: object) -> Events:
    ended = command("run", runs.parent / "ev.py", runs, *more, "--store", runs.parent / "store", "--json")
    assert ended.returncode in {0, 3}, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines_of(ended.stdout)


def rows_of(events: Events) -> tuple[dict[str, str], set[str]]:
    """Return the kinds of failures by name, and the names of what was evaluated."""
    failed = {os.path.basename(event["path"]): event["class"] for event in events if event["event"] == "failure"}
    records = [event for event in events if event["event"] == "record"]
    return failed, {os.path.basename(event["checkpoint"]["path"]) for event in records}


def test_what_is_no_file_or_odd_is_a_row_and_the_others_are_evaluated(runs: Path) -> None:
    outside = runs.parent / "outside"
    outside.mkdir()
    save(outside / "w.npz", weights_of(9))
    os.mkfifo(runs / "step-3.npz")
    for name, target in {"zero.pt": "/dev/zero", "memory.npz": "/proc/self/mem", "maps.pt": "/proc/self/maps"}.items():
        (runs / name).symlink_to(target)
    (runs / "loop.npz").symlink_to("loop.npz")
    (runs / "out.npz").symlink_to(outside / "w.npz")
    (runs / "again.npz").symlink_to("step-1.npz")
    os.link(outside / "w.npz", runs / "hard.npz")
    for name in ("sparse.npz", "sparse.pt", "sparse.safetensors", "sparse.weights.h5"):
        with (runs / name).open("wb") as file:
            file.truncate(1 << 40)
    long = f"{'n' * 250}.npz"
    save(runs / long, weights_of(5))
    os.utime(runs / "step-2.npz", (2**33, 2**33))
    failed, evaluated = rows_of(run(runs))
    kinds = dict.fromkeys(("zero.pt", "memory.npz", "maps.pt", "loop.npz", "step-3.npz"), "corrupt")
    kinds["out.npz"] = "outside"
    sparse = {name: failed.pop(name) for name in list(failed) if name.startswith("sparse")}
    assert failed == kinds
    assert len(sparse) == 4
    assert set(sparse.values()) <= {"corrupt", "torn"}
    assert {"step-1.npz", "step-2.npz", "hard.npz", long} <= evaluated | {"again.npz"}


def test_shards_of_which_one_leads_out_are_not_read(runs: Path, tmp_path: Path) -> None:
    weights = {name: np.ascontiguousarray(array) for name, array in weights_of(3).items()}
    outside = tmp_path / "outside"
    outside.mkdir()
    save_file({"w": weights["w"]}, runs / "model-00001-of-00002.safetensors")
    save_file({"b": weights["b"]}, outside / "shard")
    (runs / "model-00002-of-00002.safetensors").symlink_to(outside / "shard")
    listed = {"w": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    text = str({"metadata": {}, "weight_map": listed}).replace("'", '"')
    (runs / "model.safetensors.index.json").write_text(text)
    failed, evaluated = rows_of(run(runs))
    assert failed["model.safetensors.index.json"] == "outside"
    assert {"step-1.npz", "step-2.npz"} <= evaluated


def writer(script: str, *words: object) -> subprocess.Popen[str]:
    """Start a process that changes files without end, and wait until it does."""
    started = subprocess.Popen([sys.executable, "-c", script, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


@pytest.mark.parametrize("engine", ["local", "inprocess"])
def test_files_that_grow_without_end_end_no_run(engine: str, runs: Path, tmp_path: Path) -> None:
    growing = []
    for name in ("grows.npz", "grows.safetensors", "grows.bin"):
        save(runs / "whole.npz", weights_of(4))
        growing.append((runs / "whole.npz").rename(runs / name))
    with writer(APPEND, *growing) as process:
        try:
            failed, evaluated = rows_of(run(runs, "--engine", engine))
        finally:
            process.kill()
    assert {"step-1.npz", "step-2.npz"} <= evaluated
    assert {path.name for path in growing} <= failed.keys()
    assert {failed[path.name] for path in growing} <= {"torn", "corrupt"}


@pytest.mark.parametrize("engine", ["local", "inprocess"])
def test_a_link_that_is_exchanged_all_the_time_never_leads_out(engine: str, runs: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    save(foreign, weights_of(8))
    digests: dict[str, Any] = {}
    link = runs / "last.npz"
    with writer(EXCHANGE, link, runs / "step-1.npz", foreign) as process:
        try:
            for number in range(2):
                for event in run(runs, "--engine", engine, *(["--again"] if number else [])):
                    if event["event"] == "record":
                        digests.setdefault(os.path.basename(event["checkpoint"]["path"]), set()).add(
                            event["checkpoint"]["digest"]
                        )
        finally:
            process.kill()
    assert len(digests["step-1.npz"]) == 1
    assert digests.get("last.npz", set()) <= digests["step-1.npz"] | digests["step-2.npz"]
