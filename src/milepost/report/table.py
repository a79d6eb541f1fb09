"""The table of results as data: one row a checkpoint, data set and slice; the drawing is elsewhere.

Built from the store's records and checkpoints, both plain dicts, so that the command line, the Python API and every
later report draw the same rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost._internal.text import natural

Plain = Mapping[str, Any]

_ALL = "all"
_SECONDARY = ("max_", "min_")
_LAST = float("inf")


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one row: the exact value, its interval, and the batch mean beside it; None where there is none.

    `undefined` tells a value that exists as undefined from one that was never computed.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    batch_mean: float | None = None
    batch_size: int | None = None
    undefined: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint on one data set and slice, or a checkpoint that failed.

    `status` is "ok", "partial n/N", a failure's kind, or the state of a checkpoint without records; `message` is the
    failure's text.
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


@dataclass(frozen=True, slots=True)
class Results:
    """All rows, in the order of run, step and name, and the metrics: those with an interval first, then by name."""

    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


def build(records: Iterable[Plain], checkpoints: Iterable[Plain]) -> Results:
    """Arrange records and checkpoints as rows; a checkpoint without any record is a row too.

    >>> record = {"run": "lenet", "checkpoint": {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"},
    ...           "data": "test", "slice": None, "metric": "top1", "estimator": "exact", "value": 0.5, "n": 10,
    ...           "intervals": [{"low": 0.2, "high": 0.8}], "status": "ok"}
    >>> table = build([record], [])
    >>> table.metrics, table.rows[0].names, table.rows[0].cells["top1"].high
    (('top1',), ('a.npz',), 0.8)
    """
    known: dict[str | None, list[Plain]] = {}
    for checkpoint in checkpoints:
        known.setdefault(checkpoint.get("digest"), []).append(checkpoint)
    groups: dict[tuple[str, str, str], list[Plain]] = {}
    for record in records:
        if record.get("headline") is False:
            continue
        key = (record["checkpoint"]["digest"], record["data"], record.get("slice") or _ALL)
        groups.setdefault(key, []).append(record)
    size = _usual_size(groups.values())
    rows = [_row(group, checkpoint, size) for key, group in groups.items() for checkpoint in known.get(key[0]) or [{}]]
    seen = {key[0] for key in groups}
    for digest, listed in known.items():
        rows += [_bare(checkpoint) for checkpoint in listed if digest not in seen or failure_of(checkpoint)]
    return Results(_ordered(rows), tuple(sorted(rows, key=_place)))


def rank(metric: str, *, share: bool) -> tuple[Any, ...]:
    """Return a metric's place among others: shares of right answers first, top5 before top10.

    >>> sorted(["top10", "top5"], key=lambda metric: rank(metric, share=True))
    ['top5', 'top10']
    """
    return not share, natural(metric)


def newest(checkpoints: Sequence[Plain], count: int) -> list[Plain]:
    """Return the newest checkpoints: the highest steps of the run that was seen last, then of the one before it."""
    latest: dict[str, str] = {}
    for row in checkpoints:
        run = str(row.get("run"))
        latest[run] = max([latest.get(run, ""), *(str(seen) for seen in each(row, "seen"))])

    def age(row: Plain) -> tuple[Any, ...]:
        run, step = str(row.get("run")), row.get("step")
        return latest[run], run, _LAST if step is None else step

    return sorted(checkpoints, key=age)[-count:]


def checkpoints_of(checkpoint: Plain, *, current: bool = False) -> list[Plain]:
    """Return where a checkpoint was seen: as run, path, step and name; `current` leaves out what was superseded since.

    Where all were superseded, all are returned.
    """
    listed: list[Plain] = list(checkpoint.get("checkpoints") or [])
    kept = [item for item in listed if item.get("current", True)] if current else listed
    return kept or listed or [checkpoint]


def each(checkpoint: Plain, key: str, *, current: bool = False) -> tuple[Any, ...]:
    """Return the distinct values of a key over a checkpoint's sightings, in their order, None left out.

    >>> row = {"checkpoints": [{"name": "step-9"}, {"name": "last"}, {"name": "best", "current": False}]}
    >>> each(row, "name"), each(row, "name", current=True)
    (('step-9', 'last', 'best'), ('step-9', 'last'))
    """
    found = (item.get(key) for item in checkpoints_of(checkpoint, current=current))
    return tuple(dict.fromkeys(value for value in found if value is not None))


def failure_of(checkpoint: Plain) -> tuple[str, str] | None:
    """Return the kind and the message of a checkpoint's failure, None where it did not fail."""
    failure = checkpoint.get("failure")
    return (str(failure["kind"]), str(failure.get("message") or "")) if failure else None


def as_number(value: Any) -> float | None:
    """Return a record's number as a number: nonfinite ones are kept as text.

    >>> as_number("-inf"), as_number(0.5), as_number(None)
    (-inf, 0.5, None)
    """
    return float(value) if isinstance(value, str) else value


def _usual_size(groups: Iterable[Sequence[Plain]]) -> int | None:
    """Return the batch size with the most batch means: the evaluation's own, not one that was asked for later."""
    sizes = Counter(record.get("batch_size") for group in groups for record in group if record["estimator"] != "exact")
    return max(sizes, key=lambda size: sizes[size], default=None)


def _row(group: Sequence[Plain], checkpoint: Plain, size: int | None) -> Row:
    first = next((record for record in group if record["estimator"] == "exact"), group[0])
    found = checkpoint or {"run": first.get("run"), **first["checkpoint"]}
    cells: dict[str, list[Plain]] = {}
    chosen = [record for record in group if record["estimator"] == "exact" or record.get("batch_size") == size]
    for record in chosen or group:
        cells.setdefault(record["metric"], []).append(record)
    return Row(
        **_described(found),
        data=first["data"],
        slice=first.get("slice") or _ALL,
        n=first.get("n"),
        status=str(first.get("status") or "ok"),
        cells={metric: _cell(records) for metric, records in cells.items()},
    )


def _cell(group: Sequence[Plain]) -> Cell:
    exact = next((record for record in group if record["estimator"] == "exact"), None)
    mean = next((record for record in group if record["estimator"] == "batch_mean"), None)
    span: Plain = next(iter((exact or {}).get("intervals") or ()), {})
    return Cell(
        value=as_number(exact["value"]) if exact else None,
        low=as_number(span.get("low")),
        high=as_number(span.get("high")),
        batch_mean=as_number(mean["value"]) if mean else None,
        batch_size=mean.get("batch_size") if mean else None,
        undefined=exact is not None and exact["value"] is None,
        note=exact.get("note") if exact else None,
    )


def _bare(checkpoint: Plain) -> Row:
    failure = failure_of(checkpoint)
    kind, message = failure or (str(checkpoint.get("state") or "no record"), "")
    described = _described(checkpoint)
    return Row(**described, data="", slice="", n=None, status=kind, message=message, failed=failure is not None)


def _described(checkpoint: Plain) -> dict[str, Any]:
    paths = each(checkpoint, "path", current=True)
    return {
        "run": str(checkpoint.get("run") or ""),
        "step": checkpoint.get("step"),
        "names": each(checkpoint, "name", current=True) or tuple(_base(path) for path in paths),
        "digest": checkpoint.get("digest"),
        "variant": str(checkpoint.get("variant") or "raw"),
    }


def _ordered(rows: Iterable[Row]) -> tuple[str, ...]:
    """Put what people ask for first: shares of right answers (they have intervals), top1 before top10.

    The `max_error` beside an `error` is no headline: `show` tells it.
    """
    spans: dict[str, bool] = {}
    for row in rows:
        for metric, cell in row.cells.items():
            spans[metric] = spans.get(metric, False) or cell.low is not None

    beside = {f"{prefix}{metric}" for prefix in _SECONDARY for metric in spans}
    return tuple(sorted(spans.keys() - beside, key=lambda metric: rank(metric, share=spans[metric])))


def _place(row: Row) -> tuple[Any, ...]:
    step = _LAST if row.step is None else row.step
    return row.run, step, [natural(name) for name in row.names], row.variant, row.data, row.slice


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
