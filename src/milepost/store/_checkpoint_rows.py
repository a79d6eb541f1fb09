"""Which names stand for which weights: rows of checkpoints from their records, the primary name first."""

import json
import re
from collections.abc import Iterable
from typing import Any

from milepost._internal.text import natural
from milepost.store._leading import read_plain

_ALIAS = re.compile(r"(^|[-_.])(last|best|latest|newest|final)($|[-_.])", re.IGNORECASE)
_NEEDED = ("run", "path", "variant", "signature", "digest", "step", "name", "seen", "identity", "attempt", "failure")

Row = dict[str, Any]


def read_checkpoint(path: str) -> Row:
    """Read a checkpoint's record; `KeyError` where it lacks something."""
    found = read_plain(path)
    return {key: found[key] for key in _NEEDED}


def by_digest(checkpoints: Iterable[Row]) -> list[Row]:
    """Return one row for each digest and variant with its checkpoints; raw before other variants of the same digest."""
    every = list(checkpoints)
    newest = _newest(every)
    groups: dict[tuple[str, str], list[Row]] = {}
    for item in every:
        if item["digest"] is not None:
            groups.setdefault((item["digest"], item["variant"]), []).append(item)
    rows = []
    for (digest, variant), items in sorted(groups.items(), key=lambda group: (group[0][1] != "raw", group[0])):
        for item in items:
            item["current"] = newest[item["path"], item["variant"]] is item
        if len(items) > 1:
            items.sort(key=_preference)
        shown = [{key: item[key] for key in ("run", "path", "step", "name", "seen", "current")} for item in items]
        head = {key: shown[0][key] for key in ("run", "path", "step", "name")}
        rows.append({**head, "variant": variant, "digest": digest, "checkpoints": shown})
    return rows


def failed(checkpoints: Iterable[Row]) -> list[Row]:
    """Return one row for each file and variant whose newest record is a failure."""
    rows = []
    for item in _newest(checkpoints).values():
        if item["failure"] is not None:
            head = {key: item[key] for key in ("run", "path", "step", "name")}
            kind, message = item["failure"]
            checkpoint = {**head, "seen": item["seen"], "current": True}
            row = {**head, "variant": item["variant"], "digest": None, "checkpoints": [checkpoint]}
            failure = {"kind": kind, "message": message}
            rows.append({**row, "failure": failure, "attempts": item["attempt"], "state": "failed"})
    return rows


def order(row: Row) -> tuple[Any, ...]:
    """Return what rows are sorted by: run, step, name, path, variant, digest; what is unknown comes last."""
    step = row.get("step")
    run = row.get("run")
    names = (natural(row.get("name") or ""), row.get("path") or "", row.get("variant") or "")
    digest = row.get("digest")
    return (run is None, run or "", step is None, step or 0, *names, digest is None, digest or "")


def line_start(row: Row) -> str:
    """Return the beginning of a record's line: the checkpoint."""
    shown = {key: row.get(key) for key in ("path", "step", "digest", "variant")}
    return f'{{"event": "record", "run": {json.dumps(row.get("run"))}, "checkpoint": {json.dumps(shown)}, '


def _newest(checkpoints: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Return the newest record for each path and variant: seen last, then the file changed last, then a success."""
    found: dict[tuple[str, str], tuple[Any, Row]] = {}
    for item in checkpoints:
        key = (item["path"], item["variant"])
        age = (item["seen"], item["identity"][4], item["failure"] is None, item["attempt"], item["digest"] or "")
        if key not in found or age > found[key][0]:
            found[key] = (age, item)
    return {key: item for key, (_, item) in found.items()}


def _preference(item: Row) -> tuple[Any, ...]:
    alias = _ALIAS.search(item["name"]) is not None
    return (item["step"] is None, alias, not item["current"], item["run"], item["name"], item["path"], item["seen"])
