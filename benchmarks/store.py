"""How quick is a store of 2,000 checkpoints: listing it, and a run that has nothing to do?

Commands are whole processes, start-up included, files warm, modules compiled as those of an installed package are.
`ls` writes to a pseudo-terminal, so that it draws the newest 50.  Beside it: what a run adds to a bare loop that loads
each checkpoint, predicts, and forces four files to disk; both in this process, start-up aside, in memory (/dev/shm) and
on disk.  Loop and run take turns, seven times; the ratio is the median of theirs.
"""

import os
import pty
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
from _figures import ROOT, Figure, at_most, in_turn, main, plain_figure, seconds

from milepost import Evaluation
from milepost.core.types import Array
from milepost.data import Arrays
from milepost.metrics import CalibrationError, CrossEntropy, TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

CHECKPOINTS, METRICS, ROUNDS = 2000, 20, 5
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
TINY, ROWS, PAIRS = 200, 1000, 7
MEMORY = "/dev/shm"  # noqa: S108 - folders of unguessable names are made in it
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
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, env=COMPILED)


def in_terminal(*arguments: str) -> None:
    """Run a command that believes to be in a terminal."""
    master, slave = pty.openpty()
    environment = {**COMPILED, "TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
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
        plain_figure(f"run of {CHECKPOINTS:,} tiny checkpoints, each", 1e3 * first / CHECKPOINTS, "ms", 1),
        at_most("run again, nothing to do", statistics.median(again), 1.5, "s"),
        plain_figure("plan of the same", statistics.median(planned), "s"),
    ]


def tiny(*, slices: bool) -> Evaluation:
    """Return an evaluation of 1,000 rows by five metrics, on a slice of two values or on none."""
    random = np.random.default_rng(0)
    inputs, labels = random.standard_normal((ROWS, 8)).astype(np.float32), random.integers(0, 10, ROWS)
    halves = {"half": np.where(np.arange(ROWS) < ROWS // 2, "a", "b")} if slices else None
    return Evaluation(
        model=FunctionModel(predict),
        data={"test": Arrays(inputs, labels, slices=halves)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1), TopK(2), TopK(5), CrossEntropy(), CalibrationError()],
        version="1",
    )


def predict(weights: Mapping[str, Array], inputs: Array) -> Array:
    """Predict with one matrix."""
    return inputs @ weights["w"]


def bare(runs: Path, out: Path, inputs: Array) -> None:
    """Do the least that leaves four files a checkpoint on disk."""
    out.mkdir()
    for path in sorted(runs.iterdir()):
        with np.load(path) as held:
            scores = predict(dict(held), inputs)
        for number in range(4):
            with open(out / f"{path.stem}-{number}", "wb") as stream:
                stream.write(scores[:, number].tobytes())
                stream.flush()
                os.fsync(stream.fileno())


def beside_a_bare_loop(folder: Path, where: str, *, slices: bool) -> list[Figure]:
    """Time runs of tiny checkpoints beside the bare loop, in turn, and the fsyncs within each."""
    runs = folder / "runs"
    runs.mkdir()
    for step in range(1, TINY + 1):
        np.savez(runs / f"step-{step}.npz", w=np.random.default_rng(step).standard_normal((8, 10)).astype(np.float32))
    tiny(slices=slices).run(str(runs), store=str(folder / "warm"), match="*step-1.npz")
    inputs = np.random.default_rng(0).standard_normal((ROWS, 8)).astype(np.float32)
    rounds = [one_round(runs, folder / str(number), inputs, slices=slices) for number in range(PAIRS)]
    least, each, beyond, count = (statistics.median(found) for found in zip(*rounds, strict=True))
    kind = f"{TINY} x {ROWS:,} rows x 5 metrics{' x a slice of two' if slices else ''}, {where}: "
    figures = [
        plain_figure(f"{kind}the bare loop, each", least, "ms", 1),
        plain_figure(f"{kind}a run, each", each, "ms", 1),
        at_most(f"{kind}fsyncs, each", count, 8, ""),
    ]
    if slices and where == "on disk":
        ratios = sorted(run / loop for loop, run, _, _ in rounds)
        figures.append(Figure(f"{kind}run to bare loop, by round", f"{ratios[0]:.2f} to {ratios[-1]:.2f} times"))
        figures.append(at_most(f"{kind}run to bare loop", statistics.median(ratios), 6, "times"))
    elif not slices and where == "in memory":
        figures.append(at_most(f"{kind}a run, each, at most", each, 8, "ms"))
    return [*figures, plain_figure(f"{kind}a run beyond its fsyncs, each", beyond, "ms", 1)]


def one_round(runs: Path, folder: Path, inputs: Array, *, slices: bool) -> tuple[float, float, float, float]:
    """Return what a checkpoint takes in the bare loop, in a run, and beyond its fsyncs (ms), and how many these are."""
    folder.mkdir()
    os.sync()  # neither pays for what was written before
    least = seconds(lambda: bare(runs, folder / "bare", inputs))
    forced, force = list[float](), os.fsync

    def timed(handle: int) -> None:
        forced.append(seconds(lambda: force(handle)))

    os.sync()
    with patch("os.fsync", timed):
        each = seconds(lambda: tiny(slices=slices).run(str(runs), store=str(folder / "evals")))
    return 1e3 * least / TINY, 1e3 * each / TINY, 1e3 * (each - sum(forced)) / TINY, len(forced) / TINY


def measure() -> list[Figure]:
    figures = []
    for where, place in (("in memory", MEMORY), ("on disk", None)):
        for slices in (False, True):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                figures += beside_a_bare_loop(Path(folder), where, slices=slices)
    with tempfile.TemporaryDirectory() as folder:
        return figures + listing(Path(folder)) + running(Path(folder))


if __name__ == "__main__":
    main(f"How quick is a store of {CHECKPOINTS:,} checkpoints?", measure)
