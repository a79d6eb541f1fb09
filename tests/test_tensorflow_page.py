"""docs/tensorflow.md: its evaluation file is the example's, and its commands print what it shows."""

import re
import shutil
from pathlib import Path
from shlex import split

import pytest
from tests._material import command

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "tensorflow.md").read_text("utf-8")
PROJECT = ROOT / "examples" / "slim"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def project(shared_data: Path, tmp_path: Path) -> Path:
    """The user's folder, with a run whose state file is of another machine."""
    for name in ("network.py", "eval_slim.py"):
        shutil.copy(PROJECT / name, tmp_path)
    runs = tmp_path / "runs" / "digits"
    runs.mkdir(parents=True)
    for path in (shared_data / "checkpoints" / "digits_slim").iterdir():
        shutil.copyfile(path, runs / path.name)
    assert "/other/machine/" in (runs / "checkpoint").read_text()
    return tmp_path


def test_the_page_shows_the_example() -> None:
    assert blocks("python")[0] in (PROJECT / "eval_slim.py").read_text("utf-8")


@pytest.mark.wide
def test_the_commands_print_what_is_shown(project: Path) -> None:
    shown = [part.splitlines() for part in re.split(r"^\$ ", "".join(blocks("console")), flags=re.MULTILINE)[1:]]
    commands = [lines for lines in shown if lines[0].startswith("milepost ")]
    assert [lines[0].split()[:2] for lines in commands] == [["milepost", "run"], ["milepost", "inspect"]]
    assert {lines[0].split()[0] for lines in shown} == {"pip", "milepost"}
    for asked, *lines in commands:
        ended = command(*split(asked)[1:], cwd=project)
        assert ended.returncode == 0, ended.stderr
        printed = words(ended.stdout + " " + ended.stderr)
        for piece in (words(piece) for line in lines for piece in line.split("...")):
            assert piece in printed, f"{asked} did not print {piece!r}"
        assert "TensorFlow binary" not in ended.stderr  # the file imports TensorFlow first, and it is quiet


def test_dropout_left_on_says_what_the_page_shows() -> None:
    shown = words(blocks("text")[0])
    lines = (PROJECT / "network.py").read_text("utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "dropout" in text)
    assert f"draws random numbers at network.py:{line}: is_training left on?" in shown
