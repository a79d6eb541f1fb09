"""What does a watch cost that has nothing to do, and how soon does a new checkpoint's first row get its turn?

The processor time is that of the watcher and of its children, over 40 seconds beside 10,000 files that are none of its
business (they were looked into and passed over): a scan a second, and a full sweep every 30.  The time to the first
unit is from the rename that makes a checkpoint whole to the event `claimed`, evaluator and reader warm.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _figures import Figure, at_most, main, plain_figure

FILES, SECONDS, ROUNDS = 10_000, 40.0, 7

EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

evaluation = Evaluation(
    model=FunctionModel(lambda weights, x: x @ weights["w"]),
    data={"test": Arrays(np.ones((512, 8), "f4"), np.arange(512) % 10)},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""


def used(pid: int) -> float:
    """Return the seconds of processor time of a process and its children that live."""
    ticks = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(place.name) == pid or int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def save(folder: Path, step: int) -> None:
    """Write one checkpoint, whole from the first moment."""
    with (folder / ".new").open("wb") as file:
        np.savez(file, w=np.random.default_rng(step).normal(size=(8, 10)).astype("f4"))
    (folder / ".new").rename(folder / f"step-{step}.npz")


def until(process: subprocess.Popen[str], step: int, state: str) -> float:
    """Return when a checkpoint was reported to be in a state."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "checkpoint" and (event["step"], event["state"]) == (step, state):
            return time.monotonic()
    raise SystemExit("the watch ended")


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "run")
        folder.mkdir()
        Path(place, "ev.py").write_text(EVALUATION)
        for number in range(FILES):
            (folder / f"part-{number}.log").touch()
        save(folder, 1)
        words = ["watch", f"{place}/ev.py", str(folder), "--store", f"{place}/store", "--json"]
        code = "import sys, milepost.cli as c; sys.exit(c.main(sys.argv[1:]))"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            until(process, 1, "done")
            waits = []
            for step in range(2, 2 + ROUNDS):
                save(folder, step)
                began = time.monotonic()
                waits.append(until(process, step, "claimed") - began)
                until(process, step, "done")
            time.sleep(5)
            before, began = used(process.pid), time.monotonic()
            time.sleep(SECONDS)
            share = 100 * (used(process.pid) - before) / (time.monotonic() - began)
        finally:
            process.kill()
            process.communicate()
    return [
        at_most(f"an idle watch on {FILES:,} files, of one core", share, 0.5, "%"),
        at_most("from a whole checkpoint to its first unit, median", statistics.median(waits), 2, "s"),
        plain_figure("the longest of them", max(waits), "s"),
    ]


if __name__ == "__main__":
    main("What does an idle watch cost, and how soon does it see?", measure)
