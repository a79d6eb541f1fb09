"""The contract of a store's backing: subclass it in a test file, and pytest finds the tests.

```python
class TestMyBacking(StorageContract):
    def storage(self, folder): return MyStorage(folder)
```

Real processes take part: two that want the same name.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from milepost._internal.atomic import PREFIX
from milepost.store._storage import FolderStorage, Storage
from milepost.testing._refusals import refused


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
        rivals = [f"rival({str(tmp_path)!r}, {which})" for which in (0, 1)]
        won = [json.loads(text) for text in side_by_side(__name__, *rivals)]
        assert sorted(won[0] + won[1]) == list(range(50))
        for which, numbers in enumerate(won):
            for number in numbers:
                assert self.storage(tmp_path).get(f"race/{number}").read_bytes() == f"{which}:{number}".encode()


def side_by_side(module: str, *calls: str) -> list[str]:
    """Call functions of a module in processes that begin together; return what they print."""
    code = f"import sys; from {module} import *; print('ready', flush=True); sys.stdin.readline(); "
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


def temporaries(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return [str(path) for path in folder.rglob(f"{PREFIX}*")]
