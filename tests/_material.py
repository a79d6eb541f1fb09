"""What the tests of a whole run share: a small linear model, its checkpoints, its data, and what a run tells."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import milepost.cli
from milepost._internal.atomic import PREFIX
from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.evaluation.definition import Evaluation
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.run.request import Request
from milepost.run.run import Summary, plan, run
from milepost.store import _archive
from milepost.store.results import ResultsFile, is_results
from milepost.store.store import Store
from milepost.tasks.classification import Classification

FEATURES, CLASSES = 8, 10
MILEPOST = [sys.executable, "-c", "import sys, milepost.cli as c; sys.exit(c.main(sys.argv[1:]))"]

# One thread a process, so that processes side by side do not fight for cores.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def import_path(*folders: object) -> str:
    """Return a `PYTHONPATH` of folders, and of what this process was given: the code under test may lie there."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


_VOLATILE = {"seen", "created", "at", "id"}


def weights_of(seed: int, dtype: str = "float32") -> dict[str, Array]:
    """Return the weights of one checkpoint."""
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(FEATURES, CLASSES)), rng.normal(size=CLASSES)
    return {"w": w.astype(dtype), "b": b.astype(dtype)}


def checkpoints(folder: Path, *steps: int) -> Path:
    """Write npz checkpoints `step-N.npz` of different weights, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        save(folder / f"step-{step}.npz", weights_of(step))
    return folder


def save(path: Path, arrays: Mapping[str, Any], **more: Any) -> None:
    """Write one npz checkpoint."""
    np.savez(path, **arrays, **more)


def examples(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """Return inputs [rows, FEATURES] and labels [rows]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, rows)


def linear(weights: Mapping[str, Array], inputs: Array) -> Array:
    """Score inputs by one matrix."""
    return np.asarray(inputs @ weights["w"] + weights["b"])


class Counted:
    """A linear model that remembers the rows that it predicted: the inputs' first feature is taken for the row."""

    def __init__(self) -> None:
        self.calls = 0
        self.rows: set[float] = set()

    def __call__(self, weights: Mapping[str, Array], inputs: Array) -> Array:
        self.calls += 1
        self.rows.update(inputs[:, 0].tolist())
        return linear(weights, inputs)


def evaluation_of(rows: int = 700, predict: Any = linear, **changes: Any) -> Evaluation:
    """Make an evaluation of the linear model on `rows` rows."""
    made: dict[str, Any] = {
        "model": FunctionModel(predict),
        "data": {"test": Arrays(*examples(rows))},
        "task": Classification(outputs="logits"),
        "metrics": [TopK(1), TopK(5), CrossEntropy()],
        "batch_size": 64,
        "version": "1",
    }
    return Evaluation(**{**made, **changes})


class Events(list[dict[str, Any]]):
    """The events of a run or what `--json` printed, by kind."""

    summary: Summary

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [item for item in self if item["event"] == event]

    @property
    def notes(self) -> str:
        """All notes, one a line."""
        return "\n".join(item["message"] for item in self.of("note"))

    @property
    def failures(self) -> dict[str, str]:
        """Name of the file and `class: message` of every failure."""
        return {os.path.basename(item["path"]): f"{item['class']}: {item['message']}" for item in self.of("failure")}

    @property
    def ends(self) -> dict[str, tuple[str, str | None]]:
        """Name and variant, and the last state of each checkpoint with the reason."""
        return {
            f"{item['name']}/{item['variant']}": (item["state"], item["reason"])
            for item in self.of("checkpoint")
            if item["state"] != "claimed"
        }

    @property
    def done(self) -> tuple[int, int, int]:
        """Evaluated, skipped, failed: from the last line."""
        last = self[-1]
        assert last["event"] == "done"
        return last["evaluated"], last["skipped"], last["failed"]

    def value(self, metric: str, estimator: str = "exact", **where: Any) -> Any:
        """Return the one value of a metric; `where` narrows by data, step, variant or batch_size."""
        found = [item["value"] for item in self.of("record") if _fits(item, metric, estimator, where)]
        assert len(found) == 1, f"{len(found)} records of {metric} {estimator} {where}"
        return found[0]


def _fits(item: Mapping[str, Any], metric: str, estimator: str, where: Mapping[str, Any]) -> bool:
    flat = {**item, **item["checkpoint"]}
    return (item["metric"], item["estimator"]) == (metric, estimator) and all(flat[k] == v for k, v in where.items())


def request_of(evaluation: Evaluation | Path, *paths: Path, store: Path, **options: Any) -> Request:
    """Make a request of a live evaluation (in process) or of a file (spawned)."""
    named = tuple(str(path) for path in paths)
    if isinstance(evaluation, Evaluation):
        how: dict[str, Any] = {"file": evaluation.file, "live": evaluation, "engine": "inprocess"}
    else:
        how = {"file": str(evaluation)}
    return Request(named, str(store), **{**how, **options})


def go(evaluation: Evaluation | Path, *paths: Path, store: Path, **options: Any) -> Events:
    """Run, and return its events."""
    events = Events()
    events.summary = run(request_of(evaluation, *paths, store=store, **options), events.append)
    return events


def planned(evaluation: Evaluation | Path, *paths: Path, store: Path, **options: Any) -> dict[str, str]:
    """Plan, and return `action: reason` by name and variant."""
    rows = plan(request_of(evaluation, *paths, store=store, **options), lambda _: None)
    return {f"{row['name']}/{row['variant']}": f"{row['action']}: {row['reason']}" for row in rows}


def columns_of(store: Path, which: int = 0) -> dict[str, Array]:
    """Return the kept columns of the one evaluation there is (or of the nth by weights), in the order."""
    opened = Store.open(store)
    keys = sorted(opened.evaluations(), key=lambda key: str((opened.evaluation(key).spec() or {}).get("weights")))
    folder = opened.evaluation(keys[which])
    reader = folder.parts(folder.column_sets()[0]).read()
    return {name: reader.slice(name, 0, reader.coverage[0][1]) for name in reader.names}


def same_columns(left: Mapping[str, Array], right: Mapping[str, Array]) -> None:
    """Check that two sets of columns are the same bits."""
    assert left.keys() == right.keys()
    for name, column in left.items():
        assert column.dtype == right[name].dtype
        assert column.tobytes() == right[name].tobytes(), name


def contents(store: Path) -> dict[str, Any]:
    """Return what a store holds by file name, without times, environments and its own id, for comparison."""
    found: dict[str, Any] = {}
    for path in sorted(store.rglob("*")):
        name = path.relative_to(store).as_posix()
        if path.is_file():
            found[name] = _comparable(path)
    return found


def _comparable(path: Path) -> Any:
    if path.suffix == ".npz":
        arrays = _archive.read(path)
        found: dict[str, Any] = {name: (item.dtype.str, item.shape, item.tobytes()) for name, item in arrays.items()}
        return {**found, "records": list(ResultsFile(path).payloads())} if is_results(path.name) else found
    if path.suffix == ".json":
        value = json.loads(path.read_bytes())
        return {key: item for key, item in value.items() if key not in _VOLATILE} if isinstance(value, dict) else value
    return path.read_bytes()


def leftovers(store: Path) -> list[str]:
    """Return temporary files, leases, heartbeats, and parts under a seal: what no finished run leaves."""
    names = [path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()]
    begins, marks = ("workers/", "leases/"), ("/parts/", "/pieces/")
    return [name for name in names if PREFIX in name or name.startswith(begins) or any(mark in name for mark in marks)]


def files_of(folder: Path) -> Iterator[str]:
    """Yield the files below a folder while it may change."""
    for base, _, names in os.walk(folder):
        yield from (os.path.join(base, name) for name in names)


Ended = subprocess.CompletedProcess[str]


def command(*words: object, cwd: Path | None = None, env: Mapping[str, str] = ENVIRONMENT) -> Ended:
    """Run `milepost` in this process, and return what it and the processes that it starts print."""
    arguments = list(map(str, words))
    with (
        patch.dict(os.environ, env, clear=True),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = milepost.cli.main(arguments)
    return Ended(arguments, code, out.getvalue(), err.getvalue())


def process(*words: object, **options: Any) -> Ended:
    """Run `milepost` as a process of its own: where how one starts, imports or dies is what is tested."""
    asked = {"env": ENVIRONMENT, **options}
    return subprocess.run([*MILEPOST, *map(str, words)], capture_output=True, text=True, check=False, **asked)


def lines_of(text: str) -> Events:
    """Return JSON lines as events."""
    return Events(json.loads(line) for line in text.splitlines())


def unwrapped(text: str) -> str:
    """Return a text without its line breaks: where prose is wrapped is not what is tested."""
    return " ".join(text.split())
