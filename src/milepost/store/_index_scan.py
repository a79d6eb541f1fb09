"""Bringing the index up to date: only folders whose time changed are listed, only files that are new are read."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from milepost.errors import StoreError
from milepost.files import read_json

_RACY_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may change again within the same tick of its clock."""


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
        yield f"runs/{run}/sightings"
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
        return os.stat(path).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def _rescan(connection: sqlite3.Connection, root: Path, path: str, mtime: int) -> None:
    now = time.time_ns()
    names = {name for name in _subfolders(f"{root}/{path}") if name.endswith(".json")}
    seen = {name for (name,) in connection.execute("SELECT name FROM file WHERE folder=?", (path,))}
    for name in seen - names:
        _remove(connection, path, name)
    whole = True
    for name in sorted(names - seen):
        whole &= _add(connection, root, path, name)
    trusted = mtime if whole and now - mtime > _RACY_NS else 0
    connection.execute("INSERT OR REPLACE INTO folder VALUES(?,?)", (path, trusted))


def _add(connection: sqlite3.Connection, root: Path, path: str, name: str) -> bool:
    try:
        if not os.path.getsize(f"{root}/{path}/{name}"):
            return False
        content = read_json(f"{root}/{path}/{name}")
        if path.startswith("runs/"):
            _add_sighting(connection, path, name, content)
        else:
            parent, _, kind = path.rpartition("/")
            digest, created = _evaluation(connection, root, parent)
            if kind == "records":
                _add_record(connection, (path, name, digest, created), content)
            else:
                row = (path, name, digest, content["attempt"], content["kind"], content["message"])
                connection.execute("INSERT OR REPLACE INTO failure VALUES(?,?,?,?,?,?)", row)
    except FileNotFoundError:
        # Removed meanwhile, or an evaluation whose description has not arrived yet: looked at again next time.
        return False
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{root}/{path}/{name}: not what this version of Milepost writes ({error!r})") from error
    connection.execute("INSERT OR REPLACE INTO file VALUES(?,?)", (path, name))
    return True


def _add_sighting(connection: sqlite3.Connection, path: str, name: str, content: dict[str, Any]) -> None:
    kind, message = content["failure"] or (None, None)
    row = (path, name, content["run"], content["path"], content["variant"], content["digest"], content["step"])
    rest = (content["name"], content["seen"], content["attempt"], kind, message)
    connection.execute("INSERT OR REPLACE INTO sighting VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", (*row, *rest))


def _evaluation(connection: sqlite3.Connection, root: Path, folder: str) -> tuple[str, int]:
    row = connection.execute("SELECT digest, created FROM evaluation WHERE folder=?", (folder,)).fetchone()
    if row is not None:
        return row[0], row[1]
    file = f"{root}/{folder}/spec.json"
    digest, created = read_json(file)["weights"], os.stat(file).st_mtime_ns
    connection.execute("INSERT INTO evaluation VALUES(?,?,?)", (folder, digest, created))
    return digest, created


def _add_record(connection: sqlite3.Connection, place: tuple[str, str, str, int], content: dict[str, Any]) -> None:
    path, name, digest, created = place
    covered = sum(stop - start for start, stop in content["coverage"])
    batch = content["batch_size"] or 0
    for value in content["values"]:
        row = (path, name, digest, content["data"], content["slice"], value["metric"], content["estimator"], batch)
        connection.execute(
            "INSERT INTO value(folder,file,digest,data,slice,metric,estimator,batch,covered,created,text) "
            "VALUES(?,?,?,?,?,?,?,?,?,?,?)",
            (*row, covered, created, _text(content, value)),
        )
    connection.execute("INSERT OR IGNORE INTO touched VALUES(?)", (digest,))


def _text(content: dict[str, Any], value: dict[str, Any]) -> str:
    """Return the JSON of one value's record, from "data" on: what comes before is known only when it is asked for."""
    shown = {"data": content["data"], "slice": content["slice"], "metric": value["metric"]}
    shown["estimator"] = content["estimator"]
    if content["estimator"] != "exact":
        shown["batch_size"] = content["batch_size"]
    for key in ("value", "numerator", "denominator", "n", "intervals", "tied", "spoiled"):
        shown[key] = value.get(key)
    shown["intervals"] = shown["intervals"] or []
    shown["status"] = content["status"]
    for key in ("gap", "note"):
        if value.get(key) is not None:
            shown[key] = value[key]
    return json.dumps(shown, allow_nan=False)[1:]


def _forget(connection: sqlite3.Connection, path: str) -> None:
    for (name,) in connection.execute("SELECT name FROM file WHERE folder=?", (path,)).fetchall():
        _remove(connection, path, name)
    connection.execute("DELETE FROM folder WHERE path=?", (path,))
    connection.execute("DELETE FROM evaluation WHERE folder=?", (path.rpartition("/")[0],))


def _remove(connection: sqlite3.Connection, path: str, name: str) -> None:
    where = "WHERE folder=? AND file=?"
    connection.execute(f"INSERT OR IGNORE INTO touched SELECT digest FROM value {where}", (path, name))
    for table in ("sighting", "value", "failure"):
        connection.execute(f"DELETE FROM {table} {where}", (path, name))
    connection.execute("DELETE FROM file WHERE folder=? AND name=?", (path, name))


def _choose(connection: sqlite3.Connection) -> None:
    """Mark, among equal values of a content, the one that is shown: the largest coverage, then the newest evaluation."""
    connection.execute("UPDATE value SET shown=0 WHERE digest IN (SELECT digest FROM touched)")
    connection.execute(
        "UPDATE value SET shown=1 WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER ("
        "PARTITION BY digest, data, slice, metric, estimator, batch ORDER BY covered DESC, created DESC, folder, file"
        ") AS place FROM value WHERE digest IN (SELECT digest FROM touched)) WHERE place=1)"
    )
    connection.execute("DELETE FROM touched")
