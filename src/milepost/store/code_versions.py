"""Code versions that a store has seen, and the facts that two of them give the same numbers."""

from collections.abc import Mapping
from typing import Any

from milepost._internal.atomic import read_json
from milepost._internal.serialization import digest, json_bytes
from milepost.store._storage import Storage


class Codes:
    """The folder `codes/` of a store: immutable descriptions and equivalences."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, code: Mapping[str, Any]) -> bool:
        """Put a code version as `evaluation.code_version` describes it; False where it is known."""
        return self._storage.put(f"codes/code-{digest(code['version'])}.json", json_bytes(dict(code)))

    def all(self) -> list[dict[str, Any]]:
        """Return the code versions, the newest last."""
        found = []
        for name in self._storage.list("codes"):
            if name.startswith("code-"):
                path = self._storage.get(f"codes/{name}")
                found.append((path.stat().st_mtime_ns, name, read_json(path)))
        return [code for _, _, code in sorted(found, key=lambda item: item[:2])]

    def add_equivalent(
        self, data: str, task: str, code: str, same_as: str, evidence: Mapping[str, Any] | None = None
    ) -> bool:
        """Put the fact that `code` gives what `same_as` gave, for this data and task; False where it adds nothing."""
        target = self.equivalent(data, task, same_as)
        if target == self.equivalent(data, task, code):
            return False
        fact = {"data": data, "task": task, "code": code, "same_as": target, "evidence": dict(evidence or {})}
        return self._storage.put(_file(data, task, code), json_bytes(fact))

    def equivalent(self, data: str, task: str, code: str) -> str:
        """Follow the facts from a code version to the one whose numbers are in the store."""
        seen = [code]
        while True:
            try:
                following = str(read_json(self._storage.get(_file(data, task, seen[-1])))["same_as"])
            except FileNotFoundError:
                return seen[-1]
            if following in seen:
                # Two processes put opposite facts at once: any member will do, as long as all readers pick the same.
                return min(seen[seen.index(following) :])
            seen.append(following)


def _file(data: str, task: str, code: str) -> str:
    return f"codes/equivalent-{digest([data, task, code])}.json"


def edited(old: Mapping[str, Any], new: Mapping[str, Any], kind: str = "normalised") -> list[str]:
    """Return the user's modules whose source differs between two descriptions, as "raw" text or "normalised"."""
    return [
        name for name, before, now in _differing(old, new, "files") if (before or {}).get(kind) != (now or {}).get(kind)
    ]


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what makes two descriptions of code different, in words.

    That are modules and files by name, environment variables, and versions of distributions.  Another version of Python
    gives every source another form: then those modules are named whose text differs.

    >>> one = {"read": {"a.yaml": "12"}, "variables": {}, "distributions": {"torch": "2.12"}}
    >>> changed(one, {"read": {}, "variables": {"MEAN": "34"}, "distributions": {"torch": "2.13", "timm": "1.0"}})
    ['a.yaml', 'the environment variable MEAN', 'timm 1.0, new', 'torch 2.12 to 2.13']
    """
    versions = _differing(old, new, "distributions")
    files = edited(old, new, "raw" if "python" in [name for name, _, _ in versions] else "normalised")
    files += [name for name, _, _ in _differing(old, new, "read")]
    return [
        *dict.fromkeys(files),  # a module's file may be read as well
        *(f"the environment variable {name}" for name, _, _ in _differing(old, new, "variables")),
        *(_version_change(*item) for item in versions),
    ]


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], part: str) -> list[tuple[str, Any, Any]]:
    """Return name, value before and value now of what differs in one part of two descriptions."""
    before, now = old.get(part, {}), new.get(part, {})
    names = sorted(before.keys() | now.keys())
    return [(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]


def _version_change(name: str, before: str | None, now: str | None) -> str:
    if before is None:
        return f"{name} {now}, new"
    return f"{name} {before}, gone" if now is None else f"{name} {before} to {now}"
