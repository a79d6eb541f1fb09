"""What a reader may take: bounds that it sets for itself, and lower ones that its driver sets for each checkpoint.

The filter refuses the reader to change any of them, so the driver's hold too.
"""

import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_GIB = 1 << 30
_LEAST_MEMORY = 4 * _GIB
_OPEN_FILES = 256

_PROGRAM = 2 * _GIB
_PARSED_PER_BYTE = 8
_UNPACKED_PER_BYTE, _UNPACKED_AT_LEAST = 20, 256 << 20
_HELD_TWICE = 2
_GAPS = 64 << 20


def memory() -> int:
    """Return the bytes of memory that this machine, or this container, has."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found = min(found, int(Path(name).read_text(encoding="ascii")))
    return found


def limit(write: Sequence[str]) -> str:
    """Bound what this process can take, for good, and return it in words.

    Processor time is not bounded, since the process lives as long as the run: see `--timeout`.
    """
    most = max(memory() // 2, _LEAST_MEMORY)
    disks = [os.statvfs(folder) for folder in write]
    room = max((disk.f_bavail * disk.f_frsize for disk in disks), default=0) * 3 // 4
    wanted = {
        resource.RLIMIT_AS: most,
        resource.RLIMIT_FSIZE: room,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901 - the lower of the two
        resource.setrlimit(kind, (value, value))
    return (
        f"memory {_gib(most)} (half of what there is, at least {_gib(_LEAST_MEMORY)}) and a file of {_gib(room)} "
        f"(three quarters of what is free) at most, less by a checkpoint's size; {_OPEN_FILES} open files, no core "
        "dump; processor time is not limited"
    )


def needed(size: int | None) -> tuple[int, int]:
    """Return the bytes of address space, and of its one file, that reading a checkpoint of `size` bytes can need.

    With None no checkpoint is read whole: heads and headers are looked at, and nothing is written.

    >>> [round(count / 2**30, 2) for count in needed(10**6)], needed(None)[1]
    ([2.51, 0.31], 0)
    """
    if size is None:
        return sys.maxsize, 0
    unpacked = max(_UNPACKED_PER_BYTE * size, _UNPACKED_AT_LEAST)
    return _PROGRAM + _PARSED_PER_BYTE * size + _HELD_TWICE * unpacked, unpacked + _GAPS


def allow(pid: int, size: int | None) -> None:
    """Set a reader's bounds for the next question, which is about a checkpoint of `size` bytes; by its driver.

    A process that has ended is passed over.  Raises `OSError`.
    """
    for kind, wanted in zip((resource.RLIMIT_AS, resource.RLIMIT_FSIZE), needed(size), strict=True):
        with suppress(ProcessLookupError):
            hard = resource.prlimit(pid, kind)[1]
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, kind, (most, hard))


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
