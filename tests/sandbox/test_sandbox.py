"""The sandbox, tried in processes that really lock themselves in; and the reader of the local engine under it."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milepost.sandbox import confine, landlock, seccomp, syscalls

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
needs_tcp = pytest.mark.skipif(landlock.abi() < landlock.TCP_SINCE, reason="this kernel's Landlock knows no TCP")
needs_seccomp = pytest.mark.skipif(seccomp.lacking() is not None, reason=f"no seccomp: {seccomp.lacking()}")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

CHILD = """
import errno, json, mmap, os, resource, signal, socket, subprocess, sys, threading
from milepost.sandbox import confine, landlock, seccomp
inside, spool, outside, only = sys.argv[1:5]
if only == "landlock":
    seccomp.no_new_privs()
    landlock.restrict([inside, *confine.python_places()], [spool], landlock.abi())
elif only == "seccomp":
    seccomp.no_new_privs()
    seccomp.restrict()
else:
    confine.confine([inside], [spool])
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
    except (MemoryError, ValueError, RuntimeError) as error:
        return type(error).__name__
    return "done"

def connect():
    with socket.socket() as tried:
        tried.connect(("127.0.0.1", 9))

def write(path):
    with open(path, "r+") as file:
        file.write("x")

def make(path):
    with open(path, "w") as file:
        file.write("x")

def large():
    with open(spool + "/room", "r+b") as file:
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
    "make inside": lambda: make(inside + "/new"),
    "overwrite inside": lambda: write(inside + "/file"),
    "delete inside": lambda: os.unlink(inside + "/file"),
    "rename inside": lambda: os.rename(inside + "/file", inside + "/other"),
    "link inside": lambda: os.link(inside + "/file", inside + "/other"),
    "symlink inside": lambda: os.symlink("/", inside + "/other"),
    "folder inside": lambda: os.mkdir(inside + "/other"),
    "truncate inside": lambda: os.truncate(inside + "/file", 0),
    "write outside": lambda: write(outside),
    "write spool": lambda: write(spool + "/room"),
    "make in spool": lambda: make(spool + "/new"),
    "folder in spool": lambda: os.mkdir(spool + "/new"),
    "link into spool": lambda: os.link(inside + "/file", spool + "/new"),
    "delete spool": lambda: os.unlink(spool + "/room"),
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
    **dict.fromkeys(("read inside", "list inside", "write spool"), "done"),
    **dict.fromkeys(("read outside", "read passwords", "read through a link", "read in a thread"), "EACCES"),
    **dict.fromkeys(("list outside", "make inside", "overwrite inside", "delete inside", "rename inside"), "EACCES"),
    **dict.fromkeys(("link inside", "symlink inside", "folder inside", "write outside"), "EACCES"),
    **dict.fromkeys(("make in spool", "folder in spool", "link into spool", "delete spool"), "EACCES"),
}
FILTERED = {
    **dict.fromkeys(("chmod inside", "times inside", "attribute inside", "connect", "unix socket", "fork"), "EPERM"),
    **dict.fromkeys(("spawn", "run", "exec", "signal to others", "make inside", "make in spool"), "EPERM"),
    **dict.fromkeys(("signal to itself", "read inside", "write spool"), "done"),
    "thread": "RuntimeError",
}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return a folder to read, a folder to write, and a file outside of both."""
    inside, spool, outside = tmp_path / "inside", tmp_path / "spool", tmp_path / "outside"
    inside.mkdir()
    spool.mkdir()
    (inside / "file").write_text("data")
    (spool / "room").touch()
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
    expected = {**LANDLOCKED, **FILTERED, "read in a thread": "RuntimeError"}
    elsewhere = {"ENOENT", "EROFS", "EXDEV"}  # in a root of its own a process has no such place, or may not change it
    odd = {name: found[name] for name, how in expected.items() if found[name] != how}
    assert not {name: how for name, how in odd.items() if expected[name] != "EACCES" or how not in elsewhere}
    assert (found["memory"], found["large file"]) == ("ENOMEM", "EFBIG")
    assert found["raise limits"] in ("EPERM", "ValueError")
    assert "done" not in (found["truncate inside"], found["raise limits"])


@needs_linux
def test_limits_hold_where_the_kernel_has_nothing_else(places: tuple[Path, Path, Path]) -> None:
    child = "from milepost.sandbox import landlock, seccomp\nlandlock.abi = int\nseccomp.lacking = lambda: 'none'\n"
    child += "from milepost.sandbox import namespaces\nnamespaces.enter = lambda *_: int('none')\n"
    done = subprocess.run(
        [sys.executable, "-c", child + CHILD, *map(str, places), "all", "memory", "read outside"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(json.loads(line) for line in done.stdout.splitlines()) == {"memory": "ENOMEM", "read outside": "done"}


CONFINE = """
import json, sys
from dataclasses import asdict
from milepost.sandbox import confine, landlock
{}
print(json.dumps([asdict(measure) for measure in confine.confine([sys.argv[1]], [sys.argv[2]])]))
"""


def reported(places: tuple[Path, Path, Path], before: str = "", **env: str) -> dict[str, Any]:
    command = [sys.executable, "-c", CONFINE.format(before), *map(str, places)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return {each["name"]: each for each in json.loads(done.stdout)}


def lacking(measures: dict[str, Any]) -> str | None:
    return confine.lacking(confine.Measure(**item) for item in measures.values())


@needs_landlock
@needs_seccomp
def test_what_holds_is_reported_and_what_does_not_with_why(places: tuple[Path, Path, Path]) -> None:
    measures = reported(places)
    assert tuple(measures) == confine.MEASURES
    assert all(each["active"] for each in measures.values())
    assert f"ABI {landlock.abi()}" in measures["landlock"]["detail"]
    assert lacking(measures) is None
    measures = reported(places, "landlock.abi = lambda: 0")
    assert not measures["landlock"]["active"]
    assert measures["seccomp"]["active"]
    assert "the kernel has none (Linux 5.13 or later)" in (lacking(measures) or "")
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
    named = syscalls.REFUSED[machine] | syscalls.JUDGED[machine]
    newer = {name for name, number in named.items() if number > max(known.values())}
    assert {name: number for name, number in named.items() if name not in newer} == {
        name: known[name] for name in named if name not in newer
    }
    assert {named[name] for name in newer} <= set(range(451, 472))  # both machines give new calls the same numbers


ALLOWED, EPERM, ENOSYS, ENOTTY = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050019
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the filter as the kernel would (Documentation/networking/filter.rst) for a process of number 4711."""
    steps = seccomp.program(machine, 4711)
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *padded)
    place, held = 0, 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, value)
            case 0x06:
                return value
            case 0x15:
                place += if_true if held == value else if_false
            case 0x35:
                place += if_true if held >= value else if_false
            case 0x54:
                held &= value
            case 0x45:
                place += if_true if held & value else if_false
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_either_machine_decides_as_it_should(machine: str) -> None:
    for name, number in syscalls.REFUSED[machine].items():
        assert verdict(machine, number, 4711) == (ENOSYS if name in {"clone3", "openat2"} else EPERM), name
    assert verdict(machine, {"x86_64": 0, "aarch64": 63}[machine], 3, 1 << 40, 10) == ALLOWED  # read
    for call, arguments, expected in (
        ("kill", (4711, 9), ALLOWED),
        ("kill", (1, 9), EPERM),
        ("kill", (2**32 - 1,), EPERM),
        ("tgkill", (4711, 1, 6), ALLOWED),
        ("tgkill", (4712, 1), EPERM),
        ("prlimit64", (0, 7, 0, 1 << 40), ALLOWED),
        ("prlimit64", (0, 7, 1 << 40), EPERM),
        ("prlimit64", (0, 7, 8), EPERM),
        ("prctl", (15, 1 << 40), ALLOWED),  # the name of a thread
        ("prctl", (1, 0), EPERM),
        ("prctl", (4, 1), EPERM),
        ("fcntl", (3, 1030, 0), ALLOWED),  # a copy of a descriptor
        ("fcntl", (3, 8, 1), EPERM),
        ("fcntl", (3, 6, 1 << 40), EPERM),
        ("ioctl", (3, 0x5401), ALLOWED),
        ("ioctl", (3, 0x40086602), ENOTTY),  # the flags of a file
        ("mmap", (0, 4096, 1 | 4, 2), ALLOWED),
        ("mmap", (0, 4096, 1 | 2, 2), ALLOWED),
        ("mmap", (0, 4096, 1 | 2 | 4, 2), EPERM),
        ("mprotect", (1 << 40, 4096, 1 | 2), ALLOWED),
        ("mprotect", (1 << 40, 4096, 1 | 4), EPERM),
        ("pkey_mprotect", (1 << 40, 4096, 4), EPERM),
        ("openat", (2**32 - 100, 1 << 40, os.O_RDWR | os.O_CLOEXEC), ALLOWED),
        ("openat", (2**32 - 100, 1 << 40, os.O_RDWR | os.O_CREAT), EPERM),
        ("openat", (2**32 - 100, 1 << 40, os.O_TRUNC), EPERM),
        ("openat", (2**32 - 100, 1 << 40, 0o20200002), EPERM),  # a file without a name
    ):
        assert verdict(machine, syscalls.JUDGED[machine][call], *arguments) == expected, (call, arguments)
    other = ARCHITECTURES["aarch64" if machine == "x86_64" else "x86_64"]
    assert verdict(machine, 0, architecture=other) == EPERM


def test_the_x32_calls_are_no_way_around() -> None:
    assert verdict("x86_64", 0x40000000 | 59) == verdict("x86_64", 0x40000000 | 520) == EPERM
