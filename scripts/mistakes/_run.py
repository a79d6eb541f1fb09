"""Makes a mistake: runs the habit's code and Milepost's commands in a folder of their own; keeps what they print."""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scripts.mistakes._mistake import SHARED, Mistake

from milepost import cli

_WIDTH, _FOLD = 150, 120


@dataclass(frozen=True, slots=True)
class Made:
    """What came out: the habit's output, and (shown command or code, output) for Milepost."""

    habit: str
    milepost: tuple[tuple[str, str], ...]


def make(mistake: Mistake) -> Made:
    """Make one mistake in an empty temporary folder; nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="mistake-") as folder, _in(folder):
        Path("runs").mkdir()
        names = _namespace()
        _execute(mistake.setup, names)
        habit = _printed(lambda: _execute(mistake.habit, names))
        if mistake.python:
            return Made(habit, ((mistake.python, _printed(lambda: _execute(mistake.python, _namespace()))),))
        Path("eval.py").write_text(mistake.file.text(), encoding="utf-8")
        return Made(habit, tuple((line, _command(line, names, mistake.lines)) for line in mistake.commands))


def _command(line: str, names: dict[str, Any], lines: tuple[str, ...]) -> str:
    """Run one command line: `milepost ...` in this process, or Python after `>>> ` for what happens in between."""
    if line.startswith(">>> "):
        return _printed(lambda: _execute(line.removeprefix(">>> "), names))
    words = shlex.split(line)[1:]
    words += ["--engine", "inprocess"] if words[0] == "run" else []
    text = _printed(lambda: cli.main(words))
    sys.modules.pop("eval", None)
    if not lines or words[0] == "run":
        return text
    return "\n".join(found for found in text.splitlines() if any(re.search(item, found) for item in lines))


@contextlib.contextmanager
def _in(folder: str) -> Iterator[None]:
    before, path = os.getcwd(), list(sys.path)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path


def _namespace() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "mistake", "rows": _rows, "save": _save, "one_hot": _one_hot, "edit": _edit}
    _execute(SHARED, names)
    names["torch"].manual_seed(0)
    return names


def _rows(images: Any, labels: Any) -> None:
    """Write the held-out rows for the evaluation file."""
    np.savez("rows.npz", images=np.asarray(images), labels=np.asarray(labels))


def _save(content: Any, name: str = "step-1.pt") -> None:
    """Write a checkpoint below runs/."""
    import torch

    torch.save(content.state_dict() if isinstance(content, torch.nn.Module) else content, Path("runs", name))


def _edit(file: str, old: str, new: str) -> None:
    """Change one place of a file."""
    text = Path(file).read_text("utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{old!r} stands {text.count(old)} times in {file}; expected once")
    Path(file).write_text(text.replace(old, new), "utf-8")


def _one_hot(predictions: Any, classes: int = 10) -> Any:
    """Return float32 images that a linear model of unit weights predicts as these classes."""
    return np.eye(classes, dtype=np.float32)[np.asarray(predictions)]


def _execute(code: str, names: dict[str, Any]) -> None:
    exec(compile(code, "eval_loop.py", "exec"), names)  # noqa: S102 - the page shows what was run


def _printed(act: Any) -> str:
    """Return what `act` writes to both streams, in order; an error is its last line, as Python prints it."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written), warnings.catch_warnings():
        warnings.showwarning = _report  # pytest records them otherwise
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            act()
        except Exception as error:  # noqa: BLE001 - what the habit raises is what is shown
            written.write("".join(traceback.format_exception_only(error)))
    return _plain(written.getvalue())


def _report(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    (file or sys.stderr).write(f"{filename}:{lineno}: {category.__name__}: {message}{line or ''}\n")


def _plain(text: str) -> str:
    """Take out what differs from one run or machine to the next: folders, lines of code, and its version."""
    folder = re.escape(os.getcwd())
    text = re.sub(rf"(?:/private)?{folder}/", "", text)
    text = re.sub(r"/\S+/site-packages/", "", text)
    text = re.sub(r"^(\S+\.py:)\d+: (\w*Warning)", r"\1 \2", text, flags=re.MULTILINE)
    text = re.sub(r"\bversion [0-9a-f]{16}\b", "version ...", text)
    # What is measured of rounding depends on the processor, and on how many rows there was time for.
    text = re.sub(r"\b(measured on) [\d,]+ rows?\b", r"\1 ... rows", text)
    text = re.sub(r"\b(if rounding stays below|in halves by) [\d.e-]+", r"\1 ...", text)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(line if len(line) <= _WIDTH else _folded(line) for line in lines)


def _folded(line: str) -> str:
    """Break a long line at spaces: only where it stands in no table, whose columns are parted by two spaces."""
    if "   " in line:
        return line
    words, lines = line.split(" "), [""]
    for word in words:
        if len(lines[-1]) + len(word) >= _FOLD:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\n".join(lines)
