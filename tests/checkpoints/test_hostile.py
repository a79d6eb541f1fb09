"""Hostile files before the confined reader: only rows, nothing run or read outside, memory bounded; and fuzzing."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests._material import ENVIRONMENT
from tests.checkpoints import hostile
from tests.sixty import good
from tests.sixty.good import GOOD

from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader
from milepost.errors import CheckpointError
from milepost.sandbox import confine, landlock, seccomp

BAD = 84
# What only a model can tell: names, shapes, values, and that just the tensor that it needs cannot be read.
FOR_A_MODEL = {"other.pt", "transposed.npz", "two.pt", "diverged.safetensors", "needed.pt", "objects.npz"}
FOR_A_USER = {"locked.pt"}  # the superuser may read it

READ = """
import json, sys
from milepost.engines._process.confined_reader import ConfinedReader
from milepost.errors import CheckpointError

spool, *paths = sys.argv[1:]
reader, reported = ConfinedReader("milepost.checkpoints.reader", 60.0, spool, paths), {}
for found in reader.discover(paths, None):
    try:
        reader.table(found, spool)
        reported[found.path] = None
    except CheckpointError as error:
        reported[found.path] = [error.kind, str(error)]
status = dict(line.split(":", 1) for line in open(f"/proc/{reader._child.pid}/status"))
print(json.dumps({"reported": reported, "peak": int(status["VmHWM"].split()[0]), "pid": reader._child.pid}))
reader.close()
"""
OPENED = re.compile(r'^(\d+) +openat?\((?:AT_FDCWD, )?"([^"]*)".* = \d+$')

confined = pytest.mark.skipif(
    not landlock.abi() or seccomp.lacking() is not None, reason="this kernel lacks a part of the sandbox"
)


def traced() -> bool:
    """Return whether strace is here and may trace."""
    try:
        done = subprocess.run(["strace", "-f", "-e", "trace=none", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def folder_of(place: Path, bad: int) -> tuple[Path, Path]:
    """Make a folder of the twenty good files and some bad ones; return it and what any payload would leave."""
    runs, marker = place / "runs", place / "executed"
    runs.mkdir(parents=True)
    good.make(runs, marker)
    if bad:
        hostile.make(runs, marker, bad)
    return runs, marker


def state_of(folder: Path) -> dict[str, object]:
    """Return what would change if anything in a folder did."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        regular = path.is_file() and not path.is_symlink()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if regular and os.access(path, os.R_OK) else None
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def read(place: Path, runs: Path, *before: str) -> dict[str, object]:
    """Read a folder with the confined reader in processes of their own."""
    (place / "spool").mkdir(exist_ok=True)
    command = [*before, sys.executable, "-c", READ, str(place / "spool"), str(runs), str(runs / "last.pt")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@confined
def test_eighty_hostile_files_among_twenty_good_ones(tmp_path: Path) -> None:
    runs, marker = folder_of(tmp_path / "mixed", BAD)
    clean, _ = folder_of(tmp_path / "clean", 0)
    before = state_of(tmp_path / "mixed")
    log = tmp_path / "trace"
    calls = "openat,open,execve,execveat,clone,fork,vfork,clone3,socket,connect,landlock_restrict_self"
    strace = ["strace", "-f", "-o", str(log), "-e", f"trace={calls}"] if traced() else []
    found = read(tmp_path, runs, *strace)
    reported = {os.path.basename(path): row for path, row in dict(found["reported"]).items()}  # type: ignore[call-overload]
    names = {path.name for path in runs.iterdir() if ".data-0" not in path.name}  # parts of those beside them
    assert reported.keys() == names
    assert {name for name, row in reported.items() if row is None} - {one.file for one in GOOD} <= {
        name for name in names if name in FOR_A_MODEL | FOR_A_USER or name.endswith(("needed.ckpt", "objects.npz"))
    }
    assert all(reported[one.file] is None for one in GOOD)
    assert not marker.exists()
    assert state_of(tmp_path / "mixed") == before
    usual = read(tmp_path, clean)
    assert int(str(found["peak"])) <= 1.3 * int(str(usual["peak"]))
    if strace:
        _check_trace(log.read_text(), int(str(found["pid"])), [runs, tmp_path / "spool"])


def _check_trace(log: str, pid: int, places: list[Path]) -> None:
    """Check what the reader did once it was locked in: no program, no process, no socket, no foreign file."""
    lines = [line for line in log.splitlines() if line.startswith(f"{pid} ")]
    begin = next(number for number, line in enumerate(lines) if "landlock_restrict_self" in line)
    allowed = [os.path.realpath(str(place)) for place in (*places, *confine.python_places())]
    allowed.append(os.path.realpath(places[0].parent / "elsewhere"))  # where the link leads that was named
    opened = 0
    for line in lines[begin + 1 :]:
        assert "exec" not in line.partition("(")[0], line
        assert not line.split()[1].startswith(("socket", "connect", "fork", "vfork")), line
        assert "clone" not in line.split()[1] or "CLONE_THREAD" in line or " = -1 " in line, line
        match = OPENED.match(line)
        if match:
            real = os.path.realpath(match[2])
            assert any(real == place or real.startswith(place + os.sep) for place in allowed), line
            opened += real.startswith(allowed[0])
    assert opened > BAD


def test_the_traps_are_live(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for call in hostile.calls(marker):
        made = pickle.loads(pickle.dumps(call))
        if hasattr(made, "close"):
            made.close()
        assert marker.exists(), call.call
        marker.unlink()


# -------------------------------------------------------------------------------------------------------------- fuzzing

PLACES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("name", list(hostile.WHOLE))
@settings(max_examples=40)
@given(
    changes=PLACES, region=st.sampled_from(["head", "tail", "all"]), left=st.floats(0.5, 1), more=st.binary(max_size=9)
)
def test_a_changed_file_is_read_or_is_a_row_and_nothing_else(
    name: str, changes: list[tuple[float, int]], region: str, left: float, more: bytes
) -> None:
    whole = bytearray(hostile.WHOLE[name])
    window = min(len(whole), 700)
    begin = len(whole) - window if region == "tail" else 0
    reach = len(whole) if region == "all" else window
    for place, turned in changes:
        whole[begin + int(place * reach)] ^= turned
    made = bytes(whole[: int(len(whole) * left)] if left < 0.9 else whole) + more
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(made)
        refusals: list[tuple[str, str]] = []
        for found in Reader().discover([folder]):
            try:
                table = Reader().table(found, folder)
            except CheckpointError as error:
                refusals.append((error.kind, str(error)))
                continue
            for tensor in table.tensors:
                try:
                    held = map_tensor(tensor)
                except CheckpointError:
                    continue
                assert held.nbytes <= 64 << 20
                assert os.path.dirname(tensor.where.file) == folder
        assert {kind for kind, _ in refusals} <= {"torn", "corrupt", "unsafe", "unsupported", "program"}
        assert all(message.startswith(str(path)) for _, message in refusals), refusals
        assert path.read_bytes() == made
