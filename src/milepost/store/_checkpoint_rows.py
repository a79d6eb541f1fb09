"""Which names stand for which weights: rows of checkpoints from their records, the primary name first."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

from milepost._internal.text import natural
from milepost.store._leading import read_plain

_ALIAS = re.compile(r"(^|[-_.])(last|best|latest|newest|final)($|[-_.])", re.IGNORECASE)
_NEEDED = ("run", "path", "variant", "signature", "digest", "step", "name", "seen", "identity", "attempt", "failure")
_TEXTS = ("run", "path", "variant", "signature", "name", "seen")
_SHOWN = ("run", "path", "step", "name", "seen", "current", "overwritten")

Row = dict[str, Any]
Readings = Mapping[str, int]
"""The ways in which checkpoints were read (`CodeStanding.readings`)."""


def read_checkpoint(path: str) -> Row:
    """Read a checkpoint's record; `KeyError` or `ValueError` where it lacks something, or holds something else."""
    found = read_plain(path)
    row = {key: found[key] for key in _NEEDED}
    whole = all(type(row[key]) is str for key in _TEXTS) and type(row["attempt"]) is int
    whole = whole and type(row["identity"]) is list and list(map(type, row["identity"])) == [int] * 5
    step, digest, failure = row["step"], row["digest"], row["failure"]
    failed = type(failure) is list and list(map(type, failure)) == [str, str]
    if not whole or type(step) not in (int, NoneType) or (type(digest) is str) is failed:
        raise ValueError("a value of another kind")
    return row


def by_digest(checkpoints: Iterable[Row], readings: Readings) -> list[Row]:
    """Return one row for each digest and variant with its checkpoints; raw before other variants of the same digest."""
    every = list(checkpoints)
    newest = _newest(every, readings)
    groups: dict[tuple[str, str], list[Row]] = {}
    for item in every:
        if item["digest"] is not None:
            groups.setdefault((item["digest"], item["variant"]), []).append(item)
    rows = []
    for (digest, variant), items in sorted(groups.items(), key=lambda group: (group[0][1] != "raw", group[0])):
        for item in items:
            last = newest[item["path"], item["variant"]]
            item["current"] = last is item
            # Another model, or another declaration of what stands where, reads other weights from the same file.
            item["overwritten"] = last is not item and not _is_read_otherwise(last, item)
        if len(items) > 1:
            items.sort(key=_preference)
        shown = [{key: item[key] for key in _SHOWN} for item in items]
        head = {key: shown[0][key] for key in ("run", "path", "step", "name")}
        rows.append({**head, "variant": variant, "digest": digest, "checkpoints": shown})
    return rows


def of_variant(rows: list[Row], variant: str | None) -> list[Row]:
    """Return the rows of a variant, all of them for None."""
    return rows if variant is None else [row for row in rows if row["variant"] == variant]


def by_name(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each run, step and variant that stands for some weights, from those `by_digest` returns.

    A row has its own `checkpoints`, and as `also` all other names that hold the same weights now.  What has no step
    belongs to the step of its run that has these weights, if there is one; so does what was superseded.
    """
    every = list(rows)
    names: dict[str, list[Row]] = {}
    for row in every:
        held = names.setdefault(row["digest"], [])
        held += [{**item, "variant": row["variant"]} for item in row["checkpoints"] if item["current"]]
    found = []
    for row in every:
        for items in _apart(row["checkpoints"]):
            head = {key: items[0][key] for key in ("run", "path", "step", "name")}
            own = head["path"], row["variant"]
            also = [_other(item) for item in names[row["digest"]] if (item["path"], item["variant"]) != own]
            found.append({**row, **head, "checkpoints": items, "also": also})
    return found


def _apart(items: list[Row]) -> Iterable[list[Row]]:
    """Divide the checkpoints of some weights, the primary one first, by run and step."""
    if len(items) == 1:
        return [items]
    current = [item for item in items if item["current"]]
    past = [item for item in items if not item["current"]] if current else []
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for item in current or items:  # one without a step comes behind those that have one
        own = item["run"], item["step"]
        same_run = (key for key in groups if key[0] == item["run"])
        groups.setdefault(next(same_run, own) if item["step"] is None else own, []).append(item)
    for item in past:
        own = item["run"], item["step"]
        first = next((key for key in groups if key[0] == item["run"]), next(iter(groups)))
        groups[own if own in groups else first].append(item)
    return [sorted(group, key=_preference) for group in groups.values()]


def _other(item: Row) -> Row:
    return {key: item[key] for key in ("run", "path", "step", "name", "variant")}


def join_names(checkpoints: Sequence[Row]) -> None:
    """Call files of one folder that hold the same weights by the folder: they are one checkpoint.

    >>> pair = [{"run": "bert", "path": name, "variant": "raw", "step": 5, "digest": "d", "seen": "", "attempt": 1,
    ...          "failure": None, "identity": [0] * 5, "name": name} for name in ("step-5/a", "step-5/b")]
    >>> join_names(pair)
    >>> [row["name"] for row in pair]
    ['step-5', 'step-5']
    """
    inside = [item for item in checkpoints if "/" in item["name"]]
    held: dict[tuple[str, str, str], list[tuple[str | None, int | None]]] = {}
    for item in _newest(inside, {}).values():
        held.setdefault(_folder(item), []).append((item["digest"], item["step"]))
    for item in inside:
        weights = held.get(_folder(item), ())
        if len(weights) > 1 and len(set(weights)) == 1 and weights[0][0] is not None:
            item["name"] = item["name"].rpartition("/")[0]


def _folder(item: Row) -> tuple[str, str, str]:
    return item["run"], item["variant"], item["name"].rpartition("/")[0]


def failed(checkpoints: Iterable[Row], readings: Readings) -> list[Row]:
    """Return one row for each file and variant whose newest record is a failure."""
    rows = []
    for item in _newest(checkpoints, readings).values():
        if item["failure"] is not None:
            head = {key: item[key] for key in ("run", "path", "step", "name")}
            kind, message = item["failure"]
            checkpoint = {**head, "seen": item["seen"], "current": True}
            row = {**head, "variant": item["variant"], "digest": None, "checkpoints": [checkpoint], "also": []}
            failure = {"kind": kind, "message": message}
            rows.append({**row, "failure": failure, "attempts": item["attempt"], "state": "failed"})
    return rows


def order(row: Row) -> tuple[Any, ...]:
    """Return what rows are sorted by: run, step, name, path, variant, digest; what is unknown comes last."""
    step = row.get("step")
    run = row.get("run")
    variant = row.get("variant") or "raw"
    names = (natural(row.get("name") or ""), row.get("path") or "", variant != "raw", variant)
    digest = row.get("digest")
    return (run is None, run or "", step is None, step or 0, *names, digest is None, digest or "")


def line_start(row: Row) -> str:
    """Return the beginning of a record's line: the checkpoint, and the other names of its weights."""
    shown = {key: row.get(key) for key in ("path", "step", "digest", "variant")}
    head = f'{{"event": "record", "run": {json.dumps(row.get("run"))}, "checkpoint": {json.dumps(shown)}, '
    return f'{head}"also": {json.dumps(row.get("also") or [])}, '


def _newest(checkpoints: Iterable[Row], readings: Readings) -> dict[tuple[str, str], Row]:
    """Return the newest record for each path and variant: seen last, then the file changed last, then a success.

    Of those of one content that were read in several ways (another model, another declaration of variants) the one that
    was read as the last run did: it may have been made long before, and by then it only was looked up.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for item in checkpoints:
        groups.setdefault((item["path"], item["variant"]), []).append(item)
    return {key: _newest_of(items, readings) if len(items) > 1 else items[0] for key, items in groups.items()}


def _newest_of(items: list[Row], readings: Readings) -> Row:
    newest = max(items, key=_age)
    others = [item for item in items if _is_read_otherwise(newest, item)]
    if not others or newest["signature"] not in readings:
        return newest
    alike = [newest, *others]
    return max(alike, key=lambda item: (readings.get(item["signature"], -1), _age(item)))


def _is_read_otherwise(one: Row, other: Row) -> bool:
    """Return whether two records are of the same content, read in different ways."""
    return bool(one["identity"][:4] == other["identity"][:4] and one["signature"] != other["signature"])


def _age(item: Row) -> tuple[Any, ...]:
    return (item["seen"], item["identity"][4], item["failure"] is None, item["attempt"], item["digest"] or "")


def _preference(item: Row) -> tuple[Any, ...]:
    alias = _ALIAS.search(item["name"]) is not None
    return (item["step"] is None, alias, not item["current"], item["run"], item["name"], item["path"], item["seen"])
