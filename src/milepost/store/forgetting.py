"""Forgetting results on purpose: of a code version, of a data set, of some weights, or of one evaluation.

What is shared stays: a data set's columns while another evaluation is of it, a checkpoint's record while its weights
have another evaluation, a code version while it has one.  What somebody is working on stays too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from milepost._internal.atomic import PREFIX, read_object
from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.errors import StoreError, UsageError
from milepost.store._storage import has
from milepost.store.leases import Heartbeats, is_held
from milepost.store.store import Store

_SHORTEST = 4
_DECLARED = "declared:"


@dataclass(frozen=True, slots=True)
class Forgettable:
    """One thing that would go: `kind` is "evaluation", "data", "checkpoint" or "code"; `held` by a worker, it stays."""

    kind: str
    name: str
    spec: Mapping[str, Json]
    files: tuple[str, ...]
    nbytes: int
    held: bool = False


def forgettable(
    store: Store,
    weights: Collection[str] | None = None,
    paths: Collection[str] = (),
    code: str | None = None,
    data: str | None = None,
    key: str | None = None,
) -> list[Forgettable]:
    """Return what would go, evaluations first; nothing is deleted.

    An evaluation goes where all that is given fits it: the digests of its `weights`, a `code` version, a `data` set's
    name or digest, its own `key`; versions, digests and keys may be cut to four digits or more.  `paths` are those of
    checkpoints whose records go once their weights have no evaluation left.  Raises UsageError where nothing fits.
    """
    specs = {one: store.evaluation(one).spec() or {} for one in store.evaluations()}
    gone = {one for one, spec in specs.items() if _fits(one, spec, weights, code, data, key)}
    heartbeats = Heartbeats(store.storage)
    found = []
    for one in sorted(gone):
        folder = store.evaluation(one).folder
        held = is_held(store.storage, one, heartbeats)
        found.append(_described(store, "evaluation", one, specs[one], _files(store, folder), held=held))
    stay = [spec for one, spec in specs.items() if one not in gone] + [one.spec for one in found if one.held]
    if data is not None:
        known = {str(specs[one].get("data")) for one in gone}
        found += _data(store, data, known, {str(spec.get("data")) for spec in stay})
    if code is not None:
        found += _codes(store, code, {str(spec.get("code")) for spec in stay})
    found += _checkpoints(store, paths, weights or (), {str(spec.get("weights")) for spec in stay})
    if not found:
        raise UsageError("nothing on record fits; `milepost ls --json` and `milepost show` list what there is")
    return found


def forget(store: Store, things: Iterable[Forgettable]) -> list[Forgettable]:
    """Delete what nobody works on, results before what they were made of; return what was deleted.

    A kill in between leaves a store in which the same again finds the rest.
    """
    heartbeats = Heartbeats(store.storage)
    gone = []
    for thing in things:
        taken = thing.kind == "evaluation" and is_held(store.storage, thing.name, heartbeats)
        if not thing.held and not taken:
            for name in thing.files:
                store.storage.delete(name)
            gone.append(thing)
    return gone


def _fits(
    key: str,
    spec: Mapping[str, Json],
    weights: Collection[str] | None,
    code: str | None,
    data: str | None,
    own: str | None,
) -> bool:
    return (
        (weights is not None or code is not None or data is not None or own is not None)
        and (weights is None or spec.get("weights") in weights)
        and (code is None or _is_version(spec.get("code"), code))
        and (data is None or spec.get("data_name") == data or _begins(spec.get("data"), data))
        and (own is None or _begins(key, own))
    )


def _is_version(version: Json, wanted: str) -> bool:
    """Return whether a code version is meant: a declared one by all of it, a hash also by its first digits."""
    declared = str(version).removeprefix(_DECLARED)
    return wanted in (version, declared) or (declared == version and _begins(version, wanted))


def _begins(text: Json, start: str) -> bool:
    return text is not None and (str(text) == start or (len(start) >= _SHORTEST and str(text).startswith(start)))


def _data(store: Store, wanted: str, known: set[str], used: set[str]) -> list[Forgettable]:
    """Return the columns of data sets that are meant and of which no evaluation is left.

    By what they were first called themselves, too: a kill may have left the columns alone.
    """

    def is_meant(digest: str) -> bool:
        return digest in known or _begins(digest, wanted) or (store.dataset(digest).spec() or {}).get("name") == wanted

    digests = [one for one in store.storage.list("datasets") if is_meant(one)]
    return [_described(store, "data", one, {}, _files(store, f"datasets/{one}")) for one in digests if one not in used]


def _codes(store: Store, wanted: str, used: set[str]) -> list[Forgettable]:
    """Return the descriptions of a code version that no evaluation is of, and the facts that name it."""
    versions = [str(one["version"]) for one in store.codes.all() if _is_version(one["version"], wanted)]
    found = []
    for version in (one for one in versions if one not in used):
        names = [f"codes/code-{digest(version)}.json"]
        for name in store.storage.list("codes"):
            if name.startswith("equivalent-"):
                fact = read_object(store.storage.get(f"codes/{name}"), "code", "same_as")
                if version in (fact["code"], fact["same_as"]):
                    names.append(f"codes/{name}")
        found.append(_described(store, "code", version, {}, names))
    return found


def _checkpoints(store: Store, paths: Collection[str], weights: Collection[str], used: set[str]) -> list[Forgettable]:
    found = []
    for run in store.storage.list("runs") if paths else ():
        for name in store.storage.list(f"runs/{run}/checkpoints"):
            file = f"runs/{run}/checkpoints/{name}"
            try:
                record = read_object(store.storage.get(file), "digest", "path")
            except StoreError as error:
                store.on_damage(error)
                continue
            failed = record["digest"] is None
            if record["path"] in paths and (failed or (record["digest"] in weights and record["digest"] not in used)):
                retries = f"runs/{run}/retries/{name}"
                files = [file, *([retries] if has(store.storage, retries) else [])]
                found.append(_described(store, "checkpoint", record["path"], {}, files))
    return found


def _files(store: Store, folder: str) -> list[str]:
    """Return the files below a folder, results first, and last what says whose they are."""
    names = [
        path.relative_to(store.path).as_posix()
        for path in sorted((store.path / folder).rglob("*"))
        if path.is_file() and not path.name.startswith(PREFIX)
    ]
    return sorted(names, key=lambda name: ("/results." not in name, name.endswith("/spec.json")))


def _described(
    store: Store, kind: str, name: str, spec: Mapping[str, Json], files: Iterable[str], *, held: bool = False
) -> Forgettable:
    listed = tuple(files)
    nbytes = sum((store.path / file).stat().st_size for file in listed if (store.path / file).exists())
    return Forgettable(kind, name, spec, listed, nbytes, held)
