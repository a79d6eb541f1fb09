"""Checkpoints as they were seen at a path: one immutable file for each path, file identity, variant and model."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field

from milepost._internal.serialization import digest, json_bytes
from milepost.core.types import Identity, Json
from milepost.errors import StoreError
from milepost.store._leading import read_plain
from milepost.store._storage import Storage, has


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A checkpoint as seen: success with the digest of its weights, or a failure of a kind.

    `path` is the checkpoint's address; `name` its short name ("step-900"); `signature` a hash of the model's variables,
    since a digest is taken under the model's own names ("" where the file failed before a model mattered); `attempt`
    counts failures from 1; `notes` is plain data (mapping used, casts, sizes); `seen` is UTC in RFC 3339.
    """

    run: str
    path: str
    identity: Identity
    name: str
    variant: str = "raw"
    signature: str = ""
    step: int | None = None
    step_source: str | None = None
    digest: str | None = None
    failure: tuple[str, str] | None = None
    attempt: int = 1
    notes: Mapping[str, Json] = field(default_factory=dict)
    seen: str = ""

    def __post_init__(self) -> None:
        if (self.digest is None) == (self.failure is None) or self.attempt < 1:
            raise StoreError(
                f"checkpoint {self.path}: expected a digest or a failure and an attempt from 1, found "
                f"digest {self.digest!r}, failure {self.failure!r}, attempt {self.attempt}"
            )


class CheckpointRecords:
    """The checkpoint records of a store, under `runs/<run>/checkpoints/`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, checkpoint: CheckpointRecord) -> bool:
        """Put a record; False where the same one (or the same attempt) is there."""
        stem = _stem_of(checkpoint)
        end = "" if checkpoint.failure is None else f".f{checkpoint.attempt}"
        described = {"schema": 1, **asdict(checkpoint), "identity": list(astuple(checkpoint.identity))}
        return self._storage.put(f"{stem}{end}.json", json_bytes(described))

    def find(self, run: str, path: str, identity: Identity, variant: str, signature: str) -> CheckpointRecord | None:
        """Return the success, else the latest failure (attempts count from 1 without a gap), else None."""
        stem = _stem(run, path, identity, variant, signature)
        found = self._read(f"{stem}.json")
        attempt = 1
        while found is None or found.failure is not None:
            later = self._read(f"{stem}.f{attempt}.json")
            if later is None:
                break
            found = later
            attempt += 1
        return found

    def all(self, run: str | None = None) -> Iterator[CheckpointRecord]:
        """Yield every record, of one run or of all, failures included."""
        for folder in [run] if run is not None else self._storage.list("runs"):
            for name in self._storage.list(f"runs/{folder}/checkpoints"):
                found = self._read(f"runs/{folder}/checkpoints/{name}")
                if found is not None:
                    yield found

    def _read(self, name: str) -> CheckpointRecord | None:
        try:
            path = self._storage.get(name)
            plain = read_plain(str(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(
                f"{path}: expected JSON, found damage ({error}); delete it to have it made again"
            ) from None
        try:
            plain.pop("schema")
            plain["identity"] = Identity(*plain["identity"])
            plain["failure"] = tuple(plain["failure"]) if plain["failure"] else None
            return CheckpointRecord(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path}: expected a checkpoint record of this version, found another ({error}); "
                "delete it to have it made again"
            ) from None


class CheckpointRetries:
    """Requests that a checkpoint that failed be tried once more by the next run or watch, whatever the failure."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, checkpoint: CheckpointRecord) -> bool:
        """Ask that this failure be tried once more; False where that was asked already."""
        request = json_bytes({"schema": 1, "path": checkpoint.path, "attempt": checkpoint.attempt})
        return self._storage.put(_request(checkpoint), request)

    def has(self, checkpoint: CheckpointRecord) -> bool:
        """Tell whether this very failure, of this attempt, is to be tried once more."""
        return has(self._storage, _request(checkpoint))


def _stem(run: str, path: str, identity: Identity, variant: str, signature: str) -> str:
    return f"runs/{run}/checkpoints/{digest([path, list(identity.content), variant, signature])}"


def _stem_of(one: CheckpointRecord) -> str:
    return _stem(one.run, one.path, one.identity, one.variant, one.signature)


def _request(checkpoint: CheckpointRecord) -> str:
    return f"{_stem_of(checkpoint).replace('/checkpoints/', '/retries/')}.f{checkpoint.attempt}.json"
