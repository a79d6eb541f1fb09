"""Operations on the files of a folder, one of which goes otherwise: it fails, or the file has changed before it."""

import builtins
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_BY_PATH = ("open", "stat", "lstat", "scandir", "listdir", "readlink")
_BY_DESCRIPTOR = ("fstat", "pread", "preadv")
_SHORT = 5
_GROWS = 7

ERRORS = ("EIO", "ESTALE", "EACCES", "ETIMEDOUT", "EMFILE")
CHANGES = ("cut", "gone", "fifo", "folder", "device", "link", "other")
LASTING = ("short", "end", "grow")
KINDS = (*ERRORS, *CHANGES, *LASTING, "back")
"""An error; what the file is from the operation on: cut in half, gone, something else, a link to a file elsewhere,
another file; what happens from there on: reads of a few bytes, an end of the file, more bytes before each operation; a
link to a file elsewhere for this one operation."""


@dataclass(slots=True)
class Fault:
    """What happens at the operation of a number; `spare` is a folder of other files of the same names, elsewhere."""

    kind: str
    number: int
    folder: str
    spare: str
    count: int = 0
    _paths: dict[int, str] = field(default_factory=dict)
    _real: dict[str, Callable[..., Any]] = field(default_factory=dict)
    _aside: str = ""

    @contextmanager
    def at_work(self) -> Iterator["Fault"]:
        """Wrap Python's own functions for as long as the block runs."""
        self._real = {name: getattr(os, name) for name in (*_BY_PATH, *_BY_DESCRIPTOR)}
        opened, mapped = builtins.open, mmap.mmap
        try:
            for name in _BY_PATH:
                setattr(os, name, self._by_path(name))
            for name in _BY_DESCRIPTOR:
                setattr(os, name, self._by_descriptor(name))
            setattr(builtins, "open", self._opening(opened))  # noqa: B010 - its overloads are not worth repeating
            setattr(mmap, "mmap", self._mapping(mapped))  # noqa: B010 - the same
            yield self
        finally:
            for name, function in self._real.items():
                setattr(os, name, function)
            setattr(builtins, "open", opened)  # noqa: B010 - the same
            setattr(mmap, "mmap", mapped)  # noqa: B010 - the same

    def _by_path(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(path: Any = ".", *rest: Any, **more: Any) -> Any:
            if not str(path).startswith(self.folder):
                return real(path, *rest, **more)
            self._step(str(path))
            made = real(path, *rest, **more)
            if name == "open":
                self._paths[made] = str(path)
            self._put_back()
            return made

        return call

    def _by_descriptor(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(descriptor: int, wanted: Any = None, *rest: Any) -> Any:
            path = self._paths.get(descriptor)
            if path is None:
                return real(descriptor, *([] if wanted is None else [wanted]), *rest)
            self._step(path)
            if name == "fstat":
                return real(descriptor)
            begun = self.count >= self.number
            if self.kind == "end" and begun:
                return b"" if name == "pread" else 0
            if self.kind == "short" and begun:
                wanted = min(wanted, _SHORT) if name == "pread" else [memoryview(wanted[0])[:_SHORT]]
            return real(descriptor, wanted, *rest)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path).startswith(self.folder):
                self._step(str(path))
            made = real(path, *rest, **more)
            self._put_back()
            return made

        return call

    def _mapping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*rest: Any, **more: Any) -> Any:
            self._step("")
            return real(*rest, **more)

        return call

    def _step(self, path: str) -> None:
        self.count += 1
        if self.kind == "grow" and self.count >= self.number:
            self._grow(path)
        if self.count != self.number:
            return
        if self.kind in ERRORS:
            code = getattr(errno, self.kind)
            raise OSError(code, os.strerror(code), path)
        stat = self._real["stat"]
        if path and self.kind in (*CHANGES, "back") and not os.path.islink(path):
            try:
                regular = stat(path).st_mode & 0o170000 == 0o100000
            except OSError:
                return
            if regular:
                self._change(path)

    def _grow(self, path: str) -> None:
        try:
            regular = self._real["stat"](path).st_mode & 0o170000 == 0o100000
        except OSError:
            return
        if regular:
            descriptor = self._real["open"](path, os.O_WRONLY | os.O_APPEND)
            os.write(descriptor, bytes(_GROWS))
            os.close(descriptor)

    def _change(self, path: str) -> None:
        spare = self.spare + path[len(self.folder) :]
        if self.kind == "cut":
            os.truncate(path, self._real["stat"](path).st_size // 2)
            return
        os.rename(path, f"{path}.aside")
        if self.kind == "fifo":
            os.mkfifo(path)
        elif self.kind == "folder":
            os.mkdir(path)
        elif self.kind == "device":
            os.symlink("/dev/zero", path)
        elif self.kind in ("link", "back"):
            os.symlink(spare, path)
            self._aside = path if self.kind == "back" else ""
        elif self.kind == "other":
            os.link(spare, path)

    def _put_back(self) -> None:
        if self._aside:
            path, self._aside = self._aside, ""
            os.replace(f"{path}.aside", path)
