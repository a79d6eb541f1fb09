"""Checkpoints that Milepost deleted itself, on request: the record that `gc` leaves of each."""

from collections.abc import Mapping
from typing import Any

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


def _file(run: str, path: str, identity: Identity) -> str:
    return f"runs/{run}/deleted/{digest([path, list(identity.content)])}.json"
