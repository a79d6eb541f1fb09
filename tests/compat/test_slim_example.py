"""The recipe with two import lines changed, beside native Milepost, on the digits series."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests._material import import_path

from milepost.evaluation.origin import is_foreign

RIGHT = (299, 347)
BOTH = """
import sys, side_by_side, digits
assert side_by_side.main(sys.argv[1]) == 0
digits.trained(sys.argv[2])
"""


@pytest.mark.wide
def test_the_recipe_and_milepost_agree_for_every_batch_size(root: Path, shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for step in (40, 200):  # the recipe builds a new graph for every number
        for file in (shared_data / "checkpoints" / "digits_slim").glob(f"model.ckpt-{step}.*"):
            shutil.copy(file, folder)
    script = tmp_path / "both.py"  # an evaluation's code has a file
    script.write_text(BOTH)
    command = [sys.executable, str(script), str(folder), str(tmp_path)]
    # TensorFlow's own layers warn of one another; Python's flag would make that an error.
    variables = {**os.environ, "PYTHONPATH": import_path(root / "examples" / "slim"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        line.split()
        for line in done.stdout.splitlines()
        if "Milepost " in line and "." in line and "recipe" not in line
    ]
    assert [int(row[-2]) for row in rows] == list(RIGHT)
    lines = done.stdout.splitlines()
    (at40,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["40", "recipe"])
    for line in lines[at40 : at40 + 2]:
        numbers = re.findall(r"0\.\d{6}", line)
        assert numbers == ["0.830556", "0.823958", "0.825833", "0.915042", "0.830556", "0.991667"]
    assert "0.981894" in done.stdout
    assert "+0.084486, at step 40 in batches of 359" in done.stdout
    assert len(list(tmp_path.glob("model.ckpt-*.index"))) == 6


def test_packages_are_nobodys_code_wherever_they_lie(tmp_path: Path) -> None:
    assert is_foreign("/usr/lib/python3/dist-packages/tensorflow/__init__.py")
    assert is_foreign(str(tmp_path / "other" / "lib" / "python3.11" / "site-packages" / "a.py"))
    assert not is_foreign(str(tmp_path / "eval.py"))
