"""A seccomp filter by way of ctypes: system calls that a reader of files never needs fail with EPERM, for good.

It is a list of what is refused, not of what is allowed: what Python and NumPy call differs between machines and C
libraries, and Landlock has the files.  Refused: starting programs and processes, sockets, looking into or signalling
other processes, changing modes, owners and times of files (which Landlock does not govern), mounting, namespaces,
kernel modules, BPF, io_uring (whose requests pass by filters), and raising the limits again.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

_NO_NEW_PRIVS, _FILTER_MODE, _ALL_THREADS = 38, 1, 1
_THREAD = 0x00010000  # CLONE_THREAD
_X32 = 0x40000000

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _THIRD = 0, 4, 16, 32

# Names and numbers: include/uapi/asm-generic/unistd.h (aarch64) and arch/x86/entry/syscalls/syscall_64.tbl.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_SIGNALS = {"x86_64": {"kill": 62, "tgkill": 234}, "aarch64": {"kill": 129, "tgkill": 131}}
_LIMITS = {"x86_64": 302, "aarch64": 261}

_EVERYWHERE = """
    pidfd_send_signal 424, io_uring_setup 425, io_uring_enter 426, io_uring_register 427, open_tree 428,
    move_mount 429, fsopen 430, fsconfig 431, fsmount 432, fspick 433, pidfd_open 434, pidfd_getfd 438,
    process_madvise 440, mount_setattr 442, quotactl_fd 443, process_mrelease 448, fchmodat2 452,
    setxattrat 463, removexattrat 466, file_setattr 469
"""
_X86_64 = """
    execve 59, execveat 322, fork 57, vfork 58, ptrace 101, tkill 200, socket 41, connect 42, accept 43,
    sendto 44, recvfrom 45, sendmsg 46, recvmsg 47, bind 49, listen 50, socketpair 53, accept4 288,
    recvmmsg 299, sendmmsg 307, process_vm_readv 310, process_vm_writev 311, kcmp 312, perf_event_open 298,
    bpf 321, rt_sigqueueinfo 129, rt_tgsigqueueinfo 297, userfaultfd 323, personality 135, chmod 90, fchmod 91,
    fchmodat 268, chown 92, fchown 93, lchown 94, fchownat 260, utime 132, utimes 235, futimesat 261,
    utimensat 280, setrlimit 160, setxattr 188, lsetxattr 189, fsetxattr 190, removexattr 197,
    lremovexattr 198, fremovexattr 199, mount 165, umount2 166, pivot_root 155, chroot 161, swapon 167,
    swapoff 168, setns 308, unshare 272, acct 163, quotactl 179, reboot 169, init_module 175, finit_module 313,
    delete_module 176, kexec_load 246, kexec_file_load 320, add_key 248, request_key 249, keyctl 250,
    name_to_handle_at 303, open_by_handle_at 304, settimeofday 164, clock_settime 227, adjtimex 159,
    clock_adjtime 305, sethostname 170, setdomainname 171, iopl 172, ioperm 173, modify_ldt 154, syslog 103,
    mknod 133, mknodat 259, setuid 105, setgid 106, setreuid 113, setregid 114, setgroups 116, setresuid 117,
    setresgid 119, capset 126, migrate_pages 256, move_pages 279
"""
_AARCH64 = """
    execve 221, execveat 281, ptrace 117, tkill 130, socket 198, socketpair 199, bind 200, listen 201,
    accept 202, connect 203, sendto 206, recvfrom 207, sendmsg 211, recvmsg 212, accept4 242, recvmmsg 243,
    sendmmsg 269, process_vm_readv 270, process_vm_writev 271, kcmp 272, perf_event_open 241, bpf 280,
    rt_sigqueueinfo 138, rt_tgsigqueueinfo 240, userfaultfd 282, personality 92, fchmod 52, fchmodat 53,
    fchownat 54, fchown 55, utimensat 88, setrlimit 164, setxattr 5, lsetxattr 6, fsetxattr 7, removexattr 14,
    lremovexattr 15, fremovexattr 16, mount 40, umount2 39, pivot_root 41, chroot 51, swapon 224, swapoff 225,
    setns 268, unshare 97, acct 89, quotactl 60, reboot 142, init_module 105, finit_module 273,
    delete_module 106, kexec_load 104, kexec_file_load 294, add_key 217, request_key 218, keyctl 219,
    name_to_handle_at 264, open_by_handle_at 265, settimeofday 170, clock_settime 112, adjtimex 171,
    clock_adjtime 266, sethostname 161, setdomainname 162, syslog 116, mknodat 33, setuid 146, setgid 144,
    setreuid 145, setregid 143, setgroups 159, setresuid 147, setresgid 149, capset 91, migrate_pages 238,
    move_pages 239
"""


def _numbers(*tables: str) -> dict[str, int]:
    pairs = (entry.split() for table in tables for entry in table.split(","))
    return {name: int(number) for name, number in pairs}


REFUSED = {"x86_64": _numbers(_EVERYWHERE, _X86_64), "aarch64": _numbers(_EVERYWHERE, _AARCH64)}
"""Numbers of the calls that are refused whatever their arguments, by machine."""

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
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    steps: list[_Step] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), refuse]
    steps.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), refuse]
    for number in sorted(REFUSED[machine].values()):
        steps += [(_EQUAL, 0, 1, number), refuse]
    # A new thread is allowed, a new process is not.  clone3 hides its flags; without it the C library uses clone.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    steps += [(_EQUAL, 0, 4, _CLONE[machine]), (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _THREAD), allow, refuse]
    # abort() signals the process itself.
    for number in _SIGNALS[machine].values():
        steps += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 1, pid), allow, refuse]
    # prlimit64 with no new limit only asks; both halves of the pointer are looked at.
    asks = [(_LOAD, 0, 0, _THIRD), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, _THIRD + 4), (_EQUAL, 0, 1, 0), allow, refuse]
    return [*steps, (_EQUAL, 0, len(asks), _LIMITS[machine]), *asks, allow]


def _install(machine: str, filled: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    number, mode, flags = (ctypes.c_long(item) for item in (_SECCOMP[machine], _FILTER_MODE, _ALL_THREADS))
    result = library.syscall(number, mode, flags, filled)
    if result > 0:
        return errno.EBUSY  # a thread has a filter of its own that this one does not contain
    return ctypes.get_errno() if result else 0
