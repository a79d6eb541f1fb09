"""Do memory and descriptors of driver, reader and evaluator stay flat over 1,000 checkpoints?

`milepost run`, then `milepost watch --until done`, take 1,000 checkpoints of 400 KB (half of them compressed, so that
they go through the spool) through 512 examples.  Every 50 of them each process is looked at: `RssAnon`, memory of its
own without mapped files, and open descriptors.  Growth is from the least of the first three looks to the least of the
last three: a file that is open at the moment, or garbage that is collected a little later, is none.  `--all` prints
every look.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _figures import Figure, at_most, main, plain_figure

CHECKPOINTS, EVERY, LOOKS = 1000, 50, 3
COMMAND = [sys.executable, "-c", "import sys; from milepost.cli import main; sys.exit(main(sys.argv[1:]))"]
MARKS = {"evaluator": "milepost.engines._process.worker", "reader": "milepost.checkpoints.reader"}
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
    data={"test": Arrays(rng.standard_normal((512, 1000)).astype("float32"), rng.integers(0, 100, 512))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy()],
)
"""

Look = dict[str, tuple[float, int]]
"""MiB and descriptors by role."""


def processes(driver: int) -> dict[str, int]:
    """Return the numbers of the three processes by role."""
    found = {"driver": driver}
    for file in Path(f"/proc/{driver}/task").glob("*/children"):
        for number in file.read_text().split():
            line = Path(f"/proc/{number}/cmdline").read_bytes().decode()
            found.update({role: int(number) for role, mark in MARKS.items() if mark in line})
    return found


def look(driver: int) -> Look:
    """Return what each process holds at this moment."""
    found = {}
    for role, number in processes(driver).items():
        status = Path(f"/proc/{number}/status").read_text(encoding="ascii")
        own = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
        found[role] = int(own.split()[1]) / 1024, len(os.listdir(f"/proc/{number}/fd"))
    return found


def prepare(folder: Path) -> None:
    """Write the evaluation file and the checkpoints of a training that is done."""
    (folder / "ev.py").write_text(EVALUATION)
    (folder / "run").mkdir()
    rng = np.random.default_rng(0)
    for step in range(CHECKPOINTS):
        save = np.savez_compressed if step % 2 else np.savez
        save(folder / "run" / f"step-{step}.npz", w=rng.standard_normal((1000, 100)).astype("float32"))
    (folder / "run" / "DONE").touch()


def soak(folder: Path, verb: str, *words: str) -> Iterator[Look]:
    """Evaluate, and look every so many checkpoints."""
    named = [str(folder / name) for name in ("ev.py", "run", f"store-{verb}")]
    words = (verb, *named[:2], "--store", named[2], "--json", *words)
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        seen: set[str] = set()
        for line in process.stdout:
            event = json.loads(line)
            path = event["checkpoint"]["path"] if event["event"] == "record" else ""
            if path and path not in seen:
                seen.add(path)
                if len(seen) % EVERY == 0:
                    yield look(process.pid)
    assert process.returncode == 0
    assert len(seen) == CHECKPOINTS


def figures_of(verb: str, looks: list[Look]) -> list[Figure]:
    """Compare the least of the first looks with the least of the last."""
    first, last = looks[:LOOKS], looks[-LOOKS:]
    figures = []
    for role in ("driver", "reader", "evaluator"):
        begin, end = (min(item[role][0] for item in part) for part in (first, last))
        files = [min(item[role][1] for item in part) for part in (first, last)]
        name = f"{verb}, {role}"
        figures.append(plain_figure(f"{name}: own memory at the end", end, "MiB", 1))
        figures.append(at_most(f"{name}: growth over {CHECKPOINTS:,} checkpoints", end - begin, 4, "MiB", 1))
        figures.append(at_most(f"{name}: growth of open descriptors", files[1] - files[0], 0, "descriptors", 0))
    return figures


def measure() -> list[Figure]:
    """Soak with both verbs over the same checkpoints."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for verb, words in (("run", ()), ("watch", ("--until", "done"))):
            looks = []
            for taken in soak(Path(folder), verb, *words):
                looks.append(taken)
                if "--all" in sys.argv[1:]:
                    print(f"{verb} {len(looks) * EVERY:5} {taken}", file=sys.stderr, flush=True)
            figures += figures_of(verb, looks)
    return figures


if __name__ == "__main__":
    main("Do memory and descriptors stay flat over 1,000 checkpoints?", measure)
