"""In a process that has locked itself in: try what its user could do.  Prints [name, how it ended] a line, as JSON.

Arguments: the folder with `inside/file`, `spool/room` and `outside`, the number of a foreign process, and the key of a
foreign shared segment.  Calls are made by number: what Python offers is not all there is.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from milepost.sandbox import confine, syscalls

_given = sys.argv[1:4] if __name__ == "__main__" else ["", "0", "0"]
folder, victim, key = _given[0], int(_given[1]), int(_given[2])
inside, outside, spool, room = (os.path.join(folder, name) for name in ("inside", "outside", "spool", "spool/room"))
machine = platform.machine()
numbers = syscalls.REFUSED.get(machine, {}) | syscalls.JUDGED.get(machine, {})
library = ctypes.CDLL(None, use_errno=True)
library.syscall.restype = ctypes.c_long


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    passed = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    result: int = library.syscall(ctypes.c_long(numbers[name]), *passed)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def many_threads() -> None:
    wait = threading.Event()
    try:
        for _ in range(64):
            threading.Thread(target=wait.wait, daemon=True).start()
    finally:
        wait.set()


def locked(path: str, how: Callable[[Any, int], object]) -> None:
    with open(path, "rb") as file:
        how(file, fcntl.LOCK_SH)


def program_in_memory() -> None:
    call("execveat", call("memfd_create", b"x", 0), b"", None, None, 0x1000)


def executable_memory() -> None:
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(mmap.mmap(-1, 4096, prot=7))), 0xC3, 1)


def made_executable() -> None:
    block = mmap.mmap(-1, 4096)
    call("mprotect", ctypes.addressof(ctypes.c_char.from_buffer(block)), 4096, mmap.PROT_READ | mmap.PROT_EXEC)


def connected(kind: int, address: Any) -> None:
    with socket.socket(kind) as tried:
        tried.connect(address)


def file_without_a_name() -> None:
    os.close(os.open(spool, os.O_TMPFILE | os.O_RDWR))


buffer = ctypes.create_string_buffer(4096)
at = -100
TRIES: dict[str, Callable[[], object]] = {
    "read a checkpoint": lambda: content(inside + "/file"),
    "write into the spool's file": lambda: os.pwrite(os.open(room, os.O_WRONLY), b"x", 0),
    "ask for its own limits": lambda: resource.getrlimit(resource.RLIMIT_AS),
    # files
    "read a foreign file": lambda: content(outside),
    "read passwords": lambda: content("/etc/passwd"),
    "read its own memory": lambda: content("/proc/self/mem"),
    "read a foreign process's environment": lambda: content(f"/proc/{victim}/environ"),
    "list foreign attributes": lambda: os.listxattr(outside),
    "read a foreign attribute": lambda: os.getxattr(outside, "user.x"),
    "empty a checkpoint": lambda: os.truncate(inside + "/file", 0),
    "empty a checkpoint as it opens it": lambda: os.open(inside + "/file", os.O_RDONLY | os.O_TRUNC),
    "remove a checkpoint": lambda: os.unlink(inside + "/file"),
    "rename a checkpoint": lambda: os.rename(inside + "/file", spool + "/x"),
    "link a checkpoint": lambda: os.link(inside + "/file", spool + "/x"),
    "change a checkpoint's mode": lambda: os.chmod(inside + "/file", 0o600),
    "change a checkpoint's times": lambda: os.utime(inside + "/file"),
    "change a checkpoint's flags": lambda: locked(inside + "/file", lambda file, _: fcntl.ioctl(file, 0x40086602, 16)),
    "lock a checkpoint": lambda: locked(inside + "/file", fcntl.flock),
    "lock a checkpoint's bytes": lambda: locked(inside + "/file", fcntl.lockf),
    "make a file in the spool": lambda: Path(spool, "x").touch(),
    "make a file without a name": file_without_a_name,
    "make a folder in the spool": lambda: os.mkdir(spool + "/x"),
    "make a link in the spool": lambda: os.symlink("/etc/passwd", spool + "/x"),
    "make a pipe in the spool": lambda: os.mkfifo(spool + "/x"),
    "remove the spool's file": lambda: os.unlink(room),
    "open by handle": lambda: call("open_by_handle_at", at, buffer, 0),
    "open by openat2": lambda: call("openat2", at, outside.encode(), buffer, 24),
    "watch a foreign folder": lambda: call("inotify_add_watch", call("inotify_init1", 0), folder.encode(), 0xFFF),
    "watch a file system": lambda: call("fanotify_init", 0, 0),
    # other processes
    "start a thread": many_threads,
    "fork": lambda: os.fork() or os._exit(0),
    "clone": lambda: call("clone", 17, 0, 0, 0, 0) or os._exit(0),
    "clone3": lambda: call("clone3", buffer, 88) or os._exit(0),
    "run a program that is in memory": program_in_memory,
    "signal a process": lambda: os.kill(victim, 0),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "signal a thread": lambda: call("tgkill", victim, victim, 0),
    "signal by descriptor": lambda: call("pidfd_open", victim, 0),
    "queue a signal": lambda: call("rt_sigqueueinfo", victim, 0, buffer),
    "have a process signalled": lambda: locked(inside + "/file", lambda file, _: fcntl.fcntl(file, 8, victim)),
    "trace a process": lambda: call("ptrace", 16, victim, 0, 0),
    "read a process's memory": lambda: call("process_vm_readv", victim, 0, 0, 0, 0, 0),
    "slow a process down": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
    "move a process to a processor": lambda: os.sched_setaffinity(victim, {0}),
    "schedule a process": lambda: os.sched_setscheduler(victim, os.SCHED_IDLE, os.sched_param(0)),
    "slow a process's disk": lambda: call("ioprio_set", 1, victim, 3 << 13),
    "limit a process": lambda: resource.prlimit(victim, resource.RLIMIT_NOFILE, (1, 1)),
    "raise its own limits": lambda: resource.setrlimit(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)),
    "outlive its parent": lambda: call("prctl", 1, 0, 0, 0, 0),
    "be dumped": lambda: call("prctl", 4, 1, 0, 0, 0),
    "leave its session": os.setsid,
    "leave its group": lambda: os.setpgid(0, 0),
    # what is shared
    "find a foreign segment": lambda: call("shmget", key, 0, 0),
    "make a segment": lambda: call("shmget", key + 1, 1 << 20, 0o1600),
    "remove a foreign segment": lambda: call("shmctl", 0, 0, 0),
    "make a queue": lambda: call("msgget", key, 0o1600),
    "make a semaphore": lambda: call("semget", key, 1, 0o1600),
    "make a POSIX queue": lambda: call("mq_open", b"milepost", os.O_CREAT | os.O_RDWR, 0o600, None),
    "remove a POSIX queue": lambda: call("mq_unlink", b"milepost"),
    "make a file in memory": lambda: call("memfd_create", b"x", 0),
    "make secret memory": lambda: call("memfd_secret", 0),
    "read a key": lambda: call("keyctl", 0, 0),
    # the network
    "open a connection": lambda: connected(socket.AF_INET, ("127.0.0.1", 9)),
    "open a Unix socket": lambda: connected(socket.AF_UNIX, folder + "/socket"),
    "open a pair of sockets": socket.socketpair,
    # the kernel
    "write executable memory": executable_memory,
    "make memory executable": made_executable,
    "use io_uring": lambda: call("io_uring_setup", 4, buffer),
    "use asynchronous I/O": lambda: call("io_setup", 1, buffer),
    "load a program into the kernel": lambda: call("bpf", 0, 0, 0),
    "handle page faults": lambda: call("userfaultfd", 0),
    "count events": lambda: call("perf_event_open", 0, 0, 0, 0, 0),
    "enter a namespace": lambda: call("setns", 0, 0),
    "make a namespace": lambda: call("unshare", 0x10000000),
    "mount": lambda: call("mount", b"x", b"/mnt", b"tmpfs", 0, 0),
    "list mounts": lambda: call("listmount", buffer, buffer, 1, 0),
    "change its root": lambda: call("chroot", folder.encode()),
    "ask for Landlock": lambda: call("landlock_create_ruleset", 0, 0, 1),
    "set another filter": lambda: call("seccomp", 2, 0, buffer),
    "call by x32's numbers": lambda: library.syscall(ctypes.c_long(0x40000000 + 39)) >= 0 or call("seccomp", 0, 0, 0),
    # what is known of foreign files
    "see a foreign file's size": lambda: os.stat(outside).st_size,
    "see where a foreign link leads": lambda: os.readlink(folder + "/link"),
}


def attempt(work: Callable[[], object]) -> str:
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except (RuntimeError, ValueError) as error:
        return type(error).__name__
    return "done"


if __name__ == "__main__":
    active = [measure.name for measure in confine.confine([inside], [spool]) if measure.active]
    print(json.dumps(["", active]))
    for name, work in TRIES.items():
        print(json.dumps([name, attempt(work)]), flush=True)
