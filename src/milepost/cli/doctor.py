"""Check what works here: Python, extras, the reader's sandbox, and the file systems of the store and of checkpoints.

Nothing is changed; in the store's folder a file and a link are tried and removed.  The exit code is 1 where something
that was asked for does not work: a store that cannot be written, a folder that cannot be read, a sandbox that leaks.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import stat
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from shutil import disk_usage

from milepost.cli import _disk_space
from milepost.cli._arguments import STORE, add_shared, path_of
from milepost.cli._output import json_lines
from milepost.cli._streams import to_stdout
from milepost.core.escaping import escaped
from milepost.report._numbers import size
from milepost.sandbox import confine, limits
from milepost.sandbox.selftest import try_out

_ALLOWED = ("read a checkpoint", "write into the spool")
_LITTLE = 1 << 30
_UNGUARDED = "without it, read only checkpoints of people whom you trust"
_LEAK = "please report it, with this output"
_MISSING = "see the measures that are missing above"
_SEEN = "the reader could ask for sizes of foreign files and where links lead (stat, readlink), not for their content"
_ASKED = "ask for a foreign file's size"
_REQUIREMENT = re.compile(r"""^([\w.-]+)[^;]*;\s*extra\s*==\s*["']([\w-]+)["']""")


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: `state` is ok, warning or failed; `advice` says what to do, "" where nothing is to be done."""

    check: str
    state: str
    message: str
    advice: str = ""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoints", metavar="CKPTS", nargs="*", type=path_of, help="folders of checkpoints to look at"
    )
    parser.add_argument(
        "--store", metavar="DIR", help=f"the store to look at (default: ./{STORE}, which may be absent)"
    )
    add_shared(parser, "json")


def execute(args: argparse.Namespace) -> int:
    failed = False
    with json_lines() if args.json else nullcontext() as out:
        for line in _examined(args):
            failed |= line.state == "failed"
            if out:
                out.write({"event": "doctor", **asdict(line)})
                continue
            advice = [f"{'':<8} -> {line.advice}"] if line.advice else []
            to_stdout([f"{line.state:<8} {line.check}: {line.message}", *advice])
    return int(failed)


def _examined(args: argparse.Namespace) -> Iterator[Line]:
    yield from _machine()
    yield from _extras()
    yield from _sandbox()
    yield from _store(args.store or STORE, asked=args.store is not None)
    for path in args.checkpoints:
        yield from _folder(path, _disk_space.existing(args.store or STORE))


def _machine() -> Iterator[Line]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Line("python", "ok", f"{version} ({sys.executable})")
    yield Line("platform", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Line("milepost", "ok", importlib.metadata.version("milepost"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Line("processors", "ok", str(cores))
    yield Line("memory", "ok", size(limits.memory()))
    spool = tempfile.gettempdir()
    left = disk_usage(spool).free
    advice = "set TMPDIR to a folder with more: compressed checkpoints are unpacked there" if left < _LITTLE else ""
    yield Line("temporary folder", "warning" if advice else "ok", f"{spool}: {size(left)} free", advice)


def _extras() -> Iterator[Line]:
    """Yield each extra with the versions of its packages, or the line that installs it."""
    needed = defaultdict[str, list[str]](list)
    for text in importlib.metadata.requires("milepost") or []:
        match = _REQUIREMENT.match(text)
        if match and match[2] != "dev":
            needed[match[2]].append(match[1])
    for extra, packages in sorted(needed.items()):
        versions = {package: _version(package) for package in packages}
        installed = ", ".join(f"{package} {version}" for package, version in versions.items())
        advice = f"if you need it: pip install 'milepost[{extra}]'" if None in versions.values() else ""
        yield Line(f"extra {extra}", "ok", "not installed" if advice else installed, advice)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Another build of the same package, such as tensorflow-cpu for tensorflow.
        others = importlib.metadata.packages_distributions().get(package.replace("-", "_"), [])
        return importlib.metadata.version(others[0]) if others else None


def _sandbox() -> Iterator[Line]:
    """Yield what holds in a process that confined itself just now, and what it could still do."""
    try:
        report = try_out()
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        advice = f"as a last resort, {confine.SWITCH}=off reads checkpoints without it"
        yield Line("sandbox", "failed", f"a process that confines itself could not be tried: {error}", advice)
        return
    inactive = {measure["name"] for measure in report["measures"] if not measure["active"]}
    for measure in report["measures"]:
        lesser = _SEEN if measure["name"] in confine.OPTIONAL else _UNGUARDED
        state, advice = ("ok", "") if measure["active"] else ("warning", lesser)
        yield Line(f"sandbox {measure['name']}", state, measure["detail"], advice)
    for what, how in report["tried"].items():
        allowed, worked = what in _ALLOWED, how == "done"
        if worked == allowed:
            yield Line("sandbox trial", "ok", f"to {what}: {'works' if allowed else 'refused'}")
            continue
        expected = inactive if what == _ASKED else inactive - confine.OPTIONAL
        state, advice = ("warning", _MISSING) if expected and not allowed else ("failed", _LEAK)
        yield Line("sandbox trial", state, f"to {what}: {'refused' if allowed else 'NOT refused'}", advice)


def _store(path: str, *, asked: bool) -> Iterator[Line]:
    place = _disk_space.existing(path)
    there = "" if os.path.exists(path) else f", not there yet; looked at {escaped(place)}"
    broken = "failed" if asked else "warning"
    if not os.path.isdir(place):
        yield Line("store", broken, f"{escaped(path)}: not a folder", "name another with --store")
        return
    trouble, left = _disk_space.trouble_with_links(place), disk_usage(place).free
    about = f"{escaped(path)}{there}: {_disk_space.kind_of(place) or 'file system unknown'}, {size(left)} free"
    if not os.access(place, os.W_OK | os.X_OK):
        yield Line("store", broken, f"{about}; cannot be written", "name another with --store")
    elif trouble:
        advice = "files are put by exclusive creation instead; checkpoints cannot be pinned against deletion"
        yield Line("store", "warning", f"{about}; hard links do not work: {trouble}", advice)
    else:
        little = left < _LITTLE
        advice = "make room: less than 1 GiB is left" if little else ""
        yield Line("store", "warning" if little else "ok", f"{about}; hard links work", advice)


def _folder(path: str, store: str) -> Iterator[Line]:
    check = f"checkpoints {escaped(path)}"
    if not os.path.exists(path):
        yield Line(check, "failed", "no such file or folder", "name what training writes, or its folder")
        return
    if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        yield Line(check, "failed", "cannot be read by this user", "as the owner: chmod g+rX (or a+rX)")
        return
    status = os.stat(path)
    kind = _disk_space.kind_of(path) or "file system unknown"
    yield Line(check, "ok", f"readable; {kind}, {size(disk_usage(path).free)} free")
    if status.st_dev == os.stat(store).st_dev:
        yield Line(check, "ok", "on the store's file system: waiting checkpoints can be pinned by hard link")
    else:
        advice = "have training keep more checkpoints, or put the store (--store) on the same file system"
        yield Line(check, "warning", "not on the store's file system: a deleted checkpoint is lost", advice)
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        yield Line(check, "warning", f"anybody may write here (owner uid {status.st_uid})", "chmod o-w")
