"""Bringing the index up to date: only folders whose time changed are listed, only files that are new are read."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from milepost._internal.atomic import JSON_LIMIT, read_json
from milepost.errors import StoreError
from milepost.store.records import OPTIONAL, by_slice

_RACY_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may change again within the same tick of its clock."""
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode


def refresh(connection: sqlite3.Connection, root: Path) -> int:
    """Compare the store's folders with what the index saw and mend the differences; return how many folders changed."""
    known = dict(connection.execute("SELECT path, mtime FROM folder"))
    changed = []
    for path in _folders(root):
        mtime = _mtime(f"{root}/{path}")
        before = known.pop(path, None)
        if mtime is None:
            if before is not None:
                known[path] = before
        elif mtime != before:
            changed.append((path, mtime))
    if not changed and not known:
        return 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS touched(digest TEXT PRIMARY KEY)")
        for path in known:
            _forget(connection, path)
        for path, mtime in changed:
            _rescan(connection, root, path, mtime)
        _choose(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return len(changed) + len(known)


def _folders(root: Path) -> Iterator[str]:
    for run in _subfolders(f"{root}/runs"):
        yield f"runs/{run}/checkpoints"
    for shelf in _subfolders(f"{root}/evaluations"):
        for key in _subfolders(f"{root}/evaluations/{shelf}"):
            yield f"evaluations/{shelf}/{key}/records"
            yield f"evaluations/{shelf}/{key}/failures"


def _subfolders(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mtime(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - thousands of them
    except (FileNotFoundError, NotADirectoryError):
        return None


def _rescan(connection: sqlite3.Connection, root: Path, path: str, mtime: int) -> None:
    now = time.time_ns()
    names = {name for name in _subfolders(f"{root}/{path}") if name.endswith(".json")}
    seen = _names(connection, path)
    for name in seen - names:
        _remove(connection, path, name)
    added = {name for name in sorted(names - seen) if _add(connection, root, path, name)}
    connection.execute("INSERT OR IGNORE INTO touched SELECT DISTINCT digest FROM value WHERE folder=?", (path,))
    kept = (seen & names) | added
    trusted = mtime if kept == names and now - mtime > _RACY_NS else 0
    connection.execute("INSERT OR REPLACE INTO folder VALUES(?,?,?)", (path, trusted, "/".join(sorted(kept))))


def _names(connection: sqlite3.Connection, path: str) -> set[str]:
    row = connection.execute("SELECT names FROM folder WHERE path=?", (path,)).fetchone()
    return set(row[0].split("/")) if row and row[0] else set()


def _add(connection: sqlite3.Connection, root: Path, path: str, name: str) -> bool:
    """Take one file in; False where it has to be looked at again next time."""
    try:
        data = _read(f"{root}/{path}/{name}")
        if not data:
            return False
        content = json.loads(data)
        if path.startswith("runs/"):
            _add_checkpoint(connection, path, name, content)
        else:
            parent, _, kind = path.rpartition("/")
            digest, created = _evaluation(connection, root, parent)
            if kind == "records":
                _add_record(connection, (path, name, digest, created), content)
            else:
                row = (path, name, digest, content["attempt"], content["kind"], content["message"])
                connection.execute("INSERT OR REPLACE INTO failure VALUES(?,?,?,?,?,?)", row)
    except FileNotFoundError:
        # Removed meanwhile, or an evaluation whose description has not arrived yet.
        return False
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{root}/{path}/{name}: expected what Milepost writes, found damage or another version's file ({error!r}); "
            "delete it to have it made again"
        ) from error
    return True


def _read(path: str) -> bytes:
    # Three calls to the system a file: a rebuild reads tens of thousands.
    handle = os.open(path, os.O_RDONLY)
    try:
        size = min(os.fstat(handle).st_size, JSON_LIMIT) + 1
        data = os.read(handle, size)
        if len(data) == size:
            raise ValueError(f"more than {JSON_LIMIT} bytes")
    finally:
        os.close(handle)
    return data


def _add_checkpoint(connection: sqlite3.Connection, path: str, name: str, content: dict[str, Any]) -> None:
    kind, message = content["failure"] or (None, None)
    row = (path, name, content["run"], content["path"], content["variant"], content["digest"], content["step"])
    rest = (content["name"], content["seen"], content["identity"][4], content["attempt"], kind, message)
    connection.execute("INSERT OR REPLACE INTO sighting VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)", (*row, *rest))


def _evaluation(connection: sqlite3.Connection, root: Path, folder: str) -> tuple[str, int]:
    row = connection.execute("SELECT digest, created FROM evaluation WHERE folder=?", (folder,)).fetchone()
    if row is not None:
        return row[0], row[1]
    file = f"{root}/{folder}/spec.json"
    digest, created = read_json(file)["weights"], Path(file).stat().st_mtime_ns
    connection.execute("INSERT INTO evaluation VALUES(?,?,?)", (folder, digest, created))
    return digest, created


def _add_record(connection: sqlite3.Connection, place: tuple[str, str, str, int], content: dict[str, Any]) -> None:
    path, name, digest, created = place
    covered = sum(stop - start for start, stop in content["coverage"])
    head = (path, name, digest, content["data"])
    rest = (content["estimator"], content["batch_size"] or 0, covered, created)
    connection.executemany(
        "INSERT INTO value(folder,file,digest,data,slice,estimator,batch,covered,created,metric,text) "
        "VALUES(?,?,?,?,?,?,?,?,?,?,?)",
        [
            (*head, slice_name, *rest, value["metric"], _text(content, slice_name, value))
            for slice_name, value in by_slice(content)
        ],
    )


def _text(content: dict[str, Any], slice_name: str, value: Mapping[str, Any]) -> str:
    """Return the JSON of one value's record, from "data" on: what comes before is known only when it is asked for."""
    shown = {"data": content["data"], "slice": slice_name, "metric": value["metric"]}
    shown["estimator"] = content["estimator"]
    if content["estimator"] != "exact":
        shown["batch_size"] = content["batch_size"]
    for key in ("value", "numerator", "denominator", "n", "intervals", "tied", "nonfinite"):
        shown[key] = value.get(key)
    shown["intervals"] = shown["intervals"] or []
    shown["status"] = content["status"]
    for key in OPTIONAL:
        if value.get(key) is not None:
            shown[key] = value[key]
    return _encode(shown)[1:]


def _forget(connection: sqlite3.Connection, path: str) -> None:
    for name in _names(connection, path):
        _remove(connection, path, name)
    connection.execute("DELETE FROM folder WHERE path=?", (path,))
    connection.execute("DELETE FROM evaluation WHERE folder=?", (path.rpartition("/")[0],))


def _remove(connection: sqlite3.Connection, path: str, name: str) -> None:
    where = "WHERE folder=? AND file=?"
    touched = f"INSERT OR IGNORE INTO touched SELECT digest FROM value {where}"  # noqa: S608 - constants only
    connection.execute(touched, (path, name))
    for table in ("checkpoint", "value", "failure"):
        connection.execute(f"DELETE FROM {table} {where}", (path, name))  # noqa: S608 - constants only


def _choose(connection: sqlite3.Connection) -> None:
    """Mark the one to show among equal values of a content: the largest coverage, then the newest evaluation."""
    connection.execute("UPDATE value SET shown=0 WHERE digest IN (SELECT digest FROM touched)")
    connection.execute(
        "UPDATE value SET shown=1 WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER ("
        "PARTITION BY digest, data, slice, metric, estimator, batch ORDER BY covered DESC, created DESC, folder, file"
        ") AS place FROM value WHERE digest IN (SELECT digest FROM touched)) WHERE place=1)"
    )
    connection.execute("DELETE FROM touched")
