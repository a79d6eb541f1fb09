"""The table of results as it is asked for: some metrics only, or the best value first."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from milepost.report.table import Plain, Results
from milepost.store.records import number


def only(results: Results, metrics: Sequence[str]) -> Results:
    """Return the table with some metrics, in the order in which they are asked for; with all for none."""
    return replace(results, metrics=tuple(dict.fromkeys(metrics))) if metrics else results


def best_first(results: Results, metric: str, *, higher: bool) -> Results:
    """Return the table with the best value of a metric first, data set by data set; what has none comes last.

    >>> from milepost.report.table import Cell, Row
    >>> rows = [Row("a", n, (), None, "raw", "test", "all", 9, "ok", {"e": Cell(v)}) for n, v in ((1, 2.0), (2, 0.5))]
    >>> [row.step for row in best_first(Results(("e",), tuple(rows)), "e", higher=False).rows]
    [2, 1]
    """
    order = _order(higher=higher)
    ranked = sorted(
        results.rows,
        key=lambda row: (row.data == "", row.data, *order(row.cells[metric].value if metric in row.cells else None)),
    )
    return replace(results, rows=tuple(ranked))


def records_best_first(records: Iterable[Plain], metric: str, *, higher: bool) -> list[Plain]:
    """Return records with those of the checkpoint with the best exact value over all rows first."""
    every = list(records)
    values = {
        _of(record): number(record["value"])
        for record in every
        if (record["metric"], record["estimator"], record["slice"]) == (metric, "exact", "all")
    }
    order = _order(higher=higher)
    return sorted(every, key=lambda record: (record["data"], *order(values.get(_of(record)))))


def _of(record: Plain) -> tuple[Any, ...]:
    checkpoint = record["checkpoint"]
    return record["run"], checkpoint["step"], checkpoint["digest"], checkpoint["variant"], record["data"]


def _order(*, higher: bool) -> Callable[[float | None], tuple[bool, float]]:
    sign = -1 if higher else 1
    return lambda value: (value is None or value != value, 0.0 if value is None else sign * value)  # noqa: PLR0124 - NaN
