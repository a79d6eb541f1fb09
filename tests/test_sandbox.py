"""The sandbox, tried in processes that really lock themselves in; and the reader of the local engine under it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import CLASSES, ENVIRONMENT, FEATURES, command, lines_of

from milepost import _landlock, _seccomp, sandbox
from milepost.checkpoints._io import identity_of
from milepost.core import Job
from milepost.engines._confined import ConfinedReader, readable_of
from milepost.engines._places import Places, check_found, check_table
from milepost.errors import Corrupt, Crashed, UsageError
from milepost.plain import to_plain

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
needs_landlock = pytest.mark.skipif(not _landlock.abi(), reason="this kernel has no Landlock")
needs_tcp = pytest.mark.skipif(_landlock.abi() < _landlock.TCP_SINCE, reason="this kernel's Landlock knows no TCP")
needs_seccomp = pytest.mark.skipif(_seccomp.lacking() is not None, reason=f"no seccomp: {_seccomp.lacking()}")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

CHILD = """
import errno, json, mmap, os, resource, signal, socket, subprocess, sys, threading
from milepost import sandbox, _landlock, _seccomp
inside, spool, outside, only = sys.argv[1:5]
if only == "landlock":
    _seccomp.no_new_privs()
    _landlock.restrict([inside, *sandbox.python_places()], [spool], _landlock.abi())
elif only == "seccomp":
    _seccomp.no_new_privs()
    _seccomp.restrict()
else:
    sandbox.confine([inside], [spool])
limit = resource.getrlimit(resource.RLIMIT_AS)[0]

def in_thread(work):
    result = []
    def run():
        result.append(attempt(work))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]

def attempt(work):
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    except (MemoryError, ValueError) as error:
        return type(error).__name__
    return "done"

def connect():
    with socket.socket() as tried:
        tried.connect(("127.0.0.1", 9))

def write(path):
    with open(path, "w") as file:
        file.write("x")

def large():
    with open(spool + "/large", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, resource.getrlimit(resource.RLIMIT_FSIZE)[0] + 1)

def run():
    subprocess.run([sys.executable, "-c", ""], check=True)

def foreign_process():
    os.kill(os.getppid(), 0)

works = {
    "read inside": lambda: open(inside + "/file").read(),
    "list inside": lambda: os.listdir(inside),
    "read through a link": lambda: open(inside + "/link").read(),
    "read outside": lambda: open(outside).read(),
    "read passwords": lambda: open("/etc/passwd").read(),
    "read in a thread": lambda: {"EACCES": lambda: open("/"), "done": int}[in_thread(lambda: open(outside).read())](),
    "list outside": lambda: os.listdir("/"),
    "write inside": lambda: write(inside + "/new"),
    "overwrite inside": lambda: write(inside + "/file"),
    "delete inside": lambda: os.unlink(inside + "/file"),
    "rename inside": lambda: os.rename(inside + "/file", inside + "/other"),
    "link inside": lambda: os.link(inside + "/file", inside + "/other"),
    "symlink inside": lambda: os.symlink("/", inside + "/other"),
    "folder inside": lambda: os.mkdir(inside + "/other"),
    "truncate inside": lambda: os.truncate(inside + "/file", 0),
    "write outside": lambda: write(outside),
    "write spool": lambda: write(spool + "/new"),
    "delete spool": lambda: os.unlink(spool + "/new"),
    "chmod inside": lambda: os.chmod(inside + "/file", 0o777),
    "times inside": lambda: os.utime(inside + "/file"),
    "attribute inside": lambda: os.setxattr(inside + "/file", "user.x", b"1"),
    "connect": connect,
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "fork": lambda: os.fork() or os._exit(0),
    "spawn": lambda: os.posix_spawn(sys.executable, ["python", "-c", ""], {}),
    "run": run,
    "exec": lambda: os.execv(sys.executable, ["python", "-c", ""]),
    "signal to others": foreign_process,
    "signal to itself": lambda: os.kill(os.getpid(), 0),
    "thread": lambda: in_thread(lambda: None),
    "memory": lambda: mmap.mmap(-1, limit + 1) if limit > 0 else None,
    "large file": large,
    "raise limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16)),
}
for name in sys.argv[5:] or works:
    print(json.dumps([name, attempt(works[name])]), flush=True)
"""

LANDLOCKED = {
    **dict.fromkeys(("read inside", "list inside", "write spool", "delete spool"), "done"),
    **dict.fromkeys(("read outside", "read passwords", "read through a link", "read in a thread"), "EACCES"),
    **dict.fromkeys(("list outside", "write inside", "overwrite inside", "delete inside", "rename inside"), "EACCES"),
    **dict.fromkeys(("link inside", "symlink inside", "folder inside", "write outside"), "EACCES"),
}
FILTERED = {
    **dict.fromkeys(("chmod inside", "times inside", "attribute inside", "connect", "unix socket", "fork"), "EPERM"),
    **dict.fromkeys(("spawn", "run", "exec", "signal to others"), "EPERM"),
    **dict.fromkeys(("signal to itself", "thread", "read inside"), "done"),
}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return a folder to read, a folder to write, and a file outside of both."""
    inside, spool, outside = tmp_path / "inside", tmp_path / "spool", tmp_path / "outside"
    inside.mkdir()
    spool.mkdir()
    (inside / "file").write_text("data")
    outside.write_text("secret")
    (inside / "link").symlink_to(outside)
    return inside, spool, outside


def tried(places: tuple[Path, Path, Path], only: str, *names: str, **env: str) -> dict[str, str]:
    """Return how each attempt ended in a process that locked itself in."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, places), only, *names],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@needs_landlock
def test_landlock_alone_keeps_to_the_places(places: tuple[Path, Path, Path]) -> None:
    assert tried(places, "landlock", *LANDLOCKED) == LANDLOCKED
    assert (places[0] / "file").read_text() == "data"
    assert {path.name for path in places[0].iterdir()} == {"file", "link"}
    assert places[2].read_text() == "secret"


@needs_tcp
def test_landlock_alone_refuses_tcp(places: tuple[Path, Path, Path]) -> None:
    assert tried(places, "landlock", "connect", "unix socket") == {"connect": "EACCES", "unix socket": "done"}


@needs_seccomp
def test_seccomp_alone_refuses_programs_sockets_and_changed_modes(places: tuple[Path, Path, Path]) -> None:
    assert tried(places, "seccomp", *FILTERED) == FILTERED


@needs_landlock
@needs_seccomp
def test_everything_together(places: tuple[Path, Path, Path]) -> None:
    found = tried(places, "all")
    assert {name: found[name] for name in LANDLOCKED} == LANDLOCKED
    assert {name: found[name] for name in FILTERED} == FILTERED
    assert (found["memory"], found["large file"]) == ("ENOMEM", "EFBIG")
    assert found["raise limits"] in ("EPERM", "ValueError")
    assert "done" not in (found["truncate inside"], found["raise limits"])


@needs_linux
def test_limits_hold_where_the_kernel_has_nothing_else(places: tuple[Path, Path, Path]) -> None:
    child = "from milepost import _landlock, _seccomp\n_landlock.abi = lambda: 0\n_seccomp.lacking = lambda: 'none'\n"
    done = subprocess.run(
        [sys.executable, "-c", child + CHILD, *map(str, places), "all", "memory", "read outside"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(json.loads(line) for line in done.stdout.splitlines()) == {"memory": "ENOMEM", "read outside": "done"}


SEVERAL = f"""
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.frameworks.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.outcomes import Classification

evaluations = {{
    name: Evaluation(
        model=FunctionModel(lambda weights, inputs: inputs @ weights["w"] + weights["b"]),
        data={{"test": Arrays(np.ones((40, {FEATURES}), "f4"), np.zeros(40, int))}},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
    )
    for name in ("one", "two")
}}
"""
CONFINE = "import json, sys\nfrom milepost import _landlock, sandbox\n{}\nprint(json.dumps([part.plain() for part in \
sandbox.confine([sys.argv[1]], [sys.argv[2]])]))"


def reported(places: tuple[Path, Path, Path], before: str = "", **env: str) -> dict[str, Any]:
    command = [sys.executable, "-c", CONFINE.format(before), *map(str, places)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return {part["name"]: part for part in json.loads(done.stdout)}


@needs_landlock
@needs_seccomp
def test_what_holds_is_told_and_what_does_not_with_why(places: tuple[Path, Path, Path]) -> None:
    parts = reported(places)
    assert tuple(parts) == sandbox.PARTS
    assert all(part["active"] for part in parts.values())
    assert f"ABI {_landlock.abi()}" in parts["landlock"]["detail"]
    assert sandbox.lacking(parts.values()) is None
    parts = reported(places, "_landlock.abi = lambda: 0")
    assert not parts["landlock"]["active"]
    assert parts["seccomp"]["active"]
    assert "the kernel has none (Linux 5.13 or later)" in (sandbox.lacking(parts.values()) or "")
    running = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert "2 threads run already" in reported(places, running)["landlock"]["detail"]
    (only,) = reported(places, MILEPOST_SANDBOX="off").values()
    assert (only["active"], only["detail"]) == (False, "switched off by the environment variable MILEPOST_SANDBOX=off")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_those_of_the_kernel_s_headers(machine: str) -> None:
    if not HEADERS[machine].is_file():
        pytest.skip(f"{HEADERS[machine]} is not here")
    text = HEADERS[machine].read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    named = {
        **_seccomp.REFUSED[machine],
        **_seccomp._SIGNALS[machine],
        "seccomp": _seccomp._SECCOMP[machine],
        "clone": _seccomp._CLONE[machine],
        "clone3": _seccomp._CLONE3,
        "prlimit64": _seccomp._LIMITS[machine],
    }
    newer = {name for name, number in named.items() if number > max(known.values())}
    assert {name: number for name, number in named.items() if name not in newer} == {
        name: known[name] for name in named if name not in newer
    }
    assert newer <= {"fchmodat2", "setxattrat", "removexattrat", "file_setattr"}


# ----------------------------------------------------------------------------------------------- the reader, confined


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ConfinedReader]:
    """Return the reader of the local engine, with a spool of its own."""
    (tmp_path / "spool").mkdir()
    made = ConfinedReader("milepost.checkpoints.reader", 60.0, str(tmp_path / "spool"))
    yield made
    made.close()


def saved(path: Path, *, packed: bool = False) -> Path:
    path.parent.mkdir(exist_ok=True)
    (np.savez_compressed if packed else np.savez)(path, w=np.arange(6.0))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_good_checkpoint_is_read(packed: bool, reader: ConfinedReader, tmp_path: Path) -> None:
    path = saved(tmp_path / "run" / "step-1.npz", packed=packed)
    (found,) = reader.discover([str(path.parent)], None)
    table = reader.table(found, str(tmp_path / "spool"))
    where = table["tensors"][0]["where"]
    assert np.fromfile(where["file"], "<f8", 6, offset=where["offset"]).tolist() == [0, 1, 2, 3, 4, 5]
    assert [part["name"] for part in reader.sandbox()] == list(sandbox.PARTS)


def test_a_new_folder_or_a_replaced_one_gets_a_reader_that_may_read_it(reader: ConfinedReader, tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a" / "1.npz"), saved(tmp_path / "b" / "2.npz")
    assert len(reader.discover([str(first.parent)], None)) == 1
    child = reader._child
    assert reader.discover([str(first)], None)[0]["failure"] is None
    assert reader._child is child
    assert reader.discover([str(second.parent)], None)[0]["failure"] is None
    assert reader._child is not child
    child = reader._child
    (tmp_path / "b").rename(tmp_path / "old")
    saved(second)
    assert reader.discover([str(second.parent)], None)[0]["failure"] is None
    assert reader._child is not child
    assert len(reader.discover([str(first.parent), str(second.parent)], None)) == 2


def test_a_pinned_checkpoint_is_read_where_it_is_pinned(tmp_path: Path) -> None:
    path, pins = saved(tmp_path / "run" / "1.npz"), tmp_path / "store" / "pins"
    reader = ConfinedReader("milepost.checkpoints.reader", 60.0, str(tmp_path), [str(path.parent), str(pins)])
    try:
        (found,) = reader.discover([str(path)], None)
        child = reader._child
        for name in ("x", "y"):
            (pins / name).mkdir(parents=True)
            os.link(path, pins / name / "1.npz")
            link = str(pins / name / "1.npz")
            pinned = {**found, "path": link, "files": [link]}
            assert reader.table(pinned, str(tmp_path))["format"] == "npz"
            child, before = reader._child, child
        assert child is before  # the folder of pins came once
    finally:
        reader.close()


@needs_landlock
def test_a_link_out_of_the_folder_cannot_be_read_even_when_the_reader_tries(
    reader: ConfinedReader, tmp_path: Path
) -> None:
    path = saved(tmp_path / "run" / "step-1.npz")
    (found,) = reader.discover([str(path.parent)], None)
    path.unlink()
    path.symlink_to(saved(tmp_path / "elsewhere" / "w.npz"))
    with pytest.raises(Corrupt, match=r"elsewhere/w.npz, outside of what was named: the reader's sandbox refuses it"):
        reader.table({**found, "identity": to_plain(identity_of(str(path)))}, str(tmp_path / "spool"))
    (row,) = reader.discover([str(path.parent)], None)
    assert "outside of the folders that were named, was not followed" in row["failure"][1]
    (row,) = reader.discover([str(path)], None)
    assert "the reader's sandbox refuses it" in row["failure"][1]


def test_a_link_that_is_named_is_followed(reader: ConfinedReader, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "last.npz"
    link.symlink_to(saved(tmp_path / "elsewhere" / "w.npz"))
    (found,) = reader.discover([str(link)], None)
    assert found["failure"] is None
    assert reader.table(found, str(tmp_path / "spool"))["format"] == "npz"


def test_answers_that_point_elsewhere_are_not_believed() -> None:
    found = {"path": "/run/a.pt", "files": ["/run/a.pt"]}
    check_found([found], ["/run"])
    for other in ({"path": "/etc/passwd", "files": []}, {**found, "files": ["/run/../etc/passwd"]}):
        with pytest.raises(Crashed, match="which it was not asked for"):
            check_found([other], ["/run"])

    def table(file: str) -> dict[str, Any]:
        return {"tensors": [{"where": {"file": file}}]}

    check_table(table("/run/a.pt"), found, "/spool/1")
    check_table(table("/spool/1/w"), found, "/spool/1")
    for file in ("/etc/passwd", "/run/b.pt", "/spool/2/w"):
        with pytest.raises(Crashed, match="points at"):
            check_table(table(file), found, "/spool/1")


def test_a_found_place_is_never_a_reason_to_open_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evil.pt").symlink_to("/etc/passwd")
    places = Places(str(tmp_path), [str(tmp_path / "run")])
    assert not places.need_within([str(tmp_path / "run" / "evil.pt")])
    assert places.named == [str(tmp_path / "run")]


def test_readable_is_a_list_of_paths(tmp_path: Path) -> None:
    assert readable_of(Job("e.py", "evaluation", {"readable": ["/a"]})) == ["/a"]
    with pytest.raises(UsageError, match="should be a list of paths"):
        readable_of(Job("e.py", "evaluation", {"readable": "/a"}))


def test_many_places_are_looked_up_not_searched(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.npz") for number in range(3000)]
    for path in paths:
        Path(path).touch()
    places = Places(str(tmp_path / "spool"), paths)
    assert not places.need_within(paths)
    assert places.named == paths
    assert places.need([str(tmp_path)])
    assert not places.need_within([*paths, str(tmp_path / "later.npz")])


def test_a_run_tells_once_what_its_sandbox_lacks(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    np.savez(tmp_path / "runs" / "step-1.npz", w=np.zeros((FEATURES, CLASSES), "f4"), b=np.zeros(CLASSES, "f4"))
    (tmp_path / "ev.py").write_text(SEVERAL)
    words = ("run", "ev.py", "runs", "--json")
    done = command(*words, cwd=tmp_path, env={**ENVIRONMENT, "MILEPOST_SANDBOX": "off"})
    said = "sandbox (switched off by the environment variable MILEPOST_SANDBOX=off); `milepost doctor` tells more\n"
    assert done.stderr.count(f"checkpoints are read without the whole sandbox: {said}") == 1, done.stderr
    assert lines_of(done.stdout).done == (1, 0, 0)
