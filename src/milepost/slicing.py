"""Slices: every metric on the rows of each value of a slice, by both estimators.

The batch mean of a slice is that of a data set which holds its rows only: in the source's own order, cut at multiples
of the batch size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from milepost.core import Array, Json, Metric
from milepost.errors import UsageError
from milepost.estimators import batch_mean, counted, exact
from milepost.kept import Scored

MOST = 1000
"""A slice has no more values than this: each is a number to read for every metric."""


_BLOCK = 1 << 16


def slice_records(
    scored: Scored, metrics: Sequence[Metric], sizes: Sequence[int], name: str, values: Array
) -> Iterator[dict[str, Json]]:
    """Yield one record a metric and estimator, which holds the values of every slice, `name=value`.

    `values` are the slice's, one a covered row of the order.  Metrics whose columns are not kept are left out: their
    states are of all rows.  Raises UsageError for more than 1,000 distinct values.
    """
    parts = parts_of(scored, name, values)
    for metric in metrics:
        if scored.has(metric):
            wholes = {label: exact(part, metric)[0] for label, part in parts.items()}
            yield _joined(name, parts, wholes)
            for size in sizes:
                means = {label: batch_mean(part, metric, size, wholes[label]) for label, part in parts.items()}
                yield _joined(name, parts, means)


def parts_of(scored: Scored, name: str, values: Array) -> dict[str, Scored]:
    """Return what there is to score of each slice by its label, in order of the values."""
    natural = np.concatenate(list(scored.natural(_BLOCK)))
    found, codes, counts = np.unique(values[natural], return_inverse=True, return_counts=True)
    if len(found) > MOST:
        raise UsageError(
            f"the slice {name!r} has {len(found):,} distinct values; expected at most {MOST:,}: put them into bins, "
            "or hand them in as ids"
        )
    by_value = np.split(natural[np.argsort(codes, kind="stable")], np.cumsum(counts)[:-1])
    return {
        f"{name}={_text(value)}": replace(scored, chosen=rows)
        for value, rows in zip(found.tolist(), by_value, strict=True)
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _joined(name: str, parts: Mapping[str, Scored], payloads: Mapping[str, dict[str, Json]]) -> dict[str, Json]:
    slices = {label: counted(parts[label], payload)["values"] for label, payload in payloads.items()}
    return {**next(iter(payloads.values())), "slice": name, "values": [], "slices": slices}
