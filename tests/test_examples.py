"""The examples of trainers as people have them: each is run as it says, and its numbers are judged from outside."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests._material import ENVIRONMENT, MILEPOST, import_path

pytestmark = pytest.mark.wide
OWN = 20
"""Lines that a user writes for Milepost, at most."""
MOST = 5000
"""Steps after which the trainer would end by itself."""


def copied(root: Path, name: str, folder: Path) -> Path:
    """Copy an example, so that what it writes lies elsewhere."""
    return Path(shutil.copytree(root / "examples" / name, folder / name))


def done(command: list[str], folder: Path) -> str:
    """Run a command to its end; return what it printed."""
    environment = ENVIRONMENT | {"PYTHONPATH": import_path()}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def milepost(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a verb with `--json`; return its records."""
    return [json.loads(line) for line in done([*MILEPOST, *arguments, "--json"], folder).splitlines()]


def headline(records: list[dict[str, Any]], metric: str = "top1") -> dict[tuple[int, str], float]:
    """Return the exact value by step and variant."""
    chosen = [record for record in records if record.get("metric") == metric and record["estimator"] == "exact"]
    return {(item["checkpoint"]["step"], item["checkpoint"]["variant"]): item["value"] for item in chosen}


@pytest.mark.parametrize("name", ["torchvision_ema", "hf_trainer"])
def test_it_takes_few_lines_of_the_users_own(root: Path, name: str) -> None:
    folder = root / "examples" / name
    lines = [line for line in (folder / "eval.py").read_text().splitlines() if line.strip()]
    marked = re.findall(r"#:$", (folder / "train.py").read_text(), re.MULTILINE)
    assert len(lines) + len(marked) < OWN


def test_a_torchvision_style_trainer_with_averages(root: Path, tmp_path: Path) -> None:
    folder = copied(root, "torchvision_ema", tmp_path)
    done([sys.executable, "train.py", "3"], folder)
    milepost(folder, "run", "eval.py", "runs/digits")
    judge = """
import json, torch
from torch.optim.swa_utils import AveragedModel
from train import make_data, make_model
images, labels = make_data(train=False).tensors
found = {}
for epoch in range(3):
    saved = torch.load(f"runs/digits/model_{epoch}.pth")
    raw, ema = make_model(), AveragedModel(make_model(), use_buffers=True)
    raw.load_state_dict(saved["model"])
    ema.load_state_dict(saved["model_ema"])
    for name, model in (("raw", raw), ("ema", ema)):
        found[f"{epoch} {name}"] = int((model.eval()(images).argmax(1) == labels).sum())
print(json.dumps(found))
"""
    right = json.loads(done([sys.executable, "-c", judge], folder))
    values = headline(milepost(folder, "ls"))
    assert {f"{step} {variant}": round(value * 360) for (step, variant), value in values.items()} == right
    assert len(right) == 6


def test_a_hugging_face_trainer_stops_early_and_keeps_the_best(root: Path, tmp_path: Path) -> None:
    """The watch sees what training writes; training asks what it found; then all that is clearly worse is deleted."""
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    folder = copied(root, "hf_trainer", tmp_path)
    command = [*MILEPOST, "watch", "eval.py", "runs/bert", "--until", "done", "--poll", "0.2s"]
    environment = ENVIRONMENT | {"PYTHONPATH": import_path()}
    with (folder / "watch.log").open("w") as log:
        watch = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            printed = done([sys.executable, "train.py", str(MOST)], folder)
            assert watch.wait(120) == 0, (folder / "watch.log").read_text()  # train.py's DONE ends it
        finally:
            watch.kill()
    stopped = int(printed.split("stopped at step ")[1])
    assert stopped < MOST  # only the callback ends it early
    values = headline(milepost(folder, "ls"))  # of the watch alone: it ended with nothing left to do
    assert sorted(step for step, _ in values) == list(range(25, stopped + 1, 25))
    best, variant = max(values, key=lambda key: values[key])
    listed = milepost(folder, "gc", "runs/bert", "--metric", "top1", "--keep-best", "1", "--keep-last", "1")
    assert len(list((folder / "runs" / "bert").glob("checkpoint-*"))) == len(values), listed
    done([*MILEPOST, "gc", "runs/bert", "--metric", "top1", "--keep-best", "1", "--keep-last", "1", "--delete"], folder)
    kept = {int(path.name.partition("-")[2]) for path in (folder / "runs" / "bert").glob("checkpoint-*")}
    assert best in kept or values[best, variant] in {values[step, variant] for step in kept}
    assert 25 not in kept  # it guessed, and is clearly worse: its whole folder is gone
    assert len(kept) < len(values)
