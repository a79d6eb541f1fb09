"""The examples for TensorFlow and Keras: each is run as it says, and its numbers are judged from outside."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, MILEPOST, import_path

OWN = 20
"""Lines that a user writes for Milepost, at most."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def done(command: list[str], folder: Path) -> str:
    """Run a command to its end; return what it printed."""
    variables = ENVIRONMENT | QUIET | {"PYTHONPATH": import_path()}
    ran = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def own_lines(*files: Path) -> int:
    """Count the lines of code, without the docstring at the top."""
    texts = [re.sub(r'\A""".*?"""\n', "", file.read_text(encoding="utf-8"), flags=re.DOTALL) for file in files]
    return sum(1 for text in texts for line in text.splitlines() if line.strip())


def test_they_take_few_lines_of_the_users_own(root: Path) -> None:
    assert own_lines(root / "examples" / "slim" / "functions.py") < OWN
    assert own_lines(root / "examples" / "keras_fit" / "eval.py") < OWN


@pytest.mark.wide
def test_the_usual_functions_give_mean_and_streaming_accuracy(root: Path, shared_data: Path, tmp_path: Path) -> None:
    """The numbers are those of TensorFlow 1's recipe: 299 and 347 of 360 right, and its means of batches of 100."""
    shutil.copytree(root / "examples" / "slim", tmp_path / "slim")
    printed = done(
        [sys.executable, "functions.py", str(shared_data / "checkpoints" / "digits_slim")], tmp_path / "slim"
    )
    rows = {tuple(line.split()[:2]): tuple(map(float, line.split()[2:])) for line in printed.splitlines()[1:]}
    assert {step for step, _ in rows} == {"0", "40", "80", "120", "160", "200"}
    assert rows["40", "top1"] == (0.825833, round(299 / 360, 6))
    assert rows["200", "top1"] == (0.964167, round(347 / 360, 6))
    assert rows["40", "top5"][1] == round(357 / 360, 6)
    assert rows["200", "top5"][1] == 1.0


JUDGE = """
import json, keras
from train import make_data, make_model
model, found = make_model(), {}
for epoch in (1, 2, 3):
    model.load_weights(f"runs/digits/epoch-{epoch:02d}.weights.h5")
    pairs = [(model.predict_on_batch(x).argmax(1), y.numpy().argmax(1)) for x, y in make_data(train=False)]
    found[23 * epoch] = sum(int((guess == label).sum()) for guess, label in pairs)
print(json.dumps(found))
"""


@pytest.mark.wide
def test_a_keras_fit_with_one_hot_labels(root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(root / "examples" / "keras_fit", tmp_path / "keras_fit"))
    done([sys.executable, "train.py", "3"], folder)
    done([*MILEPOST, "run", "eval.py", "runs/digits"], folder)
    # A file tells its step: 23 batches an epoch.
    records = [json.loads(line) for line in done([*MILEPOST, "ls", "--json"], folder).splitlines()]
    exact = [one for one in records if one.get("metric") == "top1" and one["estimator"] == "exact"]
    right = {str(one["checkpoint"]["step"]): round(one["value"] * 360) for one in exact}
    assert right == json.loads(done([sys.executable, "-c", JUDGE], folder))
    assert max(right.values()) > 300
