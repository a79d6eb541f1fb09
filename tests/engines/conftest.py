"""Fakes for the two roles, reachable from this process and from those that it starts."""

import os
from pathlib import Path

import pytest

from milepost.core import Found, Identity, Job, Target, Unit

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(autouse=True)
def fakes(monkeypatch, tmp_path):
    """Put the fakes on the path, and spools into a folder of the test's own."""
    monkeypatch.syspath_prepend(str(FAKES))
    paths = [str(FAKES), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))


@pytest.fixture
def temporary(tmp_path):
    """Return the folder in which spools are made."""
    return tmp_path / "temporary"


@pytest.fixture
def job():
    """Return what makes a job of the fakes."""

    def make(attribute="evaluation", file="eval.py", live=None, **options):
        fakes = {"evaluator": "fake_evaluator:open_evaluator", "reader": "fake_reader:Reader"}
        return Job(file, attribute, {**fakes, **options}, live)

    return make


@pytest.fixture
def found():
    """Return what makes a checkpoint that only the fakes can see."""

    def make(path):
        return Found(path, "fake", (path,), Identity(1, 2, 3, 4, 5))

    return make


@pytest.fixture
def unit(found):
    """Return what makes a unit whose `data` tells the fake evaluator what to do."""

    def make(data="quiet", stop=600, paths=("a", "b"), start=0):
        return Unit(start, stop, tuple(Target(found(path), "raw", "d" * 32) for path in paths), data)

    return make
