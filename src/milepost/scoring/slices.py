"""Slices: every metric on the rows of each value of a slice, by both estimators.

The batch mean of a slice is that of a data set which holds its rows only: in the source's own order, cut at multiples
of the batch size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from milepost.core.capabilities import capability
from milepost.core.protocols import Metric, Sliced, Source
from milepost.core.specs import spec_of
from milepost.core.types import Array, Json
from milepost.errors import DataError, UsageError
from milepost.scoring.columns import CHUNK, Scored
from milepost.scoring.estimators import Values, batch_mean, counted, exact, oddities, record_of
from milepost.store.datasets import Dataset

MOST = 1000
"""A slice has no more values than this: each is a number to read for every metric."""


_BATCH = 256


def slice_records(
    scored: Scored, metrics: Sequence[Metric], sizes: Sequence[int], name: str, rows: Mapping[str, Array]
) -> Iterator[dict[str, Json]]:
    """Yield one record a metric and estimator, which holds the values of every slice, `name=value`.

    `rows` are the slices' positions by label (`rows_by_label`).  Metrics whose columns are not kept are left out: their
    states are of all rows.
    """
    sliced = {label: replace(scored, chosen=positions) for label, positions in rows.items()}
    counts = {label: oddities(one) for label, one in sliced.items()}
    for metric in metrics:
        if scored.has(metric):
            spec = spec_of(metric)
            wholes = {label: exact(one, metric)[0] for label, one in sliced.items()}
            yield {**record_of(scored, metric, spec), **_by_label(name, wholes, counts)}
            for size in sizes:
                means = {label: batch_mean(one, metric, size, wholes[label]) for label, one in sliced.items()}
                yield {**record_of(scored, metric, spec, size), **_by_label(name, means, counts)}


def rows_by_label(scored: Scored, name: str, values: Array) -> dict[str, Array]:
    """Return the positions of each slice's rows by its label, `name=value`, in order of the values.

    `values` are the slice's, one a covered row of the order.  Raises UsageError for more than 1,000 distinct values.
    """
    natural = np.concatenate(list(scored.natural(CHUNK)))
    found, codes, counts = np.unique(values[natural], return_inverse=True, return_counts=True)
    if len(found) > MOST:
        raise UsageError(
            f"the slice {name!r} has {len(found):,} distinct values; expected at most {MOST:,}: put them into bins, "
            "or hand them in as ids"
        )
    by_value = np.split(natural[np.argsort(codes, kind="stable")], np.cumsum(counts)[:-1])
    return {f"{name}={_text(value)}": rows for value, rows in zip(found.tolist(), by_value, strict=True)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_label(name: str, values: Mapping[str, Values], counts: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """Return what a record of a slice holds in place of values over all rows."""
    return {"slice": name, "slices": {label: counted(held, counts[label]) for label, held in values.items()}}


def complete(dataset: Dataset, source: Source, names: Sequence[str], stop: int) -> None:
    """Put what the store lacks of some slices on positions [0, stop), as the source gives them.

    A slice that was named after the model had seen the data costs a pass over its slices, or over the data where the
    source has no slices without inputs, and none of the model.
    """
    # Values that cost no reading are compared with those on record even where all are there.
    sliced = capability(source, Sliced)
    lacking = [name for name in names if sliced is not None or _covered(dataset.slice(name)) < stop]
    for start, end, values in _blocks(source, sliced, stop) if lacking else ():
        for name in lacking:
            if name not in values:
                raise DataError(f"rows {start} to {end} of the data have no slice {name!r}; expected a value for each")
            dataset.slice(name).add(start, end, {"value": np.asarray(values[name])})


def _covered(dataset: Dataset) -> int:
    coverage = dataset.coverage()
    return coverage[0][1] if coverage and coverage[0][0] == 0 else 0


def _blocks(source: Source, sliced: Sliced | None, stop: int) -> Iterator[tuple[int, int, Mapping[str, Array]]]:
    if sliced is not None:
        for start in range(0, stop, CHUNK):
            yield start, min(start + CHUNK, stop), sliced.slices(start, min(start + CHUNK, stop))
        return
    for batch in source.batches(0, stop, _BATCH):
        rows = min(len(batch.labels), stop - batch.start)
        yield batch.start, batch.start + rows, {name: item[:rows] for name, item in (batch.slices or {}).items()}
