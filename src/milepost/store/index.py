"""The index: a disposable SQLite cache over the store's small files, so that listing thousands of checkpoints is quick.

It is never the truth: another version, damage or doubt, and it is made anew from the files.  Nothing here needs NumPy.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from milepost._internal.atomic import readable
from milepost._internal.text import natural
from milepost.store import _index_location, _index_refresh

_Result = TypeVar("_Result")

_ALIAS = re.compile(r"(^|[-_.])(last|best|latest|newest|final)($|[-_.])", re.IGNORECASE)

ALL = "all"
"""The slice of a value over all rows."""

_CHECKPOINT = ("digest", "variant", "run", "path", "step", "name", "seen", "changed", "attempt", "kind", "message")


class Index:
    """The index of one store, open; a context manager.  `refresh` first, then ask."""

    def __init__(self, root: Path, store_id: str) -> None:
        """Open the index, in the store or in the user's cache folder; made if absent."""
        self._root = root
        self._id = store_id
        self._connection, self.place = _index_location.connect(root, store_id)

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Close it, for callers that ask one question and go on."""
        if hasattr(self, "_connection"):
            self.close()

    def close(self) -> None:
        """Close the file; the index cannot be asked any more."""
        self._connection.close()

    def refresh(self) -> int:
        """Take in what changed in the store; return how many folders did."""
        with readable(self._root):
            return self._mended(lambda: _index_refresh.refresh(self._connection, self._root))

    def records(
        self,
        run: str | None = None,
        digest: str | None = None,
        data: str | None = None,
        metric: str | None = None,
        slices: str | None = ALL,
    ) -> list[dict[str, Any]]:
        """Return records as `--json` shows them, sorted by run, step, name, data, slice, estimator and metric.

        One for each content, data, slice, metric, estimator and batch size: the largest coverage, then the newest
        evaluation.  `digest` may be a prefix.  `slices` is "all" for values over all rows, a slice's name for those of
        all its values, `name=value` for one, None for everything.
        """
        found: list[dict[str, Any]] = json.loads(f"[{','.join(self.lines(run, digest, data, metric, slices))}]")
        return found

    def lines(
        self,
        run: str | None = None,
        digest: str | None = None,
        data: str | None = None,
        metric: str | None = None,
        slices: str | None = ALL,
        digests: Sequence[str] | None = None,
    ) -> Iterator[str]:
        """Yield the same records as lines of JSON, without parsing them; `digests` narrows to some contents."""
        texts: dict[str, list[str]] = {}
        for content, text in self._mended(lambda: self._values(digest, data, metric, (slices, digests))):
            texts.setdefault(content, []).append(text)
        heads = {row["digest"]: row for row in reversed(self._contents(run))}
        if run is None:
            heads.update({content: {"digest": content} for content in texts.keys() - heads.keys()})
        for head in sorted((heads[content] for content in texts.keys() & heads.keys()), key=_order):
            shown = {key: head.get(key) for key in ("path", "step", "digest", "variant")}
            start = f'{{"event": "record", "run": {json.dumps(head.get("run"))}, "checkpoint": {json.dumps(shown)}, '
            for text in texts[head["digest"]]:
                yield start + text

    def checkpoints(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return one row a content and variant, and one a failed file, sorted by run, step and name.

        Each has run, path, step, name, variant, digest, state ("done", "seen" or "failed"), failure (kind and message,
        or None), attempts (how often it failed) and its sightings, the primary one first: with a step, and not named
        last, best or latest, if there is such a one.  A sighting that is not `current` was superseded: its path holds
        something else by now.
        """
        done, failures = self._mended(self._outcomes)
        rows = self._contents(run)
        for row in rows:
            row["failure"], row["attempts"] = failures.get(row["digest"], (None, 0))
            row["state"] = "done" if row["digest"] in done else "failed" if row["failure"] else "seen"
        return sorted(rows + self._failed(run), key=_order)

    def slices(self) -> list[str]:
        """Return the slices that are on record, `name=value`, sorted."""
        query = "SELECT DISTINCT slice FROM value WHERE slice != ? ORDER BY slice"
        return [row[0] for row in self._mended(lambda: self._connection.execute(query, (ALL,)).fetchall())]

    def _values(
        self,
        digest: str | None,
        data: str | None,
        metric: str | None,
        narrowed: tuple[str | None, Sequence[str] | None],
    ) -> list[tuple[str, str]]:
        slices, digests = narrowed
        where = ["shown=1"]
        given: list[str | int] = []
        for column, wanted in (("data=?", data), ("metric=?", metric), ("substr(digest, 1, ?)=?", digest)):
            if wanted is not None:
                where.append(column)
                given += [wanted] if column.count("?") == 1 else [len(wanted), wanted]
        if slices is not None and (slices == ALL or "=" in slices):
            where.append("slice=?")
            given.append(slices)
        elif slices is not None:
            where.append("substr(slice, 1, ?)=?")
            given += [len(slices) + 1, f"{slices}="]
        if digests is not None:
            where.append("digest IN (SELECT value FROM json_each(?))")
            given.append(json.dumps(list(digests)))
        query = "SELECT digest, text FROM value WHERE " + " AND ".join(where)  # noqa: S608 - the values are bound
        order = " ORDER BY digest, data, slice, estimator='exact' DESC, batch, metric"
        return self._connection.execute(query + order, given).fetchall()

    def _outcomes(self) -> tuple[set[str], dict[str, tuple[dict[str, str], int]]]:
        done = {row[0] for row in self._connection.execute("SELECT DISTINCT digest FROM value")}
        rows = self._connection.execute(
            "SELECT digest, kind, message, attempt FROM failure WHERE NOT EXISTS (SELECT 1 FROM value WHERE "
            "value.folder=substr(failure.folder, 1, length(failure.folder) - 8) || 'records') ORDER BY attempt, folder"
        )
        return done, {digest: ({"kind": kind, "message": message}, attempt) for digest, kind, message, attempt in rows}

    def _checkpoints(self, run: str | None) -> list[dict[str, Any]]:
        query = f"SELECT {','.join(_CHECKPOINT)} FROM sighting WHERE ? IS NULL OR run=?"  # noqa: S608 - constants only
        rows = self._mended(lambda: self._connection.execute(query, (run, run)).fetchall())
        return [dict(zip(_CHECKPOINT, row, strict=True)) for row in rows]

    def _contents(self, run: str | None) -> list[dict[str, Any]]:
        """Return one row a content and variant with its sightings; raw before other variants of the same content."""
        checkpoints = self._checkpoints(run)
        newest = _newest(checkpoints)
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for item in checkpoints:
            if item["digest"] is not None:
                groups.setdefault((item["digest"], item["variant"]), []).append(item)
        rows = []
        for (digest, variant), items in sorted(groups.items(), key=lambda group: (group[0][1] != "raw", group[0])):
            for item in items:
                item["current"] = newest[item["path"], item["variant"]] is item
            items.sort(key=_preference)
            shown = [{key: item[key] for key in ("run", "path", "step", "name", "seen", "current")} for item in items]
            head = {key: shown[0][key] for key in ("run", "path", "step", "name")}
            rows.append({**head, "variant": variant, "digest": digest, "checkpoints": shown})
        return rows

    def _failed(self, run: str | None) -> list[dict[str, Any]]:
        rows = []
        for item in _newest(self._checkpoints(run)).values():
            if item["kind"] is not None:
                head = {key: item[key] for key in ("run", "path", "step", "name")}
                failure = {"kind": item["kind"], "message": item["message"]}
                checkpoint = {**head, "seen": item["seen"], "current": True}
                row = {**head, "variant": item["variant"], "digest": None, "checkpoints": [checkpoint]}
                rows.append({**row, "failure": failure, "attempts": item["attempt"], "state": "failed"})
        return rows

    def _mended(self, call: Callable[[], _Result]) -> _Result:
        """Call; where the file turns out to be damaged, rebuild it and call again."""
        try:
            return call()
        except sqlite3.DatabaseError as error:
            memory = _index_location.unwritable(error) and self.place != ":memory:"
            if not memory and not _index_location.damaged(error):
                raise
        self.close()
        if memory:
            self._connection, self.place = _index_location.in_memory()
        else:
            _index_location.drop(self.place)
            self._connection, self.place = _index_location.connect(self._root, self._id)
        _index_refresh.refresh(self._connection, self._root)
        return call()


def _newest(checkpoints: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest checkpoint each path and variant: seen last, then the file changed last, then a success."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for item in checkpoints:
        key = (item["path"], item["variant"])
        age = (item["seen"], item["changed"], item["kind"] is None, item["attempt"], item["digest"] or "")
        if key not in found or age > found[key]["age"]:
            item["age"] = age
            found[key] = item
    return found


def _preference(item: dict[str, Any]) -> tuple[Any, ...]:
    alias = _ALIAS.search(item["name"]) is not None
    return (item["step"] is None, alias, not item["current"], item["run"], item["name"], item["path"], item["seen"])


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    step = row.get("step")
    run = row.get("run")
    names = (natural(row.get("name") or ""), row.get("path") or "", row.get("variant") or "")
    digest = row.get("digest")
    return (run is None, run or "", step is None, step or 0, *names, digest is None, digest or "")
