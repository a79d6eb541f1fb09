"""Processes: who owns a file, and whether that process still runs."""

import os
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

_UNKNOWN = "0"
_DAY = 86400.0
_FIELDS = 4  # of an owner's text
_USED = slice(11, 13)  # the times in its own code and in the kernel's
_START = 19  # the start time's place behind the command's name in /proc/<pid>/stat


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that neither a reused number nor a reboot, a container or a new host name is mistaken.

    `boot` holds the boot id and the number of the process namespace; `start` is the start time in clock ticks since
    boot (0 where the system does not say).

    >>> Owner.parse(Owner.me().text()) == Owner.me()
    True
    """

    host: str
    boot: str
    pid: int
    start: int

    @classmethod
    def me(cls) -> "Owner":
        return _owner_of(os.getpid())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `text()` back; None where it is not one."""
        # The host may hold hyphens; the rest may not.
        parts = text.rsplit("-", 3)
        if len(parts) != _FIELDS or not (parts[2].isdecimal() and parts[3].isdecimal()):
            return None
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))

    def text(self) -> str:
        """Return `<host>-<boot>-<pid>-<start>`, fit for a file name."""
        return f"{self.host}-{self.boot}-{self.pid}-{self.start}"

    def alive(self) -> bool | None:
        """Return whether the process runs; None where this process cannot know (another host or container)."""
        me = Owner.me()
        boot, _, space = self.boot.partition(".")
        my_boot, _, my_space = me.boot.partition(".")
        if boot != my_boot or boot == _UNKNOWN:
            if self.host != me.host:
                return None
            if boot != my_boot:
                return False
        # A host may be renamed while it runs, and containers that share process numbers may have names of their own.
        return runs(self.pid, self.start) if space == my_space else None

    def over(self, seen: float) -> bool:
        """Return whether the process is gone, as far as that may be known.

        `seen` is the time of its last sign in seconds since the epoch: of one elsewhere a day without a sign is enough,
        which no clocks that are off by hours make out of a minute.
        """
        alive = self.alive()
        return time.time() - seen > _DAY if alive is None else not alive


@cache
def _owner_of(pid: int) -> Owner:
    # Keyed by the process number, so that a forked child does not take its parent's name.
    host = re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename)[:64] or "host"
    status = _status(pid)
    return Owner(host, f"{_boot()}.{_namespace()}", pid, status[1] if status else 0)


def _boot() -> str:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return _UNKNOWN
    return re.sub(r"[^0-9a-f]", "", text.lower())[:16] or _UNKNOWN


def _namespace() -> str:
    try:
        return re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink())) or "0"
    except OSError:
        return "0"


def _status(pid: int) -> tuple[str, int] | None:
    """Return a process's state letter and start time, None where the system does not say."""
    fields = _fields_of(pid)
    return (fields[0], int(fields[_START])) if fields else None


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that a process has used, all threads, in seconds; None where the system does not say.

    >>> (processor_seconds(os.getpid()) or 0) >= 0
    True
    """
    fields = _fields_of(pid)
    return sum(map(int, fields[_USED])) / os.sysconf("SC_CLK_TCK") if fields else None


def _fields_of(pid: int) -> list[str]:
    """Return what stands behind the command's name in /proc/<pid>/stat; [] where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The command's name is in brackets and may hold anything, brackets too.
    fields = text[text.rfind(")") + 2 :].split()
    return fields if len(fields) > _START else []


def runs(pid: int, start: int = 0) -> bool:
    """Return whether a process of this machine runs; `start`, where known, tells it from a later one of its number."""
    status = _status(pid)
    if status is not None:
        # A zombie will never write again; another start time is another process with the old number.
        return status[0] not in "ZX" and (start in (0, status[1]))
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
