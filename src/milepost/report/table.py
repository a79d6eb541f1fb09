"""The table of results as data: one row a checkpoint, data set and slice; the drawing is elsewhere.

Built from the store's records and checkpoints, both plain dicts, so that the command line, the Python API and every
later report draw the same rows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost._internal.text import natural
from milepost.core.escaping import escaped
from milepost.report._numbers import is_share, span_of
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.code_standing import is_earlier
from milepost.store.listing import Listing
from milepost.store.records import ALL
from milepost.store.records import number as as_number

Plain = Mapping[str, Any]

_SECONDARY = ("max_", "min_")
_LAST = float("inf")
NEWEST = 50
"""How many checkpoints a table shows where it is not asked for all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one row: the exact value, its interval, and the batch mean beside it; None where there is none.

    `undefined` marks a value that exists as undefined; one that was never computed is None alone.  `share` marks a
    share of rows.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    batch_mean: float | None = None
    batch_size: int | None = None
    undefined: bool = False
    note: str | None = None
    share: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint on one data set and slice, or a checkpoint that failed.

    `status` is "ok", "partial n/N", these behind "earlier code", a failure's kind, or the state of one without
    records; `message` is the failure's text.  `footnotes` say what the values rest on.  Names (those of run, variant,
    data and slice, too) stand in their printed form; see `escaping`.
    """

    run: str
    step: int | None
    names: tuple[str, ...]
    digest: str | None
    variant: str
    data: str
    slice: str
    n: int | None
    status: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    message: str = ""
    failed: bool = False
    footnotes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """All rows, in the order of run, step and name, and the metrics: shares first, then by name."""

    metrics: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def footnotes(self) -> list[str]:
        """The footnotes of all rows, each once; the first is number 1."""
        return list(dict.fromkeys(note for row in self.rows for note in row.footnotes))


def build(records: Iterable[Plain], checkpoints: Iterable[Plain]) -> Results:
    """Arrange records and checkpoints as rows; a checkpoint without any record is a row too.

    >>> record = {"run": "lenet", "checkpoint": {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"},
    ...           "data": "test", "slice": None, "metric": "top1", "estimator": "exact", "value": 0.5, "n": 10,
    ...           "intervals": [{"low": 0.2, "high": 0.8}], "status": "ok"}
    >>> table = build([record], [])
    >>> table.metrics, table.rows[0].names, table.rows[0].cells["top1"].high
    (('top1',), ('a.npz',), 0.8)
    """
    known = defaultdict[str | None, list[Plain]](list)
    groups = defaultdict[tuple[str, str, str, bool], list[Plain]](list)  # values of two codes stand in no row together
    for checkpoint in checkpoints:
        known[checkpoint.get("digest")].append(checkpoint)
    for record in records:
        if record.get("headline") is not False:
            earlier = is_earlier(record.get("status"))
            groups[record["checkpoint"]["digest"], record["data"], record.get("slice") or ALL, earlier].append(record)
    sizes = {data: _usual_size(group for key, group in groups.items() if key[1] == data) for _, data, *_ in groups}
    rows = [
        _row(group, checkpoint, sizes[data])
        for (digest, data, *_), group in groups.items()
        for checkpoint in known.get(digest, [{}])
    ]
    recorded = {key[0] for key in groups}
    for digest, same in known.items():
        rows += [_bare(checkpoint) for checkpoint in same if digest not in recorded or failure_of(checkpoint)]
    return Results(_ordered(rows), tuple(sorted(rows, key=_place)))


def rank(metric: str, *, share: bool) -> tuple[Any, ...]:
    """Return a metric's place among others: shares of right answers first, top5 before top10.

    >>> sorted(["top10", "top5"], key=lambda metric: rank(metric, share=True))
    ['top5', 'top10']
    """
    return not share, natural(metric)


def newest(checkpoints: Sequence[Plain], count: int) -> list[Plain]:
    """Return the newest checkpoints: the highest steps of the run that was looked at last, then of the one before."""
    latest = defaultdict[str, str](str)
    for row in checkpoints:
        latest[str(row.get("run"))] = max(latest[str(row.get("run"))], *map(str, each(row, "seen")), "")

    def age(row: Plain) -> tuple[Any, ...]:
        run, step = str(row.get("run")), row.get("step")
        return latest[run], run, _LAST if step is None else step

    return sorted(checkpoints, key=age)[-count:]


def checkpoints_of(checkpoint: Plain, *, current: bool = False) -> list[Plain]:
    """Return the checkpoints with a row's weights, as run, path, step and name; `current` leaves out superseded ones.

    Where all are superseded, all are returned.
    """
    listed: list[Plain] = list(checkpoint.get("checkpoints") or [])
    kept = [item for item in listed if item.get("current", True)] if current else listed
    return kept or listed or [checkpoint]


def is_overwritten(row: Plain) -> bool:
    """Return whether every file that held these weights holds others now; another model may read others from it."""
    checkpoints = checkpoints_of(row)
    return bool(checkpoints) and all(checkpoint.get("overwritten", False) for checkpoint in checkpoints)


def each(checkpoint: Plain, key: str, *, current: bool = False) -> tuple[Any, ...]:
    """Return the distinct values of a key over the checkpoints of a row, in their order, None left out.

    >>> row = {"checkpoints": [{"name": "step-9"}, {"name": "last"}, {"name": "best", "current": False}]}
    >>> each(row, "name"), each(row, "name", current=True)
    (('step-9', 'last', 'best'), ('step-9', 'last'))
    """
    found = (item.get(key) for item in checkpoints_of(checkpoint, current=current))
    return tuple(dict.fromkeys(value for value in found if value is not None))


def records_of(listing: Listing, checkpoint: Plain) -> list[Plain]:
    """Return all records of one checkpoint, slices too; none of one whose weights were not restored."""
    digest, own = checkpoint.get("digest"), _key(checkpoint, checkpoint)
    held = listing.records(digest=digest, variant=checkpoint.get("variant"), slices=None) if digest else []
    return [record for record in held if _key(record, record["checkpoint"]) == own]


def _key(run: Plain, checkpoint: Plain) -> tuple[Any, ...]:
    return run.get("run"), *(checkpoint.get(key) for key in ("step", "digest", "variant"))


def failure_of(checkpoint: Plain) -> tuple[str, str] | None:
    """Return the kind and the message of a checkpoint's failure, None where it did not fail."""
    failure = checkpoint.get("failure")
    return (str(failure["kind"]), str(failure.get("message") or "")) if failure else None


def _usual_size(groups: Iterable[Sequence[Plain]]) -> int | None:
    """Return the batch size with the most batch means: the evaluation's own, not one that was asked for later."""
    sizes = Counter(record.get("batch_size") for group in groups for record in group if record["estimator"] != "exact")
    return max(sizes, key=lambda size: sizes[size], default=None)


def _row(group: Sequence[Plain], checkpoint: Plain, size: int | None) -> Row:
    first = next((record for record in group if record["estimator"] == "exact"), group[0])
    cells = defaultdict[str, dict[str, Plain]](dict)
    chosen = [record for record in group if record["estimator"] == "exact" or record.get("batch_size") == size]
    for record in chosen or group:
        cells[record["metric"]].setdefault(record["estimator"], record)
    return Row(
        **_described(checkpoint or {"run": first.get("run"), **first["checkpoint"]}),
        data=escaped(first["data"]),
        slice=escaped(first.get("slice") or ALL),
        n=first.get("n"),
        status=str(first.get("status") or "ok"),
        cells={metric: _cell(records.get("exact"), records.get("batch_mean")) for metric, records in cells.items()},
        footnotes=tuple(
            dict.fromkeys([*_overwritten(checkpoint), *(note for record in group for note in _footnotes(record))])
        ),
    )


def _overwritten(checkpoint: Plain) -> Iterator[str]:
    """Yield that no path is known to hold a row's weights any more, where that is so."""
    if is_overwritten(checkpoint):
        yield "overwritten: its file held other weights when it was last looked at"


def _footnotes(record: Plain) -> Iterator[str]:
    """Yield what a value rests on, where that is not all: a code check, some items of the data."""
    if record.get("code_check"):
        yield f"{CodeEquivalence.of(record['code_check'])}; `milepost run --again` evaluates again"
    if record.get("rests_on"):
        yield f"{record['data']}: {record['rests_on']}"


def _cell(exact: Plain | None, mean: Plain | None) -> Cell:
    low, high = span_of(exact or {})
    return Cell(
        value=as_number(exact["value"]) if exact else None,
        low=low,
        high=high,
        batch_mean=as_number(mean["value"]) if mean else None,
        batch_size=mean.get("batch_size") if mean else None,
        undefined=exact is not None and exact["value"] is None,
        note=exact.get("note") if exact else None,
        share=is_share(exact or {}),
    )


def _bare(checkpoint: Plain) -> Row:
    failure = failure_of(checkpoint)
    status, message = failure or (str(checkpoint.get("state") or "no record"), "")
    described = _described(checkpoint)
    return Row(**described, data="", slice="", n=None, status=status, message=message, failed=failure is not None)


def _described(checkpoint: Plain) -> dict[str, Any]:
    paths = each(checkpoint, "path", current=True)
    return {
        "run": escaped(str(checkpoint.get("run") or "")),
        "step": checkpoint.get("step"),
        "names": tuple(map(escaped, each(checkpoint, "name", current=True) or map(base_name, paths))),
        "digest": checkpoint.get("digest"),
        "variant": escaped(str(checkpoint.get("variant") or "raw")),
    }


def _ordered(rows: Iterable[Row]) -> tuple[str, ...]:
    """Put what people ask for first: shares of right answers, top1 before top10.

    The `max_error` beside an `error` is no headline: `show` lists it.
    """
    shares: dict[str, bool] = {}
    for metric, cell in (item for row in rows for item in row.cells.items()):
        shares[metric] = shares.get(metric, False) or cell.share
    beside = {f"{prefix}{metric}" for prefix in _SECONDARY for metric in shares}
    return tuple(sorted(shares.keys() - beside, key=lambda metric: rank(metric, share=shares[metric])))


def _place(row: Row) -> tuple[Any, ...]:
    step = _LAST if row.step is None else row.step
    names = [natural(name) for name in row.names]
    return row.run, step, names, row.variant != "raw", row.variant, row.data, row.slice, is_earlier(row.status)


def base_name(path: str) -> str:
    """Return the last name of a path."""
    return path.rstrip("/").rpartition("/")[2]
