"""A root of its own, entered by real processes: as the superuser, and as a user who has no rights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = """
import ctypes, json, os, sys
base, who = sys.argv[1:3]
import milepost.sandbox.namespaces as namespaces
from milepost.sandbox import confine
places = confine.python_places()
library = ctypes.CDLL(None, use_errno=True)
if who == "nobody":  # and what could still be imported is not needed
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    library.prctl(4, 1, 0, 0, 0)  # a process that changed its user may not write its own maps of users
library.prctl(1, 9, 0, 0, 0)
os.chdir(os.path.join(base, "work"))
if who == "broken":
    namespaces._fill = lambda *_: open(base + "/nothing")
try:
    named = [base + "/link", base + "/files/one", base + "/gone/x"]
    namespaces.enter(named, places, [base + "/spool"], confine._capabilities_now(), 6)
    entered = ""
except OSError as error:
    entered = error.strerror

def attempt(work):
    try:
        return work()
    except OSError as error:
        return type(error).__name__

leash = ctypes.c_int()
library.prctl(2, ctypes.byref(leash), 0, 0, 0)
first = {
    "entered": entered,
    "here": os.getcwd(),
    "leash": leash.value,
    "root": attempt(lambda: sorted(os.listdir(base))),
    "foreign": attempt(lambda: os.stat(base + "/outside").st_size),
    "passwords": attempt(lambda: os.stat("/etc/passwd").st_size > 0),
    "processes": attempt(lambda: os.listdir("/proc") != []),
    "inside": attempt(lambda: os.listdir(base + "/link")),
    "within by another name": attempt(lambda: open(base + "/link/absolute").read()),
    "make inside": attempt(lambda: open(base + "/link/new", "w").close()),
    "write the spool": attempt(lambda: open(base + "/spool/room", "r+").write("12")),
}
print(json.dumps(first), flush=True)
sys.stdin.readline()
print(json.dumps([attempt(lambda: open(base + "/" + path).read()) for path in ("link/later", "files/one")]))
"""


def entered(base: Path, who: str) -> tuple[dict[str, Any], list[str]]:
    """Return what a process in a root of its own sees, and what it sees after files were added and replaced."""
    for name in ("real", "files", "spool", "work"):
        (base / name).mkdir()
    for name in ("real/file", "files/one", "files/two", "outside", "spool/room"):
        (base / name).write_text("first")
    (base / "link").symlink_to("real")
    (base / "name").symlink_to(base / "real")  # another name of the same folder, by which a link within it goes
    (base / "real/absolute").symlink_to(base / "name/file")
    (base / "spool/room").chmod(0o666)
    for folder in (base, *base.parents):
        if os.geteuid() == folder.stat().st_uid and folder.is_relative_to("/tmp"):  # noqa: S108 - pytest's own folders
            folder.chmod(folder.stat().st_mode | 0o755)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, str(base), who],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        (base / "real/later").write_text("later")
        (base / "files/new").write_text("second")
        (base / "files/new").replace(base / "files/one")
        process.stdin.write("\n")
        process.stdin.flush()
        second = json.loads(process.stdout.readline())
    if who != "broken" and first["entered"]:
        pytest.skip(f"no namespaces for us here: {first['entered']}")
    return first, second


@pytest.mark.parametrize("who", ["itself", "nobody"])
def test_a_process_sees_what_was_named_and_nothing_else(who: str, tmp_path: Path) -> None:
    if who == "nobody" and os.geteuid():
        pytest.skip("only the superuser can become another user")
    first, second = entered(tmp_path, who)
    assert first["here"] == str(tmp_path / "work")
    assert first["leash"] == 9
    assert first["root"] == ["files", "link", "name", "real", "spool", "work"]
    assert first["foreign"] == first["passwords"] == first["processes"] == "FileNotFoundError"
    assert sorted(first["inside"]) == ["absolute", "file"]
    assert first["within by another name"] == "first"
    assert first["make inside"] in ("OSError", "PermissionError")
    assert first["write the spool"] == 2
    assert (tmp_path / "spool/room").read_text() == "12rst"
    assert second == ["later", "second"]  # what appears, and what is replaced, is seen


def test_where_a_step_fails_all_is_as_it_was(tmp_path: Path) -> None:
    first, second = entered(tmp_path, "broken")
    assert first["entered"]
    assert first["here"] == str(tmp_path / "work")
    assert first["foreign"] == 5
    assert first["passwords"] is first["processes"] is True
    assert second == ["later", "second"]
