"""Records: the values of one metric for one evaluation, by estimator and coverage; and the failures beside them.

A record holds no time and no place, so that a store that was killed and resumed equals one that was not.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from milepost._internal.atomic import read_json
from milepost._internal.serialization import json_bytes
from milepost.errors import StoreError
from milepost.store._storage import Storage

OPTIONAL = ("gap", "note", "headline", "constant")
"""What a value of a record may have besides; left out where there is nothing to say."""

_NAME_LIMIT = 80
_NONFINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: tuples as lists, NumPy scalars as numbers, nonfinite numbers as text.

    >>> plain({"value": float("inf"), "n": (1, 2)})
    {'value': 'inf', 'n': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, (str, int, float)) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def number(value: float | str | None) -> float | None:
    """Return a number of a record as a number: undoes `plain`.

    >>> number("-inf"), number(3), number(None)
    (-inf, 3, None)
    """
    return _NONFINITE[value] if isinstance(value, str) else value


def coverage_text(coverage: Sequence[Sequence[int]]) -> str:
    """Return ranges as a part of a file name: "0-10000", several joined by "+", hashed where that is long.

    >>> coverage_text([[0, 256], [512, 768]])
    '0-256+512-768'
    """
    text = "+".join(f"{int(start)}-{int(stop)}" for start, stop in coverage)
    if len(text) > _NAME_LIMIT:
        return f"{len(coverage)}-ranges-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text


def by_slice(payload: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (slice, value) of a record: of all rows, or of each slice that it holds.

    >>> list(by_slice({"slice": "day", "values": [], "slices": {"day=mo": [{"value": 1}], "day=tu": [{"value": 0}]}}))
    [('day=mo', {'value': 1}), ('day=tu', {'value': 0})]
    """
    yield from ((payload["slice"], value) for value in payload["values"])
    for name, values in payload.get("slices", {}).items():
        yield from ((name, value) for value in values)


class Records:
    """The records of one evaluation, under its `records/`."""

    def __init__(self, storage: Storage, folder: str) -> None:
        """Use the folder `records` of an evaluation."""
        self._storage = storage
        self._folder = folder

    def publish(self, payload: Mapping[str, Any], tables: Mapping[str, Any] | None = None) -> bool:
        """Put a record, its tables (arrays by name) first; False where the same record is there."""
        name = self._name(payload)
        data = json_bytes(plain(payload))
        if tables:
            # Arrays only where there are some: reading records must not cost NumPy's import.
            from milepost.store import _archive  # noqa: PLC0415

            self._storage.put(f"{name}.npz", lambda stream: _archive.write(stream, tables))
        return self._storage.put(f"{name}.json", data)

    def has(self, payload: Mapping[str, Any]) -> bool:
        """Tell whether a record of this metric spec, estimator, batch size, slice and coverage is there.

        Only these keys of the payload are looked at.
        """
        try:
            self._storage.get(f"{self._name(payload)}.json")
        except FileNotFoundError:
            return False
        return True

    def read(self) -> list[dict[str, Any]]:
        """Return every record's payload (nonfinite numbers as text, see `number`), sorted by file name."""
        found = []
        for name in self._storage.list(self._folder):
            if name.endswith(".json"):
                try:
                    found.append(read_json(self._storage.get(f"{self._folder}/{name}")))
                except FileNotFoundError:
                    continue
        return found

    def tables(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record's tables, arrays by name; none where it has none."""
        from milepost.store import _archive  # noqa: PLC0415 - as above

        try:
            return _archive.read(self._storage.get(f"{self._name(payload)}.npz"))
        except FileNotFoundError:
            return {}

    def _name(self, payload: Mapping[str, Any]) -> str:
        try:
            spec, estimator = payload["metric"], payload["estimator"]
            slice_name, coverage = payload.get("slice", "all"), payload["coverage"]
            text = json.dumps(plain(spec), sort_keys=True, separators=(",", ":"))
            kind = estimator if estimator == "exact" else f"{estimator}-{int(payload['batch_size'])}"
            name = f"{spec['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.{kind}"
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a record without metric, estimator, batch_size or coverage: {error!r}") from None
        if slice_name != "all":
            name += f".slice-{hashlib.sha256(slice_name.encode()).hexdigest()[:8]}"
        return f"{self._folder}/{name}@{coverage_text(coverage)}"


class Failures:
    """Failures of one evaluation, numbered by attempt, under its `failures/`."""

    def __init__(self, storage: Storage, folder: str) -> None:
        """Use the folder `failures` of an evaluation."""
        self._storage = storage
        self._folder = folder

    def publish(self, attempt: int, failure: Mapping[str, Any]) -> bool:
        """Put a failure: plain data with "kind" and "message"; False where the attempt is there."""
        return self._storage.put(f"{self._folder}/{attempt}.json", json_bytes(plain({**failure, "attempt": attempt})))

    def list(self) -> list[dict[str, Any]]:
        """Return the failures in the order of their attempts."""
        found = []
        for name in self._storage.list(self._folder):
            try:
                found.append(read_json(self._storage.get(f"{self._folder}/{name}")))
            except FileNotFoundError:
                continue
        return sorted(found, key=lambda failure: int(failure.get("attempt", 0)))

    def ask_again(self) -> bool:
        """Put the wish that the latest failure be tried once more, whatever its kind; False where it is there."""
        return self._storage.put(self._options(len(self.list())), json_bytes({"schema": 1}))

    def asked_again(self) -> bool:
        """Tell whether the latest failure is to be tried once more."""
        try:
            self._storage.get(self._options(len(self.list())))
        except FileNotFoundError:
            return False
        return True

    def _options(self, attempt: int) -> str:
        # Beside the failures, where every file is one.
        return f"{self._folder.removesuffix('failures')}retries/{attempt}.json"
