"""The path of a new user, gone as docs/quickstart-pytorch.md goes it: the same project, file, commands and messages."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "quickstart-pytorch.md").read_text("utf-8")
PROJECT = ROOT / "examples" / "pytorch_project"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIVE = r"done: |test +[\d,/]+ rows "  # what a terminal shows in its live line
HINT = "where a message was reworded, docs/quickstart-pytorch.md shows the new words"
FAILING = {
    "milepost run evaluate.py": 2,
    "milepost best --metric accuracy": 2,
    "milepost score --all --metric brier": 2,
}


@dataclass(frozen=True)
class Step:
    """A command of the page, what the page shows of its output, and what it really printed."""

    command: str
    shown: tuple[str, ...]
    code: int
    out: str
    err: str


def blocks(kind: str) -> list[str]:
    """Return the page's blocks of one kind."""
    return [text for found, text in BLOCK.findall(PAGE) if found == kind]


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each command of the page, and the lines that are shown below it."""
    for part in re.split(r"^\$ ", "".join(blocks("console")), flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, tuple(shown)


def in_terminal(command: str, folder: Path) -> tuple[int, str, str]:
    """Run a command line with a terminal of 100 columns for its output; return exit code, output and errors."""
    lead, follow = pty.openpty()
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": place, "COLUMNS": "100", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    with (folder / "stderr").open("w+b") as err:
        with subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=follow, stderr=err
        ) as process:
            os.close(follow)
            out = b"".join(iter(lambda: _read(lead), b""))
        os.close(lead)
        err.seek(0)
        message = err.read().decode()
    return process.returncode, _clean(out.decode(), folder), _clean(message, folder)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # how Linux says that the other end is closed
        return b""


def _clean(text: str, folder: Path) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text).replace(str(folder), "/home/me/digits")


def shape(line: str) -> str:
    """Reduce a line to its words: numbers, digests and the names of checkpoints differ from machine to machine.

    A line of the table is `ok`, and one of intervals and further names is nothing.
    """
    line = re.sub(r"\b[0-9a-f]{12,}\b|\b(epoch_\d+|best|last)\b(?!\s\()", " ", line)
    line = re.sub(r"[\d.,~\[\]─+-]", " ", line)
    return " ".join(line.split())


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """Go the whole path once."""
    folder = tmp_path_factory.mktemp("new_user") / "digits"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__", "eval.py", "runs"))
    (folder / "eval.py").write_text(blocks("python")[0], "utf-8")
    gone = []
    for command, shown in commands():
        if not command.startswith("pip "):
            gone.append(Step(command, shown, *in_terminal(command, folder)))
    (folder / "ask.py").write_text(blocks("python")[1], "utf-8")
    gone.append(Step("python ask.py", (), *in_terminal("python ask.py", folder)))
    return gone


@pytest.mark.wide
def test_exit_codes_are_those_that_the_page_reports(steps: list[Step]) -> None:
    torn = next(place for place, step in enumerate(steps) if step.command.startswith("head")) + 1
    expected = [next((code for start, code in FAILING.items() if step.command.startswith(start)), 0) for step in steps]
    expected[torn] = 3
    assert [step.code for step in steps] == expected, [step.err for step in steps if step.code]


@pytest.mark.wide
def test_every_line_of_the_page_is_printed(steps: list[Step]) -> None:
    for step in steps:
        printed = {shape(line) for line in (step.err + step.out).splitlines()}
        missing = [line for line in step.shown if line != "..." and shape(line) not in printed]
        assert not missing, f"{step.command}: {HINT}"


@pytest.mark.wide
def test_every_message_that_is_met_stands_on_the_page(steps: list[Step]) -> None:
    known = {shape(line) for _, shown in commands() for line in shown}
    for step in steps:
        met = [line for line in step.err.splitlines() if not re.match(LIVE, line)]
        assert not [line for line in met if shape(line) not in known], f"{step.command}: {HINT}"


@pytest.mark.wide
def test_every_file_is_evaluated_once_on_every_row(steps: list[Step]) -> None:
    full = next(step for step in steps if step.command == "milepost run eval.py runs/digits")
    rows = [line.split() for line in full.out.splitlines() if line.rstrip().endswith(" ok")]
    assert [(row[1], row[2]) for row in rows] == [(f"epoch_{epoch:02}", "360") for epoch in range(1, 7)]
    assert "evaluated 6, skipped 2, failed 0" in full.err


def test_the_count_of_lines_is_right() -> None:
    written = [line for line in blocks("python")[0].splitlines() if line.strip()]
    imports = [line for line in written if line.startswith(("import ", "from "))]
    assert f"{len(written)} lines to write: {len(imports)} imports and {len(written) - len(imports)} others" in PAGE


def test_the_example_is_the_page() -> None:
    assert (PROJECT / "eval.py").read_text("utf-8") == blocks("python")[0]


@pytest.mark.parametrize(
    ("line", "reduced"),
    [
        ("   -  epoch_05  360   0.950 ~ 0.945    1.000 ~ 1.000    0.207  ok", "ok"),
        ("      best           [0.922, 0.968]  [0.984, 0.9995]  ~ 0.216", ""),
        ("resuming epoch_01: 100 of 360 rows are there", "resuming : of rows are there"),
        ("milepost: error: runs: no such file", "milepost: error: runs: no such file"),
    ],
)
def test_the_shape_of_a_line_keeps_its_words(line: str, reduced: str) -> None:
    assert shape(line) == reduced
