"""One evaluation's folder: what it is, its parts, records, failures."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milepost.errors import StoreError
from milepost.store._damage import OnDamage, raised
from milepost.store._leading import Leading
from milepost.store._storage import Storage
from milepost.store.failures import Failures
from milepost.store.records import RecordKey
from milepost.store.results import EvaluationResults, is_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

    from milepost.core.types import Json
    from milepost.store.parts import Parts

_COLUMNS = "columns."
_KEY = re.compile(r"[0-9a-f]{8,64}")


def folder_of(key: str) -> str:
    """Return the folder of an evaluation key within a store.

    >>> folder_of("0123456789")
    'evaluations/0/0123456789'
    """
    if not _KEY.fullmatch(key):
        raise StoreError(f"{key!r}: expected an evaluation key of 8 to 64 hex digits")
    return f"evaluations/{key[0]}/{key}"


def partial_of(spec: "Mapping[str, Json]") -> str:
    """Return the mark of weights that were restored in part, as every status bears it; "" for whole ones.

    >>> partial_of({"missing": {"variables": 3, "of": 62, "names": ["head.weight"]}})
    'PARTIAL: 3 of 62 variables missing'
    """
    missing = spec.get("missing")
    return f"PARTIAL: {missing['variables']} of {missing['of']} variables missing" if missing else ""


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


class EvaluationFolder:
    """The folder of one evaluation key."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        specs: "MutableMapping[str, Mapping[str, Json]] | None" = None,
        on_damage: OnDamage = raised,
    ) -> None:
        """Name the evaluation by its key; nothing is made yet.  `specs` remembers what `describe` was given, by key."""
        self._storage = storage
        self._specs = {} if specs is None else specs
        self._on_damage = on_damage
        self.key = key
        self.folder = folder_of(key)
        self.results = EvaluationResults(storage, self.folder, self.spec, on_damage)
        self.failures = Failures(storage, self.folder, self._specs.get(key))

    def state(self) -> EvaluationState:
        """Return what is there in one read; it costs at most two opened files once the evaluation is finished."""
        names = self._storage.list(self.folder)
        files = list(self.results.files(names))
        spec = files[0].spec if files else self.spec() if names else None
        failures = tuple(self.failures.list()) if "failures" in names else ()
        coverage = {name: self._covered(name, names, spec) for name in self._column_sets(names)}
        return EvaluationState(
            key=self.key,
            spec=spec,
            coverage=coverage,
            records=files[0].records if len(files) == 1 else frozenset().union(*(file.records for file in files)),
            failures=failures,
            retry=bool(failures) and "retries" in names and self.failures.requested(len(failures)),
        )

    def describe(self, spec: "Mapping[str, Json]") -> None:
        """Say what the evaluation is, for all that is put from now on.  `spec["weights"]` is the weights digest."""
        if not isinstance(spec.get("weights"), str):
            raise StoreError(f"evaluation {self.key}: its spec needs 'weights', the digest of the weights")
        self._specs[self.key] = dict(spec)
        self.failures = Failures(self._storage, self.folder, self._specs[self.key])

    def remember(self) -> None:
        """Hold what the evaluation is, until it is finished: to read it once for all that is asked."""
        spec = self.spec()
        if spec is not None:
            self._specs[self.key] = spec

    def finished(self) -> None:
        """Hold what was described no longer: all that was to be put is in the store."""
        self._specs.pop(self.key, None)

    def spec(self) -> "dict[str, Json] | None":
        """Return what the evaluation is: as was described here, else as its files say; None where nothing is there."""
        known = self._specs.get(self.key)
        if known is not None:
            return dict(known)
        for _ in range(2):  # parts may be sealed, and removed, between a listing and an opening
            for name in self._described_in():
                try:
                    found: dict[str, Json] | None = Leading(str(self._storage.get(name))).header().get("evaluation")
                except FileNotFoundError:
                    continue
                except StoreError as error:
                    self._on_damage(error)
                    continue
                if found is not None:
                    return found
        return self.failures.spec()

    def _described_in(self) -> "Iterator[str]":
        """Yield the files whose header says what the evaluation is."""
        names = self._storage.list(self.folder)
        yield from (f"{self.folder}/{name}" for name in names if is_results(name))
        yield from (f"{self.folder}/{name}" for name in names if name.startswith(_COLUMNS))
        for name in self._storage.list(f"{self.folder}/parts") if "parts" in names else ():
            folder = f"{self.folder}/parts/{name}"
            yield from (f"{folder}/{part}" for part in self._storage.list(folder))

    def parts(self, column_set: str) -> "Parts":
        """Return the parts of a column set."""
        # Lazily: listing a store must not cost NumPy's import.
        from milepost.store.parts import Parts  # noqa: PLC0415

        sealed = f"{self.folder}/{_COLUMNS}{column_set}.npz"
        return Parts(self._storage, f"{self.folder}/parts/{column_set}", sealed, self._specs.get(self.key))

    def column_sets(self) -> list[str]:
        """Return the names of the column sets that it has columns of."""
        return self._column_sets(self._storage.list(self.folder))

    def tidy(self) -> int:
        """Remove parts under a seal; return how many."""
        return sum(self.parts(name).tidy() for name in self.column_sets())

    def _covered(
        self, column_set: str, names: "Sequence[str]", spec: "Mapping[str, Json] | None"
    ) -> tuple[tuple[int, int], ...]:
        """Return the rows that a column set covers; those of a whole one are known without opening it."""
        whole = f"{_COLUMNS}{column_set}.npz"
        if whole in names and spec is not None and "size" in spec:
            with suppress(FileNotFoundError):
                self._storage.get(f"{self.folder}/{whole}")
                return ((0, int(spec["size"])),)
        return tuple(self.parts(column_set).coverage())

    def _column_sets(self, names: "Sequence[str]") -> list[str]:
        whole = (name[len(_COLUMNS) : -len(".npz")] for name in names if name.startswith(_COLUMNS))
        return sorted({*whole, *(self._storage.list(f"{self.folder}/parts") if "parts" in names else ())})
