"""Fakes for the two roles, reachable from this process and from those that it starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests._material import import_path

from milepost.core.types import CheckpointFiles, Identity, Job, Target, Unit

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put the fakes on the path, and spools into a folder of the test's own."""
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("PYTHONPATH", import_path(FAKES))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    # The kernel's count is the whole machine's: what a neighbour's memory comes to is not what is tested.
    monkeypatch.setattr("milepost.engines._process.child._oom_kills", lambda: 0)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Return the folder in which spools are made."""
    return tmp_path / "temporary"


@pytest.fixture
def job() -> Callable[..., Job]:
    """Return what makes a job of the fakes."""

    def make(attribute: str = "evaluation", file: str | None = "eval.py", live: object = None, **options: Any) -> Job:
        fakes = {"evaluator": "fake_evaluator:open_evaluator", "reader": "fake_reader:Reader"}
        return Job(file, attribute, {**fakes, **options}, live)

    return make


@pytest.fixture
def found() -> Callable[[str], CheckpointFiles]:
    """Return what makes a checkpoint that only the fakes can see."""

    def make(path: str) -> CheckpointFiles:
        return CheckpointFiles(path, "fake", (path,), Identity(1, 2, 3, 4, 5))

    return make


@pytest.fixture
def unit(found: Callable[[str], CheckpointFiles]) -> Callable[..., Unit]:
    """Return what makes a unit whose `data` tells the fake evaluator what to do."""

    def make(data: str = "quiet", stop: int = 600, paths: tuple[str, ...] = ("a", "b"), start: int = 0) -> Unit:
        return Unit(start, stop, tuple(Target(found(path), "raw", "d" * 32) for path in paths), data)

    return make
