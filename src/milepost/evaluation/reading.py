"""What was read, and by whose code: files as they were then, the text of modules, variables, names of packages."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from milepost.core.types import Json

T = TypeVar("T")

BY_CONTENT = 64 * 2**20
"""Files up to this many bytes are known by their content, larger ones by size and time of the last change."""

_AT_ONCE = 64 * 2**10
"""A file up to this many bytes is digested when it is opened; a larger one once the code's version is asked for."""

_CHUNK = 1 << 20


@dataclass(slots=True)
class FileReading:
    """One file: its size and mtime in nanoseconds when it was opened, and its digest once that is known."""

    path: str
    size: int
    mtime_ns: int
    digest: str | None = field(default=None, compare=False)

    def identity(self) -> Json:
        """Return the digest of the content; [size, mtime] of a file that is large, or has changed since it was read."""
        if self.digest is None and self.size <= BY_CONTENT:
            found, digest = _status(self.path), _digest(self.path)
            if found == _status(self.path) == (self.size, self.mtime_ns):
                self.digest = digest
        return self.digest or [self.size, self.mtime_ns]


@dataclass(slots=True)
class Readings:
    """What was read, by path or name; `by`: for each (kind, path or name), the user's files that stood on the stack.

    `files`: each as it was whenever it was opened, where that differs.  `sources`: the text of each module when it last
    ran.  `variables`: the values found, None where one was not set.  `packages`: names of imported modules.
    """

    files: dict[str, list[FileReading]] = field(default_factory=dict)
    sources: dict[str, bytes] = field(default_factory=dict)
    variables: dict[str, list[str | None]] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    by: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    @staticmethod
    def merged(several: Iterable["Readings"]) -> "Readings":
        """Return what several have together."""
        whole = Readings()
        for one in several:
            whole.sources |= one.sources
            for path, found in one.files.items():
                _extend(whole.files.setdefault(path, []), found)
            for name, values in one.variables.items():
                _extend(whole.variables.setdefault(name, []), values)
            whole.packages |= one.packages
            for what, files in one.by.items():
                whole.by.setdefault(what, set()).update(files)
        return whole

    def drop_files(self, paths: Iterable[str]) -> None:
        """Take out files that do not count."""
        for path in paths:
            self.files.pop(path, None)
            self.by.pop(("file", path), None)

    def add_file(self, path: str, by: frozenset[str]) -> None:
        """Note that a file was opened to be read."""
        found, known = _status(path), self.files.setdefault(path, [])
        if found is not None and found not in [(one.size, one.mtime_ns) for one in known]:
            digest = _digest(path) if found[0] <= _AT_ONCE else None
            known.append(FileReading(path, *found, digest))
        self.by.setdefault(("file", path), set()).update(by)

    def add_source(self, path: str, by: frozenset[str], text: bytes | None = None) -> None:
        """Note that a module ran; `text` stands for the one that has no file of its own."""
        self.sources[path] = Path(path).read_bytes() if text is None else text
        self.by.setdefault(("source", path), set()).update(by)

    def add_variable(self, name: str, value: str | None, by: frozenset[str]) -> None:
        """Note that an environment variable was asked for."""
        _extend(self.variables.setdefault(name, []), [value])
        self.by.setdefault(("variable", name), set()).update(by)

    def add_package(self, name: str, by: frozenset[str]) -> None:
        """Note that a module of somebody else's was imported."""
        self.packages.add(name)
        self.by.setdefault(("package", name), set()).update(by)

    def of(self, kind: str, files: Collection[str]) -> list[str]:
        """Return the paths or names of one kind that any of these files of the user's asked for, sorted."""
        return sorted(name for (what, name), by in self.by.items() if what == kind and not by.isdisjoint(files))


def _extend(known: list[T], more: Iterable[T]) -> None:
    known += [item for item in more if item not in known]


def _status(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _digest(path: str) -> str | None:
    """Return the first 16 hex digits of the SHA-256 of a file; None where it cannot be read."""
    content = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                content.update(chunk)
    except OSError:
        return None
    return content.hexdigest()[:16]
