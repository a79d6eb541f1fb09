"""Whatever decides what an evaluation computes is in its code version: changed, it is another one, and named."""

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, checkpoints, go, process

from milepost.core.types import Job
from milepost.evaluation.code_version import code_version
from milepost.evaluation.loader import load
from milepost.evaluation.origin import is_foreign
from milepost.evaluation.recorder import RECORDER
from milepost.store.code_versions import changed
from milepost.store.store import Store

HEAD = """
import json, os, sys
from pathlib import Path
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification
here = Path(__file__).parent
"""
TAIL = """
def predict(weights, x):
    return (x - M) @ weights["w"] + weights["b"]

rng = np.random.default_rng(0)
x, y = rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 10, 300)
evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(x, y)},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Begin as a new process does, and leave no module behind."""
    modules, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield
    forget(modules)
    sys.path[:] = path


def forget(modules: set[str]) -> None:
    """Drop the user's modules and what they read."""
    for name in set(sys.modules) - modules:
        if not is_foreign(getattr(sys.modules[name], "__file__", None) or os.__file__):
            del sys.modules[name]
    RECORDER._by_line.clear()
    RECORDER._written.clear()


def described(file: Path) -> dict[str, Any]:
    """Load an evaluation file as a new process does, and describe its code."""
    modules, path = set(sys.modules), list(sys.path)
    forget(modules)
    try:
        evaluation = load(Job(str(file), "evaluation"))
        with RECORDER.attributed(str(file)):
            evaluation.model.variables()
        return code_version(evaluation)
    finally:
        forget(modules)
        sys.path[:] = path
        sys.path_importer_cache.clear()


def text(folder: Path, name: str, content: str) -> int:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return (folder / name).write_text(content)


def zipped(folder: Path, value: float) -> None:
    with zipfile.ZipFile(folder / "lib.zip", "w") as archive:
        archive.writestr("zipped_consts.py", f"M = {value}\n")


def table(folder: Path, value: float) -> None:
    (folder / "m.db").unlink(missing_ok=True)
    with sqlite3.connect(folder / "m.db") as connection:
        connection.execute("create table t (m real)")
        connection.execute("insert into t values (?)", [value])
    connection.close()


@dataclass(frozen=True)
class Kind:
    """One way in which a constant M comes from elsewhere."""

    code: str
    write: Callable[[Path, float], object]
    named: str


FILES = {
    "json, read_text": Kind(
        'M = json.loads((here / "norm.json").read_text())["mean"]',
        lambda d, v: text(d, "norm.json", json.dumps({"mean": v})),
        "norm.json",
    ),
    "json.load, relative to the working folder": Kind(
        'M = json.load(open("norm.json"))["mean"]',
        lambda d, v: text(d, "norm.json", json.dumps({"mean": v})),
        "norm.json",
    ),
    "toml": Kind(
        'import tomllib\nM = tomllib.loads((here / "c.toml").read_text())["mean"]',
        lambda d, v: text(d, "c.toml", f"mean = {v}\n"),
        "c.toml",
    ),
    "ini": Kind(
        'import configparser\nc = configparser.ConfigParser()\nc.read(here / "c.ini")\nM = float(c["a"]["m"])',
        lambda d, v: text(d, "c.ini", f"[a]\nm = {v}\n"),
        "c.ini",
    ),
    "csv": Kind(
        'import csv\nM = float(next(csv.reader((here / "m.csv").open()))[0])',
        lambda d, v: text(d, "m.csv", f"{v}\n"),
        "m.csv",
    ),
    "numpy.load": Kind('M = np.load(here / "m.npy")', lambda d, v: np.save(d / "m.npy", np.float64(v)), "m.npy"),
    "numpy.load, mapped": Kind(
        'M = np.load(here / "m.npy", mmap_mode="r")[0]', lambda d, v: np.save(d / "m.npy", np.array([v])), "m.npy"
    ),
    "numpy.fromfile": Kind(
        'M = np.fromfile(here / "m.bin")[0]', lambda d, v: np.array([v]).tofile(d / "m.bin"), "m.bin"
    ),
    "numpy.loadtxt": Kind('M = np.loadtxt(here / "m.txt")', lambda d, v: text(d, "m.txt", f"{v}\n"), "m.txt"),
    "pickle": Kind(
        'import pickle\nM = pickle.loads((here / "m.pkl").read_bytes())',
        lambda d, v: (d / "m.pkl").write_bytes(pickle.dumps(v)),
        "m.pkl",
    ),
    "sqlite": Kind(
        'import sqlite3\nM = sqlite3.connect(here / "m.db").execute("select m from t").fetchone()[0]', table, "m.db"
    ),
    "os.open": Kind(
        'fd = os.open(here / "m.txt", os.O_RDONLY)\nM = float(os.read(fd, 99))\nos.close(fd)',
        lambda d, v: text(d, "m.txt", f"{v}\n"),
        "m.txt",
    ),
    "gzip": Kind(
        'import gzip\nM = float(gzip.open(here / "m.gz").read())',
        lambda d, v: (d / "m.gz").write_bytes(__import__("gzip").compress(f"{v}".encode())),
        "m.gz",
    ),
    "exec of a file": Kind(
        'exec(open(here / "conf.py").read())', lambda d, v: text(d, "conf.py", f"M = {v}\n"), "conf.py"
    ),
    "runpy": Kind(
        'import runpy\nM = runpy.run_path(str(here / "conf.py"))["M"]',
        lambda d, v: text(d, "conf.py", f"M = {v}\n"),
        "conf.py",
    ),
    "a module": Kind("from consts_s import M", lambda d, v: text(d, "consts_s.py", f"M = {v}\n"), "consts_s.py"),
    "a module by a computed name": Kind(
        'import importlib\nM = importlib.import_module("con" + "sts_s").M',
        lambda d, v: text(d, "consts_s.py", f"M = {v}\n"),
        "consts_s.py",
    ),
    "a module by __import__": Kind(
        'M = __import__("con" + "sts_s").M', lambda d, v: text(d, "consts_s.py", f"M = {v}\n"), "consts_s.py"
    ),
    "a module by its file": Kind(
        "import importlib.util\n"
        'spec = importlib.util.spec_from_file_location("any_s", here / "sub" / "consts_s.py")\n'
        "module = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(module)\nM = module.M",
        lambda d, v: text(d, "sub/consts_s.py", f"M = {v}\n"),
        "sub/consts_s.py",
    ),
    "a module on a changed sys.path": Kind(
        'sys.path.insert(0, str(here / "lib"))\nM = __import__("consts" + "_s").M',
        lambda d, v: text(d, "lib/consts_s.py", f"M = {v}\n"),
        "lib/consts_s.py",
    ),
    "a namespace package": Kind(
        "from space_s.inner import M", lambda d, v: text(d, "space_s/inner.py", f"M = {v}\n"), "space_s/inner.py"
    ),
    "a module that a module imports by a computed name": Kind(
        "from outer_s import M",
        lambda d, v: (
            text(d, "outer_s.py", 'M = __import__("con" + "sts_s").M\n'),
            text(d, "consts_s.py", f"M = {v}\n"),
        ),
        "consts_s.py",
    ),
    "a file that a module reads": Kind(
        "from reads_s import M",
        lambda d, v: (
            text(d, "reads_s.py", 'from pathlib import Path\nM = float((Path(__file__).parent / "m").read_text())\n'),
            text(d, "m", f"{v}"),
        ),
        "m",
    ),
    "a module in a zip": Kind(
        'sys.path.insert(0, str(here / "lib.zip"))\nfrom zipped_consts import M', zipped, "lib.zip"
    ),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that users leave open
@pytest.mark.parametrize("kind", FILES.values(), ids=FILES.keys())
def test_what_is_read_or_imported_counts(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "ev_s.py"
    file.write_text(HEAD + kind.code + TAIL)
    kind.write(tmp_path, 0.25)
    first = described(file)
    assert described(file) == first
    kind.write(tmp_path, 0.75)
    second = described(file)
    assert second["version"] != first["version"]
    assert changed(first, second) == [kind.named]


def test_a_script_that_replaced_open_by_its_own_is_recorded_and_ends(tmp_path: Path) -> None:
    (tmp_path / "mean.txt").write_text("0.5")
    (tmp_path / "ev_s.py").write_text(
        HEAD
        + "import io\nreal = io.open\n\ndef mine(*words, **more):\n    return real(*words, **more)\n\nio.open = mine\n"
        + 'M = float((here / "mean.txt").read_text())'
        + TAIL
    )
    checkpoints(tmp_path / "runs", 100)
    done = process("run", "ev_s.py", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


VARIABLES = {
    "os.environ.get": 'M = float(os.environ.get("MEAN_OF_S", "0"))',
    "os.environ[]": 'M = float(os.environ["MEAN_OF_S"]) if "MEAN_OF_S" in os.environ else 0.0',
    "os.getenv": 'M = float(os.getenv("MEAN_OF_S", "0"))',
    "in": 'M = 0.7 if "MEAN_OF_S" in os.environ else 0.0',
    "os.environb": 'M = float(os.environb.get(b"MEAN_OF_S", b"0"))',
    "from os import environ": 'from os import environ\nM = float(environ.get("MEAN_OF_S", "0"))',
    "a copy": 'M = float(dict(os.environ).get("MEAN_OF_S", "0"))',
    "setdefault": 'M = float(os.environ.setdefault("MEAN_OF_S", "0"))',
    "os.path.expandvars": 'M = len(os.path.expandvars("$MEAN_OF_S")) / 10',
    "pop": 'M = float(os.environ.pop("MEAN_OF_S", "0"))',
}


@pytest.mark.parametrize("code", VARIABLES.values(), ids=VARIABLES.keys())
def test_environment_variables_count(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ev_s.py"
    file.write_text(HEAD + code + TAIL)
    versions = []
    for value in (None, "0.5", "0.75"):
        monkeypatch.delenv("MEAN_OF_S", raising=False)
        if value is not None:
            monkeypatch.setenv("MEAN_OF_S", value)
        versions.append(described(file))
    assert len({item["version"] for item in versions}) == 3
    assert changed(versions[1], versions[2]) == ["the environment variable MEAN_OF_S"]
    assert "0.75" not in json.dumps(versions[2])  # some are secrets


def test_placement_is_recorded_and_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ev_s.py"
    file.write_text(HEAD + 'M = 0.0\nos.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SLURM_JOB_ID")' + TAIL)
    found = []
    for value in ("0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        monkeypatch.setenv("SLURM_JOB_ID", value)
        found.append(described(file))
    assert found[0]["version"] == found[1]["version"]
    assert found[1]["placement"] == {"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_ID": "1"}


COMPUTED = {
    "import_module": 'importlib.import_module("version" + "ed_s")',
    "__import__": '__import__("version" + "ed_s")',
    "import_module, inside of it": 'importlib.import_module("version" + "ed_s.inner")',
    "a package's function": 'caller_s.load("version" + "ed_s")',
}


@pytest.mark.parametrize("code", COMPUTED.values(), ids=COMPUTED.keys())
def test_a_package_that_is_imported_by_a_computed_name_counts_by_its_version(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "site-packages"
    for name, files in {
        "versioned_s": {"__init__.py": "", "inner.py": "M = 0.5\n"},
        "caller_s": {"__init__.py": "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"},
        "idle_s": {"__init__.py": ""},
    }.items():
        for inner, content in files.items():
            text(site, f"{name}/{inner}", content)
        text(site, f"{name}-1.5.dist-info/METADATA", f"Name: {name}\nVersion: 1.5\n")
        text(site, f"{name}-1.5.dist-info/RECORD", "".join(f"{name}/{inner},,\n" for inner in files))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(site))
    file = tmp_path / "ev_s.py"
    file.write_text(HEAD + f"import importlib, caller_s\n{code}\nM = 0.5\n" + TAIL)
    try:
        found = described(file)["distributions"]
    finally:
        for name in ("versioned_s", "versioned_s.inner", "caller_s"):
            sys.modules.pop(name, None)
    assert found["versioned_s"] == "1.5"
    assert found["caller_s"] == "1.5"
    assert "idle_s" not in found


# ------------------------------------------------------------------------------------------------------------ processes

SCRIPT = """
import argparse
import fake_ops
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification
import os
from pathlib import Path
here = Path(__file__).parent
os.environ.setdefault("BACKEND_OF_S", "a")
os.environ.get("SHIFT_OF_S")
M = __import__("consts" + "_s").M
"""
RUN = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    open("only_here.txt").close()
    os.environ.get("ONLY_HERE")
    evaluation.run("lenet", store="evals", engine=parser.parse_args().engine)
"""


def test_every_way_to_run_it_gives_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints(tmp_path / "lenet", 100, 200)
    text(tmp_path, "only_here.txt", "")
    text(tmp_path, "norm.json", "0.5")
    text(tmp_path, "consts_s.py", "import json\nM = json.load(open('norm.json'))\n")
    # As torch does: a module whose file is none.
    text(tmp_path, "fake_ops.py", "import sys, types\nsys.modules['ops_s'] = m = types.ModuleType('ops_s')\n")
    with (tmp_path / "fake_ops.py").open("a") as lines:
        lines.write("m.__file__ = '_ops.py'\n")
    file = tmp_path / "ev_s.py"
    file.write_text(SCRIPT + TAIL + RUN)
    environment = {**ENVIRONMENT, "ONLY_HERE": "1", "SHIFT_OF_S": "2"}
    for engine in ("inprocess", "local"):
        run = [sys.executable, "ev_s.py", engine]
        subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True)
    monkeypatch.setenv("SHIFT_OF_S", "2")
    monkeypatch.setenv("ONLY_HERE", "2")
    for workers in (1, 2):
        events = go(file, tmp_path / "lenet", store=tmp_path / "evals", workers=workers)
        assert events.done == (0, 2, 0)
    codes = Store.open(tmp_path / "evals").codes.all()
    assert [sorted(code["files"]) for code in codes] == [["consts_s.py", "ev_s.py", "fake_ops.py"]]
    assert list(codes[0]["read"]) == ["norm.json"]
    assert list(codes[0]["variables"]) == ["BACKEND_OF_S", "SHIFT_OF_S"]
    monkeypatch.setenv("SHIFT_OF_S", "3")
    again = go(file, tmp_path / "lenet", store=tmp_path / "evals")
    assert "the environment variable SHIFT_OF_S" in again.notes


def test_what_a_script_reads_above_its_import_of_milepost_counts_too(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    text(tmp_path, "norm.json", "0.5")
    early = "import json\nM = json.load(open('norm.json'))\n"
    file = tmp_path / "ev_s.py"
    file.write_text(early + HEAD + TAIL + "if __name__ == '__main__':\n    evaluation.run('lenet', store='evals')\n")
    subprocess.run([sys.executable, "ev_s.py"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    assert go(file, tmp_path / "lenet", store=tmp_path / "evals").done == (0, 1, 0)
    (code,) = Store.open(tmp_path / "evals").codes.all()
    assert list(code["read"]) == ["norm.json"]
    file.write_text(early + HEAD + TAIL + "evaluation.run('lenet', store='evals')\n")
    ended = subprocess.run(
        [sys.executable, "ev_s.py"], cwd=tmp_path, env=ENVIRONMENT, check=False, capture_output=True, text=True
    )
    assert "ev_s.py, line 2, may read files" in ended.stderr
    assert "put `from milepost import Evaluation` above it" in ended.stderr
    file.write_text("from milepost import Evaluation\n" + file.read_text())  # what it says to do
    subprocess.run([sys.executable, "ev_s.py"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
