"""Versions of the installed distributions that an evaluation's code imports, and of those that these require.

Which distribution a module belongs to is read from what pip wrote beside it, kept in the user's cache folder, and read
again where a folder of packages has changed since.  Versions are read each time.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from milepost._internal.cache import cached
from milepost._internal.serialization import digest
from milepost.core.types import Json

_ENDINGS = (".dist-info", ".egg-info")
_HEADS = ("METADATA", "PKG-INFO")
_SPELLINGS = re.compile(r"[-_.]+")
_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MODULE = re.compile(r"(?P<name>[^./]+)(\.[^/]*)?\.(py|so|pyd)")
_OURS = "milepost"
_MODULES_VERSION = 1
"""Of what `_modules_of` makes."""

Modules = Mapping[str, list[str]]
"""Dotted names of packages and modules to the folders of their distributions' metadata."""


class Installed:
    """The distributions that Python finds on `sys.path`."""

    def __init__(self, modules: Modules, folders: Mapping[str, str]) -> None:
        self._modules = modules
        self._folders = folders

    @classmethod
    def found(cls) -> "Installed":
        """Return those of this process now."""
        metadata = [folder for place in dict.fromkeys(sys.path) for folder in _metadata_in(place or ".")]
        changed = {place: os.stat(place).st_mtime_ns for place in dict.fromkeys(map(os.path.dirname, metadata))}
        name = f"distributions-{digest(sys.prefix)[:8]}"
        modules = cached(name, digest([_MODULES_VERSION, changed]), lambda: _modules_of(metadata))
        return cls(modules, {_normalised(_name_in(folder)): folder for folder in reversed(metadata)})

    def owns(self, module: str) -> bool:
        """Return whether a module belongs to a distribution."""
        return bool(self._of(module))

    def versions(self, modules: Iterable[str]) -> dict[str, str]:
        """Return the versions, by name, of the distributions that own these modules, and of all that they require.

        An installed requirement counts whether or not it was imported: what is imported depends on what ran before.
        Of a distribution that was installed from a folder or a repository, the files' digests count too.
        """
        found = dict[str, str]()
        waiting = list(dict.fromkeys(folder for module in modules for folder in self._of(module)))
        seen = set(waiting)
        while waiting:
            name, version, required = _head(waiting.pop())
            if _normalised(name) == _OURS:
                continue
            found[name] = version
            known = (self._folders.get(_normalised(one)) for one in required)
            more = {folder for folder in known if folder is not None} - seen
            seen |= more
            waiting += more
        return dict(sorted(found.items()))

    def _of(self, module: str) -> list[str]:
        parts = module.split(".")
        names = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        return next((self._modules[name] for name in names if name in self._modules), [])


def _metadata_in(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith(_ENDINGS))
    except OSError:
        return []


def _name_in(folder: str) -> str:
    return os.path.basename(folder).split("-")[0]


def _normalised(name: str) -> str:
    """Return a name as PEP 503 has it."""
    return _SPELLINGS.sub("-", name).lower()


def _head(folder: str) -> tuple[str, str, list[str]]:
    """Return name, version and the names of what is required, extras aside, from the head of the metadata."""
    name, version, required = _name_in(folder), "unknown", list[str]()
    for line in _lines(folder):
        field, _, value = line.partition(": ")
        if not line.strip():
            break
        if field == "Name":
            name = value.strip()
        elif field == "Version":
            version = value.strip()
        elif field == "Requires-Dist" and "extra ==" not in value and (found := _REQUIRED.match(value)):
            required.append(found[0])
    local = _content_of_local(folder)
    return name, f"{version} ({local})" if local else version, required


def _lines(folder: str) -> Iterator[str]:
    files = [folder, *(f"{folder}/{name}" for name in _HEADS)]
    file = next((file for file in files if os.path.isfile(file)), None)
    if file is not None:
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def _content_of_local(folder: str) -> str:
    """Return a digest of the list of files where these came from no index: their version may stay when they change."""
    if not os.path.isfile(f"{folder}/direct_url.json"):
        return ""
    with suppress(OSError):
        return hashlib.sha256(Path(f"{folder}/RECORD").read_bytes()).hexdigest()[:8]
    return ""


# ------------------------------------------------------------------------------------------------ which module is whose


def _modules_of(metadata: Iterable[str]) -> dict[str, Json]:
    found = dict[str, list[str]]()
    for folder in metadata:
        for name in _modules_in(folder):
            owners = found.setdefault(name, [])
            # The same distribution further down the path is shadowed by the first.
            if not any(_name_in(owner) == _name_in(folder) for owner in owners):
                owners.append(folder)
    return found


def _modules_in(folder: str) -> set[str]:
    """Return the packages and modules of a distribution that lie in no other package of it, by dotted name."""
    files = _files_in(folder)
    if not files:
        with suppress(OSError):
            return set(Path(f"{folder}/top_level.txt").read_text(encoding="utf-8").split())
        return set()
    packages = {name.removesuffix("/__init__.py") for name in files if name.endswith("/__init__.py")}
    outermost = {name for name in packages if not any(parent in packages for parent in _parents(name))}
    modules = set[str]()
    for name in files:
        place, _, last = name.rpartition("/")
        inside = place in packages or any(parent in packages for parent in _parents(place))
        if not inside and (match := _MODULE.fullmatch(last)) and last != "__init__.py":
            modules.add("/".join(filter(None, [place, match["name"]])))
    return {name.replace("/", ".") for name in outermost | modules if ".." not in name}


def _files_in(folder: str) -> list[str]:
    with suppress(OSError):
        lines = Path(f"{folder}/RECORD").read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.rsplit(",", 2)[0].strip('"') for line in lines]
    return []


@lru_cache(maxsize=4096)
def _parents(name: str) -> tuple[str, ...]:
    parts = name.split("/")
    return tuple("/".join(parts[:count]) for count in range(1, len(parts)))
