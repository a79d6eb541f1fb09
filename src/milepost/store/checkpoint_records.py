"""Checkpoints as they were seen at a path: one immutable file for each path, file identity, variant and model."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field

from milepost._internal.serialization import digest, json_bytes
from milepost.core.types import Identity, Json
from milepost.errors import StoreError
from milepost.store._damage import OnDamage, raised
from milepost.store._leading import read_plain
from milepost.store._storage import Storage, has


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A checkpoint as seen: success with the digest of its weights, or a failure of a kind.

    `path` is the checkpoint's address; `name` its short name ("step-900"); `signature` a hash of the model's variables,
    since a digest is taken under the model's own names ("" where the file failed before a model mattered); `attempt`
    counts failures from 1; `notes` is plain data (mapping used, casts, sizes); `seen` is UTC in RFC 3339; `stamp` is
    `fileid.stamp` of all its files before its weights were digested ("" where it was not taken).
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
    stamp: str = ""

    def __post_init__(self) -> None:
        if (self.digest is None) == (self.failure is None) or self.attempt < 1:
            raise StoreError(
                f"checkpoint {self.path}: expected a digest or a failure and an attempt from 1, found "
                f"digest {self.digest!r}, failure {self.failure!r}, attempt {self.attempt}"
            )

    @property
    def label(self) -> str:
        """The name, with the variant behind it unless that is the raw weights: what messages call the checkpoint."""
        return self.name if self.variant == "raw" else f"{self.name}:{self.variant}"


class CheckpointRecords:
    """The checkpoint records of a store, under `runs/<run>/checkpoints/`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, checkpoint: CheckpointRecord) -> bool:
        """Put a record; False where the same one (or the same attempt) is there."""
        stem = _stem_of(checkpoint)
        end = "" if checkpoint.failure is None else f".f{checkpoint.attempt}"
        return self._put(f"{stem}{end}.json", checkpoint)

    def _put(self, name: str, checkpoint: CheckpointRecord) -> bool:
        described = {"schema": 1, **asdict(checkpoint), "identity": list(astuple(checkpoint.identity))}
        return self._storage.put(name, json_bytes(described))

    def add_rewritten(self, checkpoint: CheckpointRecord) -> bool:
        """Put a record of what was written into files whose sizes and times are those of an earlier record."""
        name = f"{_stem_of(checkpoint)}.{checkpoint.stamp}{'' if checkpoint.failure is None else '.f1'}.json"
        self._note(checkpoint, checkpoint.stamp, name)
        return self._put(name, checkpoint)

    def verify(self, checkpoint: CheckpointRecord, stamp: str, before: str | None = None) -> None:
        """Note that a checkpoint's files, at a stamp, hold the weights of its record, or what they held `before`."""
        name = f"{_stem_of(checkpoint)}.json" if before is None else self._name_at(checkpoint, before)
        if name is not None:
            self._note(checkpoint, stamp, name)

    def verified(self, checkpoint: CheckpointRecord, stamp: str) -> CheckpointRecord | None:
        """Return the record, this or a later one, of what a checkpoint's files hold at a stamp; None where unknown."""
        name = self._name_at(checkpoint, stamp)
        return checkpoint if name == f"{_stem_of(checkpoint)}.json" else None if name is None else self._read(name)

    def _name_at(self, checkpoint: CheckpointRecord, stamp: str) -> str | None:
        """Return the name of the record of what the files hold at a stamp; the notes of stamps are a mere cache."""
        if checkpoint.stamp == stamp:
            return f"{_stem_of(checkpoint)}.json"
        with suppress(FileNotFoundError, ValueError, KeyError):
            return str(read_plain(str(self._storage.get(_note_of(checkpoint, stamp))))["record"])
        return None

    def _note(self, checkpoint: CheckpointRecord, stamp: str, name: str) -> None:
        with suppress(StoreError):  # read-only, or full: without the note the weights are digested again
            self._storage.put(_note_of(checkpoint, stamp), json_bytes({"schema": 1, "record": name}), durable=False)

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

    def all(self, run: str | None = None, on_damage: OnDamage = raised) -> Iterator[CheckpointRecord]:
        """Yield every record, of one run or of all, failures included."""
        for folder in [run] if run is not None else self._storage.list("runs"):
            for name in self._storage.list(f"runs/{folder}/checkpoints"):
                try:
                    found = self._read(f"runs/{folder}/checkpoints/{name}")
                except StoreError as error:
                    on_damage(error)
                    continue
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
        """Return whether this very failure, of this attempt, is to be tried once more."""
        return has(self._storage, _request(checkpoint))


def _stem(run: str, path: str, identity: Identity, variant: str, signature: str) -> str:
    return f"runs/{run}/checkpoints/{digest([path, list(identity.content), variant, signature])}"


def _stem_of(one: CheckpointRecord) -> str:
    return _stem(one.run, one.path, one.identity, one.variant, one.signature)


def _note_of(one: CheckpointRecord, stamp: str) -> str:
    return f"{_stem_of(one).replace('/checkpoints/', '/verified/')}.{stamp}.json"


def _request(checkpoint: CheckpointRecord) -> str:
    return f"{_stem_of(checkpoint).replace('/checkpoints/', '/retries/')}.f{checkpoint.attempt}.json"
