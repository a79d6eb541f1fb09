"""Every kind of mischief that was thought of, tried in a process that really locked itself in, beside real victims."""

import ctypes
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost.sandbox import landlock, seccomp

TRIES = Path(__file__).with_name("_tries.py")
KEY = 0x6D6C7054
ALLOWED = {"read a checkpoint", "write into the spool's file", "ask for its own limits"}
SEEN = {"see a foreign file's size", "see where a foreign link leads"}
REFUSALS = {"EPERM", "EACCES", "ENOSYS", "ENOTTY", "RuntimeError", "ValueError"}
ELSEWHERE = {"ENOENT", "EROFS", "EXDEV"}  # in a root of its own a process has no such place, or may not change it

pytestmark = pytest.mark.skipif(
    not landlock.abi() or seccomp.lacking() is not None, reason="this kernel lacks Landlock or seccomp"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("inside", "spool"):
        (tmp_path / name).mkdir()
    for name in ("inside/file", "spool/room", "outside"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "link").symlink_to("outside")
    return tmp_path


@pytest.fixture
def segment() -> Iterator[int]:
    """Return the number of a shared segment of another process's, removed at the end if it is still there."""
    library = ctypes.CDLL(None, use_errno=True)
    number = library.shmget(KEY, 4096, 0o1600)
    yield number
    if number >= 0:
        library.shmctl(number, 0, None)


@pytest.fixture
def victim() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")
        assert process.returncode == 0


def test_nothing_but_what_a_reader_needs_is_allowed(
    place: Path, segment: int, victim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(place)  # a socket's path is short
        listening.bind("socket")
        listening.listen()
        done = subprocess.run(
            [sys.executable, "-P", str(TRIES), str(place), str(victim), str(KEY)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    lines: dict[str, Any] = dict(map(json.loads, done.stdout.splitlines()))
    active = lines.pop("")
    assert {"limits", "landlock", "seccomp"} <= set(active)
    assert {name for name, how in lines.items() if how == "done"} - SEEN == ALLOWED
    seen = {name for name in SEEN if lines.pop(name) == "done"}
    assert seen == (set() if "namespaces" in active else SEEN)
    odd = {name: how for name, how in lines.items() if name not in ALLOWED and how not in REFUSALS | ELSEWHERE}
    assert not odd
    assert (place / "inside/file").read_text() == (place / "outside").read_text() == "secret"
    assert {item.name for item in (place / "spool").iterdir()} == {"room"}
