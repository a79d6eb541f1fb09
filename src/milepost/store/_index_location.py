"""Where the index lies, and opening it: a cache that is dropped whenever anything about it is off."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

VERSION = 2
"""Version of the tables; an index of another version is deleted and rebuilt, never migrated."""

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cephfs", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
"""File systems on which SQLite's locks and mapped files are not to be trusted."""

_TABLES = """
CREATE TABLE folder(path TEXT PRIMARY KEY, mtime INTEGER NOT NULL, names TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sighting(folder TEXT, file TEXT, run TEXT, path TEXT, variant TEXT, digest TEXT, step INTEGER, name TEXT,
  seen TEXT, changed INTEGER, attempt INTEGER, kind TEXT, message TEXT, PRIMARY KEY(folder, file)) WITHOUT ROWID;
CREATE TABLE evaluation(folder TEXT PRIMARY KEY, digest TEXT, created INTEGER) WITHOUT ROWID;
CREATE TABLE value(id INTEGER PRIMARY KEY, folder TEXT, file TEXT, digest TEXT, data TEXT, slice TEXT, metric TEXT,
  estimator TEXT, batch INTEGER, covered INTEGER, created INTEGER, shown INTEGER DEFAULT 0, text TEXT);
CREATE INDEX value_digest ON value(digest);
CREATE INDEX value_file ON value(folder, file);
CREATE TABLE failure(folder TEXT, file TEXT, digest TEXT, attempt INTEGER, kind TEXT, message TEXT,
  PRIMARY KEY(folder, file)) WITHOUT ROWID;
"""


def connect(root: Path, store_id: str) -> tuple[sqlite3.Connection, str]:
    """Open the index of a store at the best place that works; return it with its path (":memory:" at the worst)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "milepost" / f"{store_id}.sqlite"
    inside = root / "index.sqlite"
    for place in (cache,) if on_network(root) or not os.access(root, os.W_OK) else (inside, cache):
        with suppress(OSError, sqlite3.OperationalError):
            if place == cache:
                place.parent.mkdir(parents=True, exist_ok=True)
            return _open(str(place)), str(place)
    return in_memory()


def drop(place: str) -> None:
    """Delete an index and its side files."""
    if place != ":memory:":
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                Path(place + end).unlink()


def on_network(path: Path) -> bool:
    """Tell whether a folder lies on a network file system, as far as the system tells."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    real = os.path.realpath(path) + "/"
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ").rstrip("/") + "/"
        if real.startswith(point) and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind in _NETWORK


def damaged(error: sqlite3.DatabaseError) -> bool:
    """Tell whether an error means that the file is no index of ours, rather than busy or out of room."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_ERROR)


def unwritable(error: sqlite3.DatabaseError) -> bool:
    """Tell whether an error means that the place of the index is full, failing or read-only: memory will do."""
    code = getattr(error, "sqlite_errorcode", None)
    bad = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    return code is not None and code & 0xFF in bad


def in_memory() -> tuple[sqlite3.Connection, str]:
    """Open an index that is nowhere on disk."""
    return _open(":memory:"), ":memory:"


def _open(place: str) -> sqlite3.Connection:
    try:
        return _prepared(place)
    except _OtherVersionError:
        drop(place)
    except sqlite3.DatabaseError as error:
        if not damaged(error):
            raise
        drop(place)
    return _prepared(place)


class _OtherVersionError(Exception):
    pass


def _prepared(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(place, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _make(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have made the tables while this one waited.
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        connection.execute("COMMIT")
        return
    if version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _OtherVersionError
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
