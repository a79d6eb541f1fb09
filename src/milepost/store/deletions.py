"""Checkpoints that Milepost deleted itself, on request: so that they are never taken for vanished ones."""

from collections.abc import Iterator, Mapping
from typing import Any

from milepost._internal.atomic import read_json
from milepost._internal.serialization import digest, json_bytes
from milepost.core.types import Identity
from milepost.store._storage import Storage


class Deletions:
    """The deletions of a store, under `runs/<run>/deleted/`: one immutable file for each path and content."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, run: str, path: str, identity: Identity, fact: Mapping[str, Any]) -> bool:
        """Put the fact that this file is deleted, before it is; False where it is there.  `fact` is plain data."""
        described = {"schema": 1, **fact, "run": run, "path": path, "content": list(identity.content)}
        return self._storage.put(_file(run, path, identity), json_bytes(described))

    def has(self, run: str, path: str, identity: Identity) -> bool:
        """Tell whether the absence of this file is Milepost's own doing."""
        try:
            self._storage.get(_file(run, path, identity))
        except FileNotFoundError:
            return False
        return True

    def all(self, run: str) -> Iterator[dict[str, Any]]:
        """Yield the deletions of a run."""
        for name in self._storage.list(f"runs/{run}/deleted"):
            found: dict[str, Any] = read_json(self._storage.get(f"runs/{run}/deleted/{name}"))
            yield found


def _file(run: str, path: str, identity: Identity) -> str:
    return f"runs/{run}/deleted/{digest([path, list(identity.content)])}.json"
