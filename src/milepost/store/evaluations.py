"""One evaluation's folder: what it is, its parts, records, failures."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milepost._internal.atomic import read_json
from milepost._internal.serialization import digest, json_bytes
from milepost.errors import StoreError
from milepost.store._storage import Storage
from milepost.store.records import Failures, Records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milepost.core.types import Json
    from milepost.store.parts import Parts

_KEY = re.compile(r"[0-9a-f]{8,64}")


def folder_of(key: str) -> str:
    """Return the folder of an evaluation key within a store.

    >>> folder_of("0123456789")
    'evaluations/01/0123456789'
    """
    if not _KEY.fullmatch(key):
        raise StoreError(f"{key!r}: expected an evaluation key of 8 to 64 hex digits")
    return f"evaluations/{key[:2]}/{key}"


def partial_of(spec: "Mapping[str, Json]") -> str:
    """Return the mark of weights that were restored in part, as every status bears it; "" for whole ones.

    >>> partial_of({"missing": {"variables": 3, "of": 62, "names": ["head.weight"]}})
    'PARTIAL: 3 of 62 variables missing'
    """
    missing = spec.get("missing")
    return f"PARTIAL: {missing['variables']} of {missing['of']} variables missing" if missing else ""


@dataclass(frozen=True, slots=True)
class RecordKey:
    """What a record is of: a metric by the digest of its spec, an estimator, a slice's name or "all", the rows."""

    metric: str
    estimator: str
    batch_size: int | None
    slice: str
    coverage: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class EvaluationState:
    """What the store has of one evaluation, as a plan needs it.

    `coverage` holds the ranges of rows by column set; `records` what is on record; `failures` are in the order of their
    attempts, plain data with "kind" and "message"; `retry` tells whether the latest is to be tried once more.
    """

    key: str
    spec: "dict[str, Json] | None"
    coverage: "Mapping[str, tuple[tuple[int, int], ...]]"
    records: frozenset[RecordKey]
    failures: "tuple[Mapping[str, Json], ...]"
    retry: bool


def record_key(payload: "Mapping[str, Json]") -> RecordKey:
    """Return what a record's payload is of."""
    rows = tuple((int(start), int(stop)) for start, stop in payload["coverage"])
    size, slice_name = payload.get("batch_size"), payload.get("slice", "all")
    return RecordKey(digest(payload["metric"]), payload["estimator"], size, slice_name, rows)


class EvaluationFolder:
    """The folder of one evaluation key."""

    def __init__(self, storage: Storage, key: str) -> None:
        """Name the evaluation by its key; nothing is made yet."""
        self._storage = storage
        self.key = key
        self.folder = folder_of(key)
        self.records = Records(storage, f"{self.folder}/records")
        self.failures = Failures(storage, f"{self.folder}/failures")

    def state(self) -> EvaluationState:
        """Return what is there in one read; it costs at most two opened files once the evaluation is finished."""
        failures = tuple(self.failures.list())
        return EvaluationState(
            key=self.key,
            spec=self.spec(),
            coverage={name: tuple(self.parts(name).coverage()) for name in self.column_sets()},
            records=frozenset(record_key(payload) for payload in self.records.read()),
            failures=failures,
            retry=bool(failures) and self.failures.asked_again(),
        )

    def write_spec(self, spec: "Mapping[str, Json]") -> bool:
        """Put what the evaluation is; False where it is there.  `spec["weights"]` is the weights digest."""
        if not isinstance(spec.get("weights"), str):
            raise StoreError(f"evaluation {self.key}: its spec needs 'weights', the digest of the weights")
        return self._storage.put(f"{self.folder}/spec.json", json_bytes(dict(spec)))

    def spec(self) -> "dict[str, Json] | None":
        """Return what the evaluation is, None where nothing is there."""
        try:
            found: dict[str, Json] = read_json(self._storage.get(f"{self.folder}/spec.json"))
        except FileNotFoundError:
            return None
        return found

    def parts(self, column_set: str) -> "Parts":
        """Return the parts of a column set."""
        # Lazily: listing a store must not cost NumPy's import.
        from milepost.store.parts import Parts  # noqa: PLC0415

        return Parts(self._storage, f"{self.folder}/parts/{column_set}", f"{self.folder}/sealed/{column_set}.npz")

    def column_sets(self) -> list[str]:
        """Return the names of the column sets that it has parts of."""
        sealed = (name.removesuffix(".npz") for name in self._storage.list(f"{self.folder}/sealed"))
        return sorted({*sealed, *self._storage.list(f"{self.folder}/parts")})

    def tidy(self) -> int:
        """Remove parts under a seal; return how many."""
        if not self._storage.list(f"{self.folder}/parts"):
            return 0
        return sum(self.parts(name).tidy() for name in self.column_sets())
