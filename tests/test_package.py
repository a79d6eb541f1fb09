"""The wheel and the sdist: built from what a release would hold, installed into an empty environment, used there."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"]),
    data={"test": Arrays(np.eye(4, dtype=np.float32), np.arange(4))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""
BASE_LIMIT = 95_000_000
"""Bytes that a base install may add to an empty environment; NumPy is three quarters of it."""
pytestmark = pytest.mark.wide


def quietly(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without what this process told Python of the code under test."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def installed_or_skip(done: subprocess.CompletedProcess[str]) -> None:
    """Skip where no package index answers; fail for anything else."""
    if re.search(r"No matching distribution found|Temporary failure|Connection|Max retries", done.stderr):
        pytest.skip(f"no package index answers: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def model(folder: Path) -> str:
    """Write a checkpoint that is right in every row; return its path."""
    (folder / "runs").mkdir()
    np.savez(folder / "runs" / "model-7.npz", w=np.eye(4, dtype=np.float32))
    return "runs/model-7.npz"


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it."""
    folder = tmp_path_factory.mktemp("dist")
    installed_or_skip(quietly(sys.executable, "-m", "build", "--outdir", str(folder), str(root), cwd=folder))
    return folder


@pytest.fixture(scope="module")
def empty(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment that holds the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    command = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile", str(wheel))
    installed_or_skip(quietly(*command, cwd=folder))
    return folder


def test_sdist_and_wheel_hold_the_code_and_nothing_made_on_the_way(built: Path, root: Path) -> None:
    source = {str(path.relative_to(root / "src")) for path in (root / "src" / "milepost").rglob("*.py")}
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in source} <= names
    assert {"README.md", "LICENSE", "CHANGELOG.md", "tests/_material.py"} <= names
    made = (".venv", ".git/", "build/", "milepost-store", "__pycache__")
    assert not [name for name in names if name.startswith(made) or "__pycache__" in name]
    (wheel,) = built.glob("*.whl")
    with ZipFile(wheel) as file:
        assert {name for name in file.namelist() if name.endswith(".py")} == source
        assert "milepost/metrics/__init__.pyi" in file.namelist()
        (metadata,) = (name for name in file.namelist() if name.endswith("METADATA"))
        page = file.read(metadata).decode()
    assert "Milepost evaluates the checkpoints" in page
    assert not re.search(r"\]\((?!https?:)", page)  # a relative link leads nowhere on an index


def test_the_base_install_is_light(empty: Path) -> None:
    (site,) = (empty / "lib").glob("python*/site-packages")
    other = ("pip", "setuptools", "wheel")
    files = [
        path for path in site.rglob("*") if path.is_file() and not path.relative_to(site).parts[0].startswith(other)
    ]
    assert sum(path.stat().st_size for path in files) <= BASE_LIMIT


def test_the_base_install_evaluates(empty: Path, tmp_path: Path) -> None:
    milepost = str(empty / "bin" / "milepost")
    (tmp_path / "eval.py").write_text(EVALUATION)
    checkpoint = model(tmp_path)
    for command in (["--help"], ["doctor"], ["inspect", checkpoint]):
        done = quietly(milepost, *command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    done = quietly(milepost, "run", "eval.py", checkpoint, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1.000" in done.stdout
    listed = quietly(milepost, "ls", "--json", cwd=tmp_path)
    assert '"value": 1.0' in listed.stdout or '"value":1.0' in listed.stdout


def test_a_missing_extra_is_named(empty: Path, tmp_path: Path) -> None:
    (tmp_path / "eval.py").write_text("from milepost.models.torch import TorchModel\n")
    checkpoint = model(tmp_path)
    done = quietly(str(empty / "bin" / "milepost"), "run", "eval.py", checkpoint, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'milepost[torch]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_line_with_an_address_makes_every_link_of_the_page_absolute(root: Path, tmp_path: Path) -> None:
    made = shutil.ignore_patterns(".*", "build", "__pycache__", "milepost-store")
    project = Path(shutil.copytree(root, tmp_path / "project", ignore=made))
    settings = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(settings + '\n[project.urls]\nSource = "https://example.org/milepost"\n')
    command = (sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(project))
    installed_or_skip(quietly(*command, cwd=tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith("METADATA"))
        page = file.read(metadata).decode()
    assert "Project-URL: Source, https://example.org/milepost" in page
    links = re.findall(r"\]\(([^)]+)\)", (root / "README.md").read_text())
    for link in links:
        whole = link if link.startswith("http") else f"https://example.org/milepost/blob/HEAD/{link}"
        assert f"]({whole})" in page
    assert len(links) > 5
    assert not re.search(r"\]\((?!https?:)", page)
