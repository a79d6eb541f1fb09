"""Do 300 hostile or damaged files among 100 good ones do any harm?

`milepost run` over the mixed folder, and over one of the good files alone: every good file must give its right row,
every other one a typed row; nothing of a file may run, and no file of the folder may change.  Memory is the largest
size in memory of any process of the run, and that of the reader by itself.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _figures import ROOT, Figure, at_most, main, plain_figure, seconds

sys.path.insert(0, str(ROOT))

from tests.checkpoints import hostile  # noqa: E402 - the files are made by the tests' own makers
from tests.checkpoints.test_hostile import read, state_of  # noqa: E402 - the same
from tests.sixty import good  # noqa: E402 - the same
from tests.sixty.pieces import EVALUATION, ROWS, examples, npz, right_answers, saved, weights_of, write  # noqa: E402

GOOD, BAD = 100, 300
COMMAND = [sys.executable, "-c", "import sys; from milepost.cli import main; sys.exit(main(sys.argv[1:]))"]


def prepared(place: Path, bad: int) -> dict[str, int]:
    """Make the folder; return the number of right answers of each good file."""
    runs, marker = place / "runs", place / "executed"
    runs.mkdir(parents=True)
    right = {name: right_answers(weights) for name, weights in good.make(runs, marker).items()}
    for seed in range(100, 100 + GOOD - len(right)):
        weights = weights_of(seed)
        made = npz({name: item.numpy() for name, item in weights.items()}) if seed % 2 else saved(weights)
        path = write(runs / f"step-{seed}.{'npz' if seed % 2 else 'pt'}", made)
        right[path.name] = right_answers(weights)
    if bad:
        hostile.make(runs, marker, bad)
    inputs, labels = examples()
    np.savez(place / "test.npz", inputs=inputs, labels=labels)
    (place / "ev.py").write_text(EVALUATION)
    return right


def run(place: Path) -> tuple[list[dict[str, object]], int, float]:
    """Run; return the events, the largest size in memory in KiB, and the seconds."""
    confined = [sys.executable, str(ROOT / "tests/sixty/confined.py"), str(place / "peak")]
    words = ["run", "ev.py", "runs", "runs/last.pt", "--store", "store", "--json"]
    ended: list[subprocess.CompletedProcess[str]] = []

    def go() -> None:
        ended.append(
            subprocess.run([*confined, *COMMAND, *words], cwd=place, capture_output=True, text=True, check=False)
        )

    took = seconds(go)
    if ended[0].returncode not in (0, 3):
        raise RuntimeError(ended[0].stderr)
    events = [json.loads(line) for line in ended[0].stdout.splitlines()]
    return events, int((place / "peak").read_text()) // 1024, took


def right_rows(events: list[dict[str, object]], right: dict[str, int]) -> int:
    """Count the good files whose exact row is the right one."""
    found = 0
    for event in events:
        if event["event"] == "record" and event["estimator"] == "exact":
            path = dict(event["checkpoint"])["path"]  # type: ignore[call-overload]
            found += (event["numerator"], event["n"]) == (right.get(os.path.basename(path)), ROWS)
    return found


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        mixed, clean = Path(folder, "mixed"), Path(folder, "clean")
        right = prepared(mixed, BAD)
        prepared(clean, 0)
        before = state_of(mixed / "runs")
        events, peak, took = run(mixed)
        same = state_of(mixed / "runs") == before
        _, usual, usually = run(clean)
        rows = {str(event["path"]) for event in events if event["event"] == "failure"}
        reader, alone = (int(str(read(place, place / "runs")["peak"])) for place in (mixed, clean))
        count = right_rows(events, right)
        return [
            Figure("good files with the right row", f"{count}", f"{GOOD}", count == GOOD),
            Figure("bad files with a typed row", f"{len(rows)}", f"{BAD}", len(rows) == BAD),
            Figure(
                "payloads that ran", str(int((mixed / "executed").exists())), "0", not (mixed / "executed").exists()
            ),
            Figure("files of the folder that are as they were", str(same), "True", same),
            at_most("largest process beside a clean run's", peak / usual, 1.3, "times"),
            at_most("reader beside one of the good files", reader / alone, 1.3, "times"),
            plain_figure("largest process", peak / 1024, "MiB", 0),
            plain_figure("reader", reader / 1024, "MiB", 0),
            plain_figure("run over all", took, "s", 1),
            plain_figure("run over the good ones", usually, "s", 1),
        ]


if __name__ == "__main__":
    main(f"Do {BAD} hostile files among {GOOD} good ones do any harm?", measure)
