"""The documentation is run: every Python block of README.md and docs, every file of examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from tests._material import import_path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
BOOK = Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=0), SkipParser()], path=str(ROOT), patterns=["*.md"])


def named(path: Path) -> str:
    """Name a page in the list of tests."""
    return path.relative_to(ROOT).as_posix()


def run_blocks(page: Path) -> int:
    """Run a page's Python blocks one after the other in one namespace; return how many there were."""
    count = 0
    for example in BOOK.parse(page).examples():
        example.evaluate()
        count += 1
    return count


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_pages_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_the_example_runs(example: Path, tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": import_path(example.parent), "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(example)]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_wrong_block_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(Exception, match="Expected"):
        run_blocks(page)
    page.write_text(
        "# Page\n```console\n$ milepost ls\n```\n```python\ncount = 2\n```\n```python\nassert count == 2\n```\n"
    )
    assert run_blocks(page) == 2
