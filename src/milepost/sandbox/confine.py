"""A process locks itself in: no foreign reads, no writes, no network, no other programs, bounded memory.

Linux only, with ctypes only, and with no privilege.  Every measure that the kernel lacks is reported, with why, and the
others hold all the same; nothing here is ever silently absent.  What is decided, and why: docs/design/security.md.
"""

import ctypes
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from milepost.sandbox import landlock, limits, namespaces, seccomp

SWITCH = "MILEPOST_SANDBOX"
"""Environment variable: `off` switches the sandbox off, and every run says so."""

MEASURES = ("no_new_privs", "limits", "namespaces", "capabilities", "landlock", "seccomp")

OPTIONAL = frozenset({"namespaces"})
"""Without it sizes of foreign files and targets of links can be asked for, and nothing else: `doctor` alone says so."""

_CAPABILITIES_3 = 0x20080522
_READING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_NEEDED = ("numpy", "ml_dtypes", "google_crc32c", "milepost")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/nix/store")
_PROC_THREADS = "/proc/self/task"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of the sandbox: whether it holds, and in words what it holds, or why it does not."""

    name: str
    active: bool
    detail: str


def confine(read: Sequence[str], write: Sequence[str]) -> list[Measure]:
    """Lock this process in, for good: it may read at and beneath `read` and Python's own places, write beneath `write`.

    A symbolic link in `read` stands for its target; a place that is not there is passed over.  To be called before any
    thread is started: Landlock holds only threads that are started after it.  Returns what holds now, one `Measure` for
    each of `MEASURES`, or one alone that says why there is nothing.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        return [Measure("sandbox", active=False, detail=f"switched off by the environment variable {SWITCH}=off")]
    if sys.platform != "linux":
        return [Measure("sandbox", active=False, detail=f"only Linux has the means; this is {sys.platform}")]
    python, had, threads = python_places(), _capabilities_now(), _threads()
    steps: dict[str, Callable[[], str]] = {
        "no_new_privs": _no_new_privs,
        "limits": lambda: limits.limit(write),
        "namespaces": lambda: _entered(read, python, write, had, threads),
        "capabilities": lambda: _given_up(had),
        "landlock": lambda: _landlocked([*read, *python], write, threads),
        "seccomp": _filtered,
    }
    return [_taken(name, steps[name]) for name in MEASURES]


def python_places() -> list[str]:
    """Return the places that Python, its packages and shared libraries are read from.

    Entries of `sys.path` that hold the whole home folder, or everything, are left out.
    """
    home = os.path.expanduser("~")
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    found = [os.path.join(prefix, folder) for prefix in prefixes for folder in ("lib", "lib64")]
    paths = sysconfig.get_paths()
    found += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    given = [*sys.path, *site.getsitepackages(), *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    found += [os.path.abspath(entry) for entry in given if entry]
    found += [*_packages(_NEEDED), *_LIBRARIES]
    narrow = (place for place in found if place != os.sep and os.path.commonpath([place, home]) != place)
    return sorted(dict.fromkeys(place for place in narrow if os.path.exists(place)))


def lacking(measures: Iterable[Measure]) -> str | None:
    """Return a sentence on what does not hold; None where all does.

    >>> lacking([Measure("seccomp", True, ""), Measure("namespaces", False, "not permitted")])
    >>> lacking([Measure("landlock", False, "the kernel has none")])
    'checkpoints are read without the whole sandbox: landlock (the kernel has none); see `milepost doctor`'
    """
    missing = [
        f"{measure.name} ({measure.detail})"
        for measure in measures
        if not measure.active and measure.name not in OPTIONAL
    ]
    if not missing:
        return None
    return f"checkpoints are read without the whole sandbox: {', '.join(missing)}; see `milepost doctor`"


def _taken(name: str, step: Callable[[], str]) -> Measure:
    try:
        return Measure(name, active=True, detail=step())
    except (OSError, ValueError, AttributeError) as error:
        return Measure(name, active=False, detail=str(getattr(error, "strerror", None) or error))


def _no_new_privs() -> str:
    seccomp.no_new_privs()
    return "no program that is started could gain rights"


def _capabilities_now() -> int:
    """Return the capabilities that this process has, as bits."""
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    # Effective, permitted, inheritable: the low halves, then the high ones.
    found = ctypes.CDLL(None, use_errno=True).capget(header, sets)
    return 0 if found else sets[1] | sets[4] << 32


def _given_up(had: int) -> str:
    """Give up the superuser's rights, but for that to read files of other users, which Landlock bounds.

    Those that came with a user namespace go too.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    kept = (ctypes.c_uint32 * 6)(had & _READING, had & _READING, 0, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, kept):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if not had:
        return "the process has none"
    return "all given up" + (" but the right to read files of other users" if had & _READING else "")


def _threads() -> int:
    return len(os.listdir(_PROC_THREADS)) if os.path.isdir(_PROC_THREADS) else 1


def _entered(read: Sequence[str], exact: Sequence[str], write: Sequence[str], had: int, threads: int) -> str:
    if threads > 1:
        raise ValueError(f"{threads} threads run already, which would not enter")
    return namespaces.enter(read, exact, write, had, _READING)


def _landlocked(read: Sequence[str], write: Sequence[str], threads: int) -> str:
    version = landlock.abi()
    if not version:
        why = "the kernel has none (Linux 5.13 or later), or it is switched off (boot with lsm=landlock,...)"
        raise ValueError(why)
    if threads > 1:
        raise ValueError(f"{threads} threads run already, which it would not hold")
    landlock.restrict(read, write, version)
    network = "no TCP" if version >= landlock.TCP_SINCE else f"TCP is left to seccomp (ABI {landlock.TCP_SINCE})"
    scope = ", no signals to others" if version >= landlock.SCOPE_SINCE else ""
    files = f"reads what was named and Python's own files, writes into files of {len(write)} folder"
    return f"ABI {version}: {files}, {network}{scope}"


def _filtered() -> str:
    reason = seccomp.lacking()
    if reason is not None:
        raise ValueError(reason)
    seccomp.restrict()
    return (
        "no programs, processes, threads, sockets, shared memory, queues, foreign processes, new or locked files, "
        "changed modes or times, watched folders, mounts, BPF, io_uring"
    )


def _packages(names: Sequence[str]) -> list[str]:
    """Return where packages really are: an installer may have put links in their places."""
    specs = (importlib.util.find_spec(name) for name in names)
    origins = (spec.origin for spec in specs if spec is not None and spec.origin is not None)
    return [os.path.dirname(os.path.realpath(origin)) for origin in origins]
