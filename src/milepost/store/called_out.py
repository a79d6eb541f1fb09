"""Which best checkpoint of a run a watch has called out last: put once its command has ended, for the next watch."""

from contextlib import suppress
from typing import Any

from milepost._internal.atomic import read_json
from milepost._internal.serialization import digest, json_bytes
from milepost.core.types import Json
from milepost.store._storage import Storage


class CalledOut:
    """The folder `callouts/` of a store: by run, metric and data set the digest of the weights, None before any.

    >>> import tempfile
    >>> from milepost.store._storage import FolderStorage
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     called = CalledOut(FolderStorage(folder), "top1", None)
    ...     called.last("lenet"), called.put("lenet", None), called.put("lenet", "d1"), called.last("lenet")
    (None, None, None, {'digest': 'd1'})
    """

    def __init__(self, storage: Storage, metric: str, data: str | None) -> None:
        self._storage = storage
        self._about = [metric, data]

    def last(self, run: str) -> dict[str, Any] | None:
        """Return what was put last, {"digest": ...}; None where nothing was."""
        folder = self._folder(run)
        for name in reversed(self._storage.list(folder)):
            with suppress(FileNotFoundError):  # a later one is there
                return {"digest": read_json(self._storage.get(f"{folder}/{name}"))["digest"]}
        return None

    def put(self, run: str, weights: Json) -> None:
        """Note that these weights were called out, or were the best before the first watch that calls."""
        folder = self._folder(run)
        names = self._storage.list(folder)
        number = int(names[-1].partition(".")[0]) + 1 if names else 0
        self._storage.put(f"{folder}/{number:06}.json", json_bytes({"run": run, "digest": weights}))
        for name in names:
            self._storage.delete(f"{folder}/{name}")

    def _folder(self, run: str) -> str:
        return f"callouts/{digest([run, *self._about])}"
