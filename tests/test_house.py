"""The house: what importing costs, what is public, what no file may say."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import milepost

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "torch", "tensorflow", "tf_slim", "keras", "jax", "flax", "orbax", "onnx", "onnxruntime", "h5py", "numba", "ray",
    "matplotlib", "pandas", "pyarrow", "PIL", "sklearn", "scipy", "torchmetrics", "safetensors",
}  # fmt: skip
FOLDERS = ("src", "tests", "scripts", "docs", "examples", "benchmarks", "changelog.d", ".ci")
# Put together here, so that this file does not name them itself.
HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org", "download.pytorch" + ".org"]
PLACES = re.compile(
    "|".join([*map(re.escape, HOSTS), r"(?<![\w.$~})-])/wo" + r"rk\b", r"/opt/(?:py" + "pi|wh" + "eels)"])
)


def modules() -> list[str]:
    """Name every module of the package, without importing any but the packages."""
    return sorted(item.name for item in pkgutil.walk_packages(milepost.__path__, "milepost."))


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = (
        f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text file of the project: its path and its text."""
    tops = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".git")]
    inner = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    for path in sorted({*tops, *inner}):
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data[:4096]:
                yield path.relative_to(ROOT).as_posix(), data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "statement",
    [
        "import milepost",
        "import milepost.core.types, milepost.errors, milepost.registry",
        "import milepost.metrics, milepost.tasks, milepost.data, milepost.models, milepost.checkpoints",
        "from milepost.metrics import TopK",
        "from milepost.cli import build_parser; build_parser().format_help()",
    ],
)
def test_a_light_import_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_after(statement) & HEAVY


def test_the_command_prints_its_help_without_anything_heavy() -> None:
    statement = (
        "from milepost.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert not loaded_after(statement) & HEAVY


def test_the_light_import_test_can_fail() -> None:
    assert loaded_after("import sklearn") & HEAVY >= {"sklearn", "scipy"}


def test_importing_the_package_loads_no_room() -> None:
    code = "import milepost, sys; print(*(name for name in sys.modules if name.startswith('milepost')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["milepost", "milepost._internal", "milepost._internal.lazy"]


@pytest.mark.parametrize("name", modules())
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__, f"{name} does not say what it is for"


def test_the_public_list_is_true() -> None:
    assert milepost.__all__ == sorted(vars(milepost)["_ADDRESSES"])
    for name in milepost.__all__:
        assert getattr(milepost, name).__name__ == name
    assert set(milepost.__all__) <= set(dir(milepost))


@pytest.mark.parametrize("room", ["data", "metrics", "tasks"])
def test_a_lazy_room_hands_on_what_its_files_hold(room: str) -> None:
    package = importlib.import_module(f"milepost.{room}")
    assert package.__all__, f"milepost.{room} hands nothing on"
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith(f"milepost.{room}.")


def test_the_changelog_begins_with_the_installed_version() -> None:
    newest = re.search(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version("milepost")


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    found = [f"{path}: {match[0]}" for path, text in texts() for match in PLACES.finditer(text)]
    assert not found


@pytest.mark.parametrize("text", ["cd /wo" + "rk/main", "https://py" + "pi.org/simple"])
def test_the_search_for_places_can_fail(text: str) -> None:
    assert PLACES.search(text)


def test_contributing_is_under_a_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60
