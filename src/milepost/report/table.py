"""The table of results as data: one row a checkpoint, data set and slice; the drawing is elsewhere.

Built from the store's records and checkpoints, both plain dicts, so that the command line, the Python API and every
later report draw the same rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Plain = Mapping[str, Any]

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

    `status` is "ok", "partial n/N", a failure's kind, or "no record"; `message` is the failure's text.
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
    """All rows, in the order of run, step and name, and the metrics in the order in which they were declared."""

    metrics: tuple[str, ...]
    rows: tuple[Row, ...]

    def newest(self, count: int) -> "Results":
        """Return the last rows of the table: those of the highest steps of the last runs."""
        return Results(self.metrics, self.rows[-count:] if count > 0 else ())


def build(records: Iterable[Plain], checkpoints: Iterable[Plain]) -> Results:
    """Arrange records and checkpoints as rows; a checkpoint without any record is a row too.

    >>> record = {"run": "lenet", "checkpoint": {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"},
    ...           "data": "test", "slice": None, "metric": "top1", "estimator": "exact", "value": 0.5, "n": 10,
    ...           "intervals": [{"low": 0.2, "high": 0.8}], "status": "ok"}
    >>> table = build([record], [])
    >>> table.metrics, table.rows[0].names, table.rows[0].cells["top1"].high
    (('top1',), ('a.npz',), 0.8)
    """
    known = list(checkpoints)
    by_content = {(row.get("digest"), row.get("variant") or "raw"): row for row in known if row.get("digest")}
    groups: dict[tuple[Any, ...], list[Plain]] = {}
    metrics: dict[str, None] = {}
    seen = set()
    for record in records:
        checkpoint = record["checkpoint"]
        content = (checkpoint["digest"], checkpoint.get("variant") or "raw")
        seen.add(content)
        metrics.setdefault(record["metric"])
        groups.setdefault((*content, record["data"], record.get("slice") or ""), []).append(record)
    rows = [_row(key, group, by_content.get(key[:2], {})) for key, group in groups.items()]
    rows += [_bare(row) for row in known if _is_bare(row, seen)]
    return Results(tuple(metrics), tuple(sorted(rows, key=_place)))


def names_of(checkpoint: Plain) -> tuple[str, ...]:
    """Return every name under which a checkpoint was seen, each once, in the order in which they were seen."""
    return tuple(dict.fromkeys(checkpoint.get("names") or ()))


def failure_of(checkpoint: Plain) -> tuple[str, str] | None:
    """Return the kind and the message of a checkpoint's failure, None where it did not fail."""
    failure = checkpoint.get("failure")
    if not failure:
        return None
    if isinstance(failure, Mapping):
        return str(failure.get("class") or failure.get("kind") or "failed"), str(failure.get("message") or "")
    kind, message = failure
    return str(kind), str(message)


def as_number(value: Any) -> float | None:
    """Return a record's number as a number: nonfinite ones are kept as text.

    >>> as_number("-inf"), as_number(0.5), as_number(None)
    (-inf, 0.5, None)
    """
    return float(value) if isinstance(value, str) else value


def _is_bare(checkpoint: Plain, seen: set[tuple[Any, str]]) -> bool:
    content = (checkpoint.get("digest"), checkpoint.get("variant") or "raw")
    return content[0] is None or content not in seen or failure_of(checkpoint) is not None


def _row(key: tuple[Any, ...], group: Sequence[Plain], checkpoint: Plain) -> Row:
    digest, variant, data, part = key
    first = next((record for record in group if record["estimator"] == "exact"), group[0])
    cells: dict[str, Cell] = {}
    for metric in dict.fromkeys(record["metric"] for record in group):
        cells[metric] = _cell([record for record in group if record["metric"] == metric])
    names = names_of(checkpoint) or (_base(first["checkpoint"].get("path")),)
    step = checkpoint.get("step") if checkpoint.get("step") is not None else first["checkpoint"].get("step")
    run = str(first.get("run") or "")
    return Row(run, step, names, digest, variant, data, part, first.get("n"), str(first.get("status", "ok")), cells)


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
    kind, message = failure or ("no record", "")
    return Row(
        run=str(checkpoint.get("run") or next(iter(checkpoint.get("runs") or ()), "")),
        step=checkpoint.get("step"),
        names=names_of(checkpoint) or (_base(next(iter(checkpoint.get("paths") or ()), None)),),
        digest=checkpoint.get("digest"),
        variant=checkpoint.get("variant") or "raw",
        data="",
        slice="",
        n=None,
        status=kind,
        message=message,
        failed=failure is not None,
    )


def _place(row: Row) -> tuple[Any, ...]:
    step = _LAST if row.step is None else row.step
    return row.run, step, row.names, row.variant, row.data, row.slice


def _base(path: str | None) -> str:
    return (path or "?").rstrip("/").rpartition("/")[2]
