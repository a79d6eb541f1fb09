"""How quick is a store of 2,000 checkpoints: listing it, and a run that has nothing to do?

Commands are whole processes, start-up included, files warm.  `ls` writes to a pseudo-terminal, so that it draws the
newest 50.
"""

import os
import pty
import runpy
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _figures import ROOT, Figure, at_most, in_turn, main, seconds, told

CHECKPOINTS, METRICS, ROUNDS = 2000, 20, 5
COMMAND = [sys.executable, "-c", "import sys; from milepost.cli import main; sys.exit(main(sys.argv[1:]))"]
EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import CrossEntropy, TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)
evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"]),
    data={"test": Arrays(rng.standard_normal((512, 8)).astype("float32"), rng.integers(0, 10, 512))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(2), TopK(5), CrossEntropy()],
)
"""


def piped(*arguments: str) -> None:
    """Run a command and read what it prints."""
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)


def in_terminal(*arguments: str) -> None:
    """Run a command that believes to be in a terminal."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
    process = subprocess.Popen([*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    try:
        while os.read(master, 1 << 16):
            pass
    except OSError:
        pass  # the terminal is closed: the process has ended
    os.close(master)
    if process.wait():
        raise RuntimeError(f"{arguments} ended with {process.returncode}")


def listing(folder: Path) -> list[Figure]:
    """List a fabricated store."""
    path = folder / "fabricated"
    names = [f"metric{number}" for number in range(METRICS)]
    runpy.run_path(str(ROOT / "tests/store/make_store.py"))["make_store"](path, CHECKPOINTS, names)
    store = f"--store={path}"
    drawn, lines = in_turn([lambda: in_terminal("ls", store), lambda: piped("ls", "--json", store)], ROUNDS, warm=2)
    named = f"{CHECKPOINTS:,} checkpoints x {METRICS} metrics: "
    return [
        at_most(f"{named}ls in a terminal", statistics.median(drawn), 0.7, "s"),
        at_most(f"{named}ls --json", statistics.median(lines), 0.7, "s"),
    ]


def running(folder: Path) -> list[Figure]:
    """Evaluate as many real checkpoints of a tiny model, then again with nothing to do."""
    runs = folder / "runs"
    runs.mkdir()
    for step in range(1, CHECKPOINTS + 1):
        weights = np.random.default_rng(step).standard_normal((8, 10)).astype(np.float32)
        np.savez(runs / f"step-{step}.npz", w=weights)
    (folder / "ev.py").write_text(EVALUATION)
    run = ("run", str(folder / "ev.py"), str(runs), f"--store={folder / 'evals'}", "--json")
    first = seconds(lambda: piped(*run))
    (again,) = in_turn([lambda: piped(*run)], 3, warm=0)
    (planned,) = in_turn([lambda: piped("plan", *run[1:])], 3, warm=0)
    return [
        told(f"run of {CHECKPOINTS:,} tiny checkpoints, each", 1e3 * first / CHECKPOINTS, "ms", 1),
        told("run again, nothing to do", statistics.median(again), "s"),
        told("plan of the same", statistics.median(planned), "s"),
    ]


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return listing(Path(folder)) + running(Path(folder))


if __name__ == "__main__":
    main(f"How quick is a store of {CHECKPOINTS:,} checkpoints?", measure)
