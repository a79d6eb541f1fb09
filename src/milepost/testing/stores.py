"""The contract of a store's backing and the laws of the store: subclass in a test file, and pytest finds the tests.

```python
class TestMyBacking(StorageContract):
    def storage(self, folder): return MyStorage(folder)
```

Real processes take part: two that want the same name, and many that are killed (SIGKILL) before a file operation.
"""

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
from milepost.store._storage import FolderStorage, Storage
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store
from milepost.testing._refusals import refused

KEY = "0123456789abcdef0123456789abcdef"
ROWS = 1000
_EVENTS = {"open", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.rename", "os.listdir", "os.utime"}
_CUTS = (0, 256, 512, 768, ROWS)


class StorageContract:
    """The laws of the four operations."""

    def storage(self, folder: Path) -> Storage:
        """Return the backing under test on an empty folder; another call on the same folder sees the same objects."""
        return FolderStorage(folder)

    def test_first_put_wins_and_stays(self, tmp_path: Path) -> None:
        """A taken name is refused, and what was there is unchanged."""
        storage = self.storage(tmp_path)
        assert storage.put("a/b.json", b"first")
        assert not storage.put("a/b.json", b"second")
        assert storage.get("a/b.json").read_bytes() == b"first"
        assert self.storage(tmp_path).get("a/b.json").read_bytes() == b"first"

    def test_put_takes_a_function_that_writes(self, tmp_path: Path) -> None:
        """Large objects are streamed."""
        storage = self.storage(tmp_path)
        assert storage.put("big", lambda stream: stream.writelines([b"ab", b"cd"]))
        assert storage.get("big").read_bytes() == b"abcd"

    def test_failed_writer_leaves_nothing(self, tmp_path: Path) -> None:
        """An error while writing leaves the name free and no rubbish."""
        storage = self.storage(tmp_path)

        def broken(stream: Any) -> None:
            stream.write(b"half")
            raise RuntimeError("no room")

        with refused(RuntimeError, "the writer's error was swallowed"):
            storage.put("a/b", broken)
        assert storage.list("a") == []
        assert not temporaries(tmp_path)
        assert storage.put("a/b", b"whole")

    def test_list_and_delete(self, tmp_path: Path) -> None:
        """Listings are sorted and hold direct children; deleting twice is no error; empty folders are gone."""
        storage = self.storage(tmp_path)
        for name in ("f/b", "f/a", "f/sub/c", "top"):
            storage.put(name, b"1")
        assert storage.list("f") == ["a", "b", "sub"]
        assert storage.list("nowhere") == []
        for _ in range(2):
            storage.delete("f/sub/c")
        assert storage.list("f") == ["a", "b"]
        with refused(FileNotFoundError, "a deleted object was found"):
            storage.get("f/sub/c")

    def test_one_winner_of_two_processes(self, tmp_path: Path) -> None:
        """Two processes want the same 50 names: each name has one winner, and holds that winner's content."""
        won = [json.loads(text) for text in _side_by_side(*(f"rival({str(tmp_path)!r}, {which})" for which in (0, 1)))]
        assert sorted(won[0] + won[1]) == list(range(50))
        for which, numbers in enumerate(won):
            for number in numbers:
                assert self.storage(tmp_path).get(f"race/{number}").read_bytes() == f"{which}:{number}".encode()


class StoreContract:
    """The laws of the store: kills, overlaps, order of arrival."""

    def test_a_kill_before_any_file_operation_leaves_a_sound_store(self, tmp_path: Path) -> None:
        """Killed before one operation after another: it opens, nothing is half, a sweep and a second run mend it."""
        calm = tmp_path / "calm"
        churn(calm)
        left = 0
        for point in killed_runs(tmp_path):
            folder = tmp_path / str(point)
            check_whole(folder)
            left += len(temporaries(folder))
            if (folder / "store.json").exists():
                Store.open(folder).sweep()
                assert not temporaries(folder), f"kill before operation {point}"
            churn(folder)
            Store.open(folder).sweep()
            assert contents(folder) == contents(calm), f"kill before operation {point}"
        assert left, "no kill fell between writing and naming: the test has lost its teeth"

    def test_two_processes_at_once_leave_what_one_leaves(self, tmp_path: Path) -> None:
        """Both do all the work, side by side: no double record, nothing half, the same bytes."""
        churn(tmp_path / "calm")
        _side_by_side(*[f"churn(Path({str(tmp_path / 'both')!r}))"] * 2)
        Store.open(tmp_path / "both").sweep()
        assert contents(tmp_path / "both") == contents(tmp_path / "calm")

    def test_any_order_and_overlap_seal_to_the_same_bytes(self, tmp_path: Path) -> None:
        """Parts of two processes, overlapping, in any order: the seal has the same bytes."""
        bounds = [(0, 300), (300, 1000), (0, 512), (512, 768), (768, 1000), (200, 600)]
        sealed = []
        for seed in range(4):
            store = Store.create(tmp_path / str(seed))
            parts = store.evaluation(KEY).parts("kept")
            for index in np.random.default_rng(seed).permutation(len(bounds)):
                parts.publish(made_part(*bounds[index]))
            assert parts.seal(ROWS)
            assert parts.seal(ROWS)
            sealed.append(contents(tmp_path / str(seed))[f"evaluations/{KEY[0]}/{KEY}/columns.kept.npz"])
        assert len(set(sealed)) == 1


def _side_by_side(*calls: str) -> list[str]:
    """Call functions of this module in processes that begin together; return what they print."""
    code = "import sys; from milepost.testing.stores import *; print('ready', flush=True); sys.stdin.readline(); "
    children = [
        subprocess.Popen([sys.executable, "-c", code + call], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for call in calls
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    printed = [child.communicate()[0] for child in children]
    assert not any(child.returncode for child in children), "a process failed: what it wrote stands above"
    return printed


def rival(folder: str, which: int) -> None:
    """Put 50 names against another process; print the numbers that were won."""
    storage = FolderStorage(folder)
    numbers = range(50) if which else reversed(range(50))
    won = [number for number in numbers if storage.put(f"race/{number}", f"{which}:{number}".encode())]
    sys.stdout.write(json.dumps(won))


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
    code = f"from milepost.testing.stores import nursery; nursery({str(folder)!r}, {points})"
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


def temporaries(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return [str(path) for path in folder.rglob(f"{PREFIX}*")]


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
