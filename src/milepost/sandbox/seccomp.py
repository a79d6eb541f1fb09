"""A seccomp filter by way of ctypes: system calls that a reader of files never needs fail with EPERM, for good.

It is a list of what is refused, not of what is allowed: what Python and NumPy call differs between machines and C
libraries, and Landlock has the files.  Refused: starting programs, processes and threads; sockets, shared memory,
queues, semaphores and files in memory alone; looking into, signalling or hindering other processes; making, emptying
and locking files, their modes, owners, times and attributes (which Landlock does not govern), watching folders;
mounting, namespaces, kernel modules, BPF, io_uring (whose requests pass by filters); memory that is written and
executed; and changing the limits, or the leash, again.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable

from milepost.sandbox.syscalls import (
    CREATES,
    EXECUTE,
    FCNTL_REFUSED,
    IOCTL_ALLOWED,
    JUDGED,
    PRCTL_REFUSED,
    REFUSED,
    WRITE_AND_EXECUTE,
)

_NO_NEW_PRIVS, _FILTER_MODE, _ALL_THREADS = 38, 1, 1
_X32 = 0x40000000

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_Step = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def lacking() -> str | None:
    """Return why no filter can be set on this machine; None where one can."""
    machine = platform.machine()
    if sys.platform != "linux":
        return "only Linux has it"
    if machine not in REFUSED or struct.calcsize("P") != struct.calcsize("Q"):
        return f"the numbers of {machine}'s system calls are not known to Milepost"
    # A null pointer: a kernel with filters answers that the address is bad, one without that there is no such call.
    code = _install(machine, None)
    return None if code in (0, errno.EFAULT) else os.strerror(code)


def no_new_privs() -> None:
    """Make this process, and what it starts, unable to gain a privilege by starting a program."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def restrict() -> None:
    """Set the filter for every thread of this process; the caller has set no_new_privs.  Raises `OSError`."""
    machine = platform.machine()
    steps = b"".join(struct.pack("=HBBI", *step) for step in program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(steps, len(steps))
    filled = _Program(len(steps) // 8, ctypes.addressof(buffer))
    code = _install(machine, ctypes.byref(filled))
    if code:
        raise OSError(code, os.strerror(code))


def program(machine: str, pid: int) -> list[_Step]:
    """Return the filter as (code, jump if true, jump if false, value), for a process of that number."""
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), _refuse(), (_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), _refuse()]
    for number, judgement in _judgements(JUDGED[machine], pid):
        steps += [(_EQUAL, 0, len(judgement), number), *judgement]
    for name, number in sorted(REFUSED[machine].items()):
        # What the C library, or a library, then does in another way.
        steps += [(_EQUAL, 0, 1, number), _refuse(errno.ENOSYS if name in {"clone3", "openat2"} else errno.EPERM)]
    return [*steps, _allow()]


def _judgements(numbers: dict[str, int], pid: int) -> Iterable[tuple[int, list[_Step]]]:
    """Yield the number of each call whose arguments decide, and the steps that decide; each begins by loading one."""
    yield numbers["kill"], _only(0, (pid,))  # abort() signals the process itself
    yield numbers["tgkill"], _only(0, (pid,))
    # With no new limit prlimit64 only asks; both halves of the pointer are looked at.
    asks = [*_load(2), (_EQUAL, 0, 3, 0), *_load(2, high=True), (_EQUAL, 0, 1, 0), _allow(), _refuse()]
    yield numbers["prlimit64"], asks
    yield numbers["prctl"], _none_of(0, PRCTL_REFUSED)
    yield numbers["fcntl"], _none_of(1, FCNTL_REFUSED)
    yield numbers["ioctl"], _only(1, IOCTL_ALLOWED, errno.ENOTTY)
    both = [*_load(2), (_AND, 0, 0, WRITE_AND_EXECUTE), (_EQUAL, 0, 1, WRITE_AND_EXECUTE), _refuse(), _allow()]
    yield numbers["mmap"], both
    for name, argument, bits in (
        ("mprotect", 2, EXECUTE),
        ("pkey_mprotect", 2, EXECUTE),
        ("open", 1, CREATES),
        ("openat", 2, CREATES),
    ):
        if name in numbers:
            yield numbers[name], [*_load(argument), (_ANY_BIT, 0, 1, bits), _refuse(), _allow()]


def _only(argument: int, values: Iterable[int], code: int = errno.EPERM) -> list[_Step]:
    allowed = [step for value in values for step in ((_EQUAL, 0, 1, value), _allow())]
    return [*_load(argument), *allowed, _refuse(code)]


def _none_of(argument: int, values: Iterable[int]) -> list[_Step]:
    refused = [step for value in values for step in ((_EQUAL, 0, 1, value), _refuse())]
    return [*_load(argument), *refused, _allow()]


def _load(argument: int, *, high: bool = False) -> list[_Step]:
    """Load one half of an argument: the kernel takes integers, flags and commands from the low one alone."""
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * high)]


def _allow() -> _Step:
    return (_RETURN, 0, 0, _ALLOW)


def _refuse(code: int = errno.EPERM) -> _Step:
    return (_RETURN, 0, 0, _REFUSE | code)


def _install(machine: str, filled: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    given = REFUSED[machine]["seccomp"], _FILTER_MODE, _ALL_THREADS
    number, mode, flags = (ctypes.c_long(item) for item in given)
    result = library.syscall(number, mode, flags, filled)
    if result > 0:
        return errno.EBUSY  # a thread has a filter of its own that this one does not contain
    return ctypes.get_errno() if result else 0
