"""Failures of one evaluation, numbered by attempt, and the request to try the latest once more."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from milepost._internal.atomic import read_json
from milepost._internal.serialization import json_bytes
from milepost.core.types import Json
from milepost.store._storage import Storage, has
from milepost.store.records import plain


class Failures:
    """The failures of one evaluation, under its `failures/`; requests to retry lie beside them."""

    def __init__(self, storage: Storage, evaluation: str, spec: Mapping[str, Json] | None = None) -> None:
        """Use the folder of an evaluation; `spec` says what it is, in every failure that is put."""
        self._storage = storage
        self._evaluation = evaluation
        self._spec = spec

    def publish(self, attempt: int, failure: Mapping[str, Json]) -> bool:
        """Put a failure: plain data with "kind" and "message"; False where the attempt is there."""
        described = {"attempt": attempt} if self._spec is None else {"attempt": attempt, "evaluation": dict(self._spec)}
        return self._storage.put(
            f"{self._evaluation}/failures/{attempt}.json", json_bytes(plain({**failure, **described}))
        )

    def list(self) -> list[dict[str, Json]]:
        """Return the failures in the order of their attempts."""
        return [{name: item for name, item in one.items() if name != "evaluation"} for one in self._read()]

    def spec(self) -> dict[str, Json] | None:
        """Return what the evaluation is, as the latest failure has it."""
        specs: list[dict[str, Json]] = [one["evaluation"] for one in self._read() if "evaluation" in one]
        return specs[-1] if specs else None

    def request_retry(self) -> bool:
        """Ask that the latest failure be tried once more, whatever its kind; False where that was asked already."""
        return self._storage.put(self._request(len(self.list())), json_bytes({"schema": 1}))

    def retry_requested(self) -> bool:
        """Return whether the latest failure is to be tried once more."""
        return self.requested(len(self.list()))

    def requested(self, attempt: int) -> bool:
        """Return whether this attempt is to be tried once more."""
        return has(self._storage, self._request(attempt))

    def _read(self) -> Iterator[dict[str, Json]]:
        found = []
        for name in self._storage.list(f"{self._evaluation}/failures"):
            with suppress(FileNotFoundError):
                found.append(read_json(self._storage.get(f"{self._evaluation}/failures/{name}")))
        yield from sorted(found, key=lambda failure: int(failure.get("attempt", 0)))

    def _request(self, attempt: int) -> str:
        return f"{self._evaluation}/retries/{attempt}.json"
