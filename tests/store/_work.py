"""All that an evaluation does to a store, and processes that are killed (SIGKILL) in the middle of it."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from milepost._internal.atomic import PREFIX
from milepost.core.types import Array, Identity, Part
from milepost.store import _archive
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

KEY = "0123456789abcdef0123456789abcdef"
ROWS = 1000
_EVENTS = {"open", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.rename", "os.listdir", "os.utime"}
_CUTS = (0, 256, 512, 768, ROWS)


def made_part(start: int, stop: int, states: Mapping[str, bytes] | None = None) -> Part:
    """Return a part whose rows depend on their position only, as a model's do."""
    rows = np.arange(start, stop)
    columns: dict[str, Array] = {"label": rows % 10, "nll": np.sin(rows).astype(np.float32)}
    return Part(start, stop, columns, states or {}, {"device": "cpu"})


def churn(folder: Path) -> None:
    """Do all that an evaluation does to a store: create, see, publish, seal, record; whatever is there is left."""
    store = Store.create(folder)
    run = store.run_of("/models/lenet")
    for number in range(2):
        identity = Identity(1, number, 1, 1, 1)
        store.add_checkpoint(
            CheckpointRecord(run, f"/models/lenet/{number}", identity, str(number), digest=f"{number:032}")
        )
    dataset = store.dataset("d" * 32)
    evaluation = store.evaluation(KEY)
    evaluation.describe({"weights": f"{0:032}"})
    parts = evaluation.parts("kept")
    for start, stop in itertools.pairwise(_CUTS):
        dataset.add(start, stop, {"labels": np.arange(start, stop) % 10})
        if not any(first <= start and stop <= last for first, last in parts.coverage()):
            parts.publish(made_part(start, stop))
    dataset.seal(ROWS)
    parts.seal(ROWS)
    evaluation.results.publish([(made_record(), {"confusion": np.eye(3)})])


def made_record() -> dict[str, Any]:
    """Return a record's payload."""
    value = {"metric": "top1", "value": 0.5, "numerator": 500, "denominator": ROWS, "n": ROWS, "intervals": []}
    head = {"schema": 1, "metric": {"name": "top_k", "k": 1}, "estimator": "exact", "batch_size": None, "size": ROWS}
    rest = {"coverage": [[0, ROWS]], "data": "test", "slice": "all", "status": "ok"}
    return {**head, **rest, "values": [{**value, "tied": 0, "nonfinite": 0, "gap": None, "note": None}]}


def killed_runs(folder: Path, points: int = 40) -> list[int]:
    """Run `churn` in forked children, each killed before another of its file operations; return which were chosen."""
    code = f"from tests.store._work import nursery; nursery({str(folder)!r}, {points})"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr.decode()
    found: list[int] = json.loads(done.stdout)
    assert len(found) >= points // 2, found
    return found


def nursery(folder: str, points: int) -> None:
    """Fork one child for each chosen point; a child kills itself for real, so nothing of it cleans up."""
    total = _in_child(lambda: churn(Path(folder) / "counted"), None, Path(folder) / "count")
    chosen = sorted({1 + index * total // points for index in range(points)})
    for point in chosen:
        _in_child(lambda at=point: churn(Path(folder) / str(at)), point, None)  # type: ignore[misc]
    sys.stdout.write(json.dumps(chosen))


def _in_child(work: Callable[[], None], kill_at: int | None, count: Path | None) -> int:
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event: str, _: Any) -> None:
            nonlocal seen
            if event in _EVENTS:
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
            if count is not None:
                count.write_text(str(seen), encoding="ascii")
        except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if killed != (kill_at is not None) or (not killed and status):
        raise AssertionError(f"child for operation {kill_at} ended with status {status}")
    return int(count.read_text(encoding="ascii")) if count is not None else 0


def check_whole(folder: Path) -> None:
    """Check that every file under a final name is whole."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(PREFIX):
            if path.suffix == ".npz":
                _archive.Archive(path).verify()
            elif path.suffix == ".json":
                json.loads(path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a store by its name, its own random id aside."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in sorted(named.items()) if name != "store.json"}
