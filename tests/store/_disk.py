"""A disk that fails at a chosen operation, and one that forgets at a power cut what was not forced to it.

Python's own file functions are wrapped for one folder; nothing else on the machine notices.
"""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHANGING = {"create", "write", "fsync", "fsync folder", "link", "replace", "unlink", "mkdir", "rmdir", "utime"}
SYNCS = {"fsync", "fsync folder"}
GROWING = {"create", "write", "fsync", "link", "mkdir", "replace"}


@dataclass
class Node:
    """A file or a folder: as it is, and as the disk has it."""

    data: bytearray | None = None
    kept: bytes | None = None
    entries: dict[str, "Node"] = field(default_factory=dict)
    kept_entries: dict[str, "Node"] = field(default_factory=dict)


class Disk:
    """Watches every file operation below a folder; `fault` may raise in its place."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.log: list[tuple[Any, ...]] = []
        self.count = 0
        self.kinds: list[str] = []
        self.fault: Callable[[int, str], int | None] = lambda number, kind: None
        self._paths: dict[int, str] = {}

    def step(self, kind: str, path: Any) -> None:
        """Count one operation, and fail if it is its turn; a change is noted once it is done."""
        self.count += 1
        self.kinds.append(kind)
        code = self.fault(self.count, kind)
        if code is not None:
            raise OSError(code, os.strerror(code), os.fspath(path))

    def ours(self, path: Any) -> str | None:
        """Return a path below the folder, relative to it; None for everything else."""
        if isinstance(path, int):
            return self._paths.get(path)
        text = str(path)  # ours are absolute, and without dots
        if text.startswith(self.root):
            return text[len(self.root) + 1 :] or "." if text[len(self.root) : len(self.root) + 1] in ("", "/") else None
        return None

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Wrap the functions for as long as the block runs."""
        real = {name: getattr(os, name) for name in _NAMES}
        real_open = io.open
        special: dict[str, Callable[..., Any]] = {"open": self._opener, "close": self._closer, "fsync": self._sync}
        try:
            for name, function in real.items():
                setattr(os, name, special[name](function) if name in special else self._wrapped(name, function))
            setattr(io, "open", self._file_opener(real_open))  # noqa: B010 - its overloads are not worth repeating
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)
            setattr(io, "open", real_open)  # noqa: B010

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        kind = {"rename": "replace", "remove": "unlink"}.get(name, name)

        def call(path: Any, *rest: Any, **options: Any) -> Any:
            ours = self.ours(path)
            if ours is None:
                return real(path, *rest, **options)
            names = [self.ours(item) for item in rest[:1]] if kind in ("link", "replace") else []
            self.step(kind, path)
            done = real(path, *rest, **options)
            if kind in CHANGING:
                self.log.append((kind, ours, *names))
            return done

        return call

    def _opener(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            ours = self.ours(path)
            if ours is None:
                return real(path, flags, *rest, **options)
            kind = "create" if flags & os.O_CREAT else "open"
            self.step(kind, path)
            handle = real(path, flags, *rest, **options)
            self._paths[handle] = ours
            if kind == "create":
                self.log.append(("create", ours))
            return handle

        return call

    def _closer(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            self._paths.pop(handle, None)
            real(handle)

        return call

    def _sync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            path = self._paths.get(handle)
            if path is None:
                real(handle)  # a file's own wrapper, or not ours
                return
            kind = "fsync folder" if os.path.isdir(os.path.join(self.root, path)) else "fsync"
            self.step(kind, path)
            self.log.append((kind, path))  # nothing is forced in earnest: the test would take minutes

        return call

    def _file_opener(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            ours = self.ours(path) if not isinstance(path, int) else None
            if ours is None:
                return real(path, mode, *rest, **options)
            if "x" not in mode and "w" not in mode:
                self.step("open", path)
                return real(path, mode, *rest, **options)
            self.step("create", path)
            raw = real(path, mode, buffering=0)
            self.log.append(("create", ours))
            self._paths[raw.fileno()] = ours
            return io.BufferedWriter(_Raw(self, ours, raw), buffer_size=1024)

        return call


class _Raw(io.RawIOBase):
    """A file whose writes are counted; one that fails has written half."""

    def __init__(self, disk: Disk, path: str, raw: Any) -> None:
        super().__init__()
        self._disk, self._path, self._raw = disk, path, raw

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def write(self, data: Any) -> int:
        at, whole = self.tell(), bytes(data)
        try:
            self._disk.step("write", self._path)
        except OSError:
            self._raw.write(whole[: len(whole) // 2])
            self._disk.log.append(("write", self._path, at, whole[: len(whole) // 2]))
            raise
        self._raw.write(whole)
        self._disk.log.append(("write", self._path, at, whole))
        return len(whole)

    def close(self) -> None:
        if not self.closed:
            self._disk._paths.pop(self._raw.fileno(), None)
            self._raw.close()
        super().close()


_NAMES = ("open", "close", "fsync", "link", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "utime",
          "listdir", "scandir", "stat")  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- power cuts


def after_power_cut(log: list[tuple[Any, ...]], target: Path, *, names: str, content: str) -> None:
    """Make the folder that a cut after these operations leaves.

    `names` "forced" keeps the names of folders as last forced to disk, "all" as they were at the cut, and "worst" those
    that were forced, less what was removed since; `content` says what a file that was never forced holds: "nothing" or
    "half".
    """
    top = Node()
    for entry in log:
        _apply(top, *entry)
    target.mkdir(parents=True)
    _write(top, target, names, content)


def _apply(top: Node, kind: str, path: str, *more: Any) -> None:
    if kind == "utime":
        return
    node = _at(top, path) if kind in ("write", "fsync", "fsync folder") else None
    if kind == "fsync":
        assert node is not None
        node.kept = bytes(node.data or b"")
    elif kind == "fsync folder":
        assert node is not None
        node.kept_entries = dict(node.entries)
    elif kind == "write":
        assert node is not None
        assert node.data is not None
        offset, data = more
        node.data.extend(b"\0" * (offset + len(data) - len(node.data)))
        node.data[offset : offset + len(data)] = data
    else:
        _rename(top, kind, path, *more)


def _rename(top: Node, kind: str, path: str, other: str = "") -> None:
    folder, _, name = path.rpartition("/")
    entries = _at(top, folder).entries
    if kind == "create":
        entries[name] = Node(data=bytearray())
    elif kind == "mkdir":
        entries[name] = Node()
    elif kind in ("unlink", "rmdir"):
        del entries[name]
    else:
        to, _, new = other.rpartition("/")
        _at(top, to).entries[new] = entries[name]
        if kind == "replace":
            del entries[name]


def _at(top: Node, path: str) -> Node:
    node = top
    for name in path.split("/") if path not in ("", ".") else ():
        node = node.entries[name]
    return node


def _write(node: Node, path: Path, names: str, content: str) -> None:
    chosen = node.entries if names == "all" else node.kept_entries
    for name, child in chosen.items():
        if names == "worst" and name not in node.entries:
            continue
        if child.data is None:
            (path / name).mkdir()
            _write(child, path / name, names, content)
        else:
            lost = child.data[: len(child.data) // 2] if content == "half" else b""
            (path / name).write_bytes(child.kept if child.kept is not None else bytes(lost))


def always(code: int, start: int, kinds: set[str]) -> Callable[[int, str], int | None]:
    """Fail from the nth operation on, as a full disk or one that was remounted read-only does."""
    return lambda number, kind: code if number >= start and kind in kinds else None


def once(code: int, at: int) -> Callable[[int, str], int | None]:
    """Fail at the nth operation, as a bad sector or a hiccup of the network does."""
    return lambda number, kind: code if number == at else None


FAULTS: dict[str, tuple[set[str] | None, Callable[[int], Callable[[int, str], int | None]]]] = {
    "full disk": (GROWING, lambda start: always(errno.ENOSPC, start, GROWING)),
    "read-only": (CHANGING - SYNCS, lambda start: always(errno.EROFS, start, CHANGING - SYNCS)),
    "one error": (None, lambda at: once(errno.EIO, at)),
}
"""By name: the operations that it can strike (None: all), and what it is from the nth operation on."""
