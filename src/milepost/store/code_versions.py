"""Code versions that a store has seen, and the facts that two of them give the same numbers."""

from collections.abc import Mapping
from typing import Any

from milepost._internal.atomic import read_json, read_object
from milepost._internal.serialization import digest, json_bytes
from milepost.core.types import Json
from milepost.store._storage import Storage
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.code_standing import CodeStanding

_LATEST, _EQUIVALENT = "latest-", "equivalent-"
_USED, _SAME = ("file", "entry", "code"), ("data", "task", "code", "same_as")


class Codes:
    """The folder `codes/` of a store: descriptions, equivalences, and which version was used one after the other."""

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

    def use(self, file: Json, entry: Json, version: str, signature: str = "", place: str = "") -> str | None:
        """Note what an evaluation file's entry is from now on: its code version, and how it reads checkpoints.

        `place` is the file's path.  Returns the path of the last use, where that is another one.
        """
        fact = {"file": file, "entry": entry, "code": version, "signature": signature, "place": place}
        before = self._used().get((file, entry), {})
        while self._used().get((file, entry)) != fact:
            names = [name for name in self._storage.list("codes") if name.startswith(_LATEST)]
            number = 1 + int(max(names)[len(_LATEST) :].partition(".")[0]) if names else 1
            self._storage.put(f"codes/{_LATEST}{number:06d}.json", json_bytes(fact))
        return before.get("place") or None if before.get("place") != place else None

    def _used(self) -> dict[tuple[Json, Json], dict[str, Any]]:
        """Return the last use of each file's entry."""
        names = (name for name in self._storage.list("codes") if name.startswith(_LATEST))
        facts = (read_object(self._storage.get(f"codes/{name}"), *_USED) for name in sorted(names))
        return {(fact["file"], fact["entry"]): fact for fact in facts}

    def add_equivalent(self, data: str, task: str, code: str, same_as: str, found: CodeEquivalence) -> bool:
        """Put the fact that `code` gives what `same_as` gave, for this data and task; False where it adds nothing."""
        standing = self.standing()
        if same_as in standing.chain(data, task, code) or code in standing.chain(data, task, same_as):
            return False
        fact = {"data": data, "task": task, "code": code, "same_as": same_as, "evidence": found.plain()}
        return self._storage.put(f"codes/{_EQUIVALENT}{digest([data, task, code])}.json", json_bytes(fact))

    def standing(self) -> CodeStanding:
        """Return what decides which evaluations stand now."""
        latest, equivalences = dict[tuple[Json, Json], str](), dict[tuple[str, str, str], Mapping[str, Json]]()
        readings = dict[str, int]()
        for number, name in enumerate(sorted(self._storage.list("codes"))):
            if name.startswith((_LATEST, _EQUIVALENT)):
                keys = _USED if name.startswith(_LATEST) else _SAME
                fact = read_object(self._storage.get(f"codes/{name}"), *keys)
                if name.startswith(_LATEST):
                    latest[fact["file"], fact["entry"]] = str(fact["code"])
                    readings[str(fact.get("signature", ""))] = number
                else:
                    equivalences[fact["data"], fact["task"], fact["code"]] = fact
        return CodeStanding(latest, equivalences, readings)


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
    ['a.yaml', 'the environment variable MEAN', 'timm 1.0 (new)', 'torch 2.12 to 2.13']
    """
    versions = _differing(old, new, "distributions")
    files = edited(old, new, "raw" if "python" in [name for name, _, _ in versions] else "normalised")
    files += [name for name, _, _ in _differing(old, new, "read")]
    return [
        *dict.fromkeys(files),  # a module's file may be read as well
        *(f"the environment variable {name}" for name, _, _ in _differing(old, new, "variables")),
        *(_version_change(*item) for item in versions if item[2] is not None),
        *(f"{name} {before} (no longer imported)" for name, before, now in versions if now is None),
    ]


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], part: str) -> list[tuple[str, Any, Any]]:
    """Return name, value before and value now of what differs in one part of two descriptions."""
    before, now = old.get(part, {}), new.get(part, {})
    names = sorted(before.keys() | now.keys())
    return [(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]


def _version_change(name: str, before: str | None, now: str) -> str:
    return f"{name} {now} (new)" if before is None else f"{name} {before} to {now}"
