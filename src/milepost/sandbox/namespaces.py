"""A root of its own by way of ctypes: a process sees what it may read, and nothing else of the file system.

Landlock refuses to open foreign files, but not to ask for their sizes or where links lead.  So, where the kernel lets
us, the process gets user, mount and IPC namespaces, and a root that holds only what was named, read-only but for the
spool.  What appears later below a named folder is seen; of a named file its folder is shown, which Landlock keeps shut.

Structures and numbers: include/uapi/linux/mount.h and sched.h of the kernel, Linux 5.12 or later.
"""

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x20000, 0x8000000, 0x10000000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_HERE, _RECURSIVE, _CLONE, _FROM_EMPTY_PATH = -100, 0x8000, 1, 4
_READ_ONLY = 1 | 2 | 4  # and no set-user-id programs, no devices
_SLAVE, _ALL, _DETACH = 1 << 19, 1 << 14, 2
_MANAGE = 1 << 21  # CAP_SYS_ADMIN
_STAGE = "/proc"
"""Where the new root is put together, in mounts of our own: a folder that is there, and in which nobody names one."""
_LINKS, _LISTED = 40, 2000


def enter(read: Sequence[str], exact: Sequence[str], write: Sequence[str], had: int, override: int) -> str:
    """Give this process a root that holds `read`, `exact` (Python's own places) and `write`, and return it in words.

    `had` are the capabilities that the process has; those in `override` let it read the files of other users, which a
    user namespace would end, so that none is made then.  Raises `OSError` and `ValueError`: then it sees what it saw.
    """
    own_user = not had & _MANAGE
    if own_user and had & override:
        raise ValueError("a user namespace would take the right to read files of other users")
    machine, before = os.uname().machine, os.getcwd()
    if machine not in _PIVOT_ROOT:
        raise ValueError(f"the numbers of {machine}'s system calls are not known to Milepost")
    rooms = [os.path.realpath(place) for place in write]
    named = _uncovered(_folders(read))
    folders = _uncovered([*named, *map(os.path.realpath, exact)])
    links = dict(_links([*read, *exact, *write, *_leading_in(folders)], folders))
    listed = [folder for folder in named if _lists(folder)]
    if own_user:
        _try_out()
    _leave(own_user=own_user)
    _mount(b"tmpfs", _STAGE, b"tmpfs", 0, b"mode=755,size=16m")
    try:
        _fill(folders, links, [*rooms, before])
        for room in rooms:
            _attach(room)
        _check_seen(listed)
        os.chdir(_STAGE)
        _call(_PIVOT_ROOT[machine], b".", b".")
    except BaseException:
        os.chdir(before)
        _unmount(_STAGE)
        raise
    _unmount(".")
    os.chdir(before)
    return f"a root of its own that holds {len(folders) + len(rooms)} places, and no shared memory or queues of others"


def _folders(read: Sequence[str]) -> Iterator[str]:
    """Yield the real folders that hold what is named: a folder itself, of a file the folders of its name and of itself.

    A file is often replaced by another of its name, which is to be seen, and has others beside it.
    """
    for place in read:
        real = os.path.realpath(place)
        if os.path.isdir(real):
            yield real
            continue
        for folder in (os.path.realpath(os.path.dirname(os.path.abspath(place))), os.path.dirname(real)):
            if folder != os.sep and os.path.isdir(folder):
                yield folder


def _uncovered(places: Sequence[str] | Iterator[str]) -> list[str]:
    """Return the places that lie beneath no other of them."""
    kept: list[str] = []
    for place in sorted(set(places), key=len):
        if place == os.sep:
            raise ValueError("the root folder itself is to be read")
        if not _covered(place, kept):
            kept.append(place)
    return kept


def _covered(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place + os.sep) for place in places)


def _links(paths: Sequence[str], folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each symbolic link on the way to the paths that stands in none of the folders, and where it leads."""
    for path in paths:
        left, real, found = os.path.abspath(path).split(os.sep), os.sep, 0
        while left and found < _LINKS:
            name = left.pop(0)
            if name in {"", "."}:
                continue
            if name == "..":
                real = os.path.dirname(real)
                continue
            at = os.path.join(real, name)
            if not os.path.islink(at):
                real = at
                continue
            target, found = os.readlink(at), found + 1
            if not _covered(at, folders):
                yield at, target
            left = [*target.split(os.sep), *left]
            real = os.sep if os.path.isabs(target) else real


def _leading_in(folders: Sequence[str]) -> Iterator[str]:
    """Yield the links in the user's home and in the folders above that lead to the folders: links within go by them."""
    around = {os.path.expanduser("~")}
    for folder in folders:
        while folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)  # noqa: PLW2901 - up to the root
            around.add(folder)
    for place in sorted(around):
        with suppress(OSError), os.scandir(place) as listing:
            for entry in islice(listing, _LISTED):
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if _covered(real, folders) or any(_covered(folder, [real]) for folder in folders):
                        yield entry.path


def _lists(folder: str) -> bool:
    try:
        with os.scandir(folder) as listing:
            next(listing, None)
    except OSError:
        return False
    return True


def _check_seen(folders: Sequence[str]) -> None:
    if not all(_lists(_STAGE + folder) for folder in folders):
        raise ValueError("a named folder cannot be read from within these namespaces")


def _try_out() -> None:
    """Raise what a child meets: a process that cannot mount is not to be left in a user namespace."""
    child = os.fork()
    if not child:
        code = 255
        try:
            _leave(own_user=True)
            _mount(b"tmpfs", _STAGE, b"tmpfs", 0, b"")
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _leave(*, own_user: bool) -> None:
    """Leave the namespaces; what is mounted outside later is seen inside, and never the other way round."""
    user, group = os.geteuid(), os.getegid()
    _library("unshare", _NEW_MOUNTS | _NEW_IPC | (_NEW_USER if own_user else 0))
    if own_user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _mount(b"none", os.sep, None, _ALL | _SLAVE, None)


def _fill(folders: Sequence[str], links: dict[str, str], empty: Sequence[str]) -> None:
    """Put folders, links to them and empty folders in their places, all of them read-only."""
    for folder in folders:
        if os.path.isdir(folder):
            os.makedirs(_STAGE + folder, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(_STAGE + folder), exist_ok=True)
            os.close(os.open(_STAGE + folder, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        _attach(folder)
    for link, target in links.items():
        os.makedirs(os.path.dirname(_STAGE + link), exist_ok=True)
        with suppress(FileExistsError):
            os.symlink(target, _STAGE + link)
    for folder in empty:
        if not _covered(folder, folders):
            os.makedirs(_STAGE + folder, exist_ok=True)
    attributes = struct.pack("=4Q", _READ_ONLY, 0, 0, 0)
    _call(_MOUNT_SETATTR, _HERE, os.fsencode(_STAGE), _RECURSIVE, attributes, len(attributes))


def _attach(place: str) -> None:
    """Show a folder or file, with what is mounted in it, in its place of the new root."""
    tree = _call(_OPEN_TREE, _HERE, os.fsencode(place), _CLONE | _RECURSIVE | os.O_CLOEXEC)
    try:
        _call(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(_STAGE + place), _FROM_EMPTY_PATH)
    finally:
        os.close(tree)


def _mount(source: bytes, place: str, kind: bytes | None, flags: int, options: bytes | None) -> None:
    _library("mount", source, os.fsencode(place), kind, flags, options)


def _unmount(place: str) -> None:
    _library("umount2", os.fsencode(place), _DETACH)


def _call(number: int, *arguments: int | bytes | None) -> int:
    return _library("syscall", number, *arguments)


def _library(name: str, *arguments: int | bytes | None) -> int:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result: int = function(*(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
