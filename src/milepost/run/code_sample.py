"""A random sample of the rows of some checkpoints, predicted with the code of now, against what is on record of them.

Single rows are drawn from all over the order, since rows that stand together may be alike (a stream sorted by class):
only then the bound on the rows that were not drawn holds.  They are predicted beside other rows than they first were,
so that rounding may differ.  Where few rows differ, their own batches are predicted as they first were: there the same
code gives the same bits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from milepost._internal.ranges import missing
from milepost.core.types import Array, Failure, Part, Target, Unit
from milepost.data._order import Seeded
from milepost.run.driver import Driver
from milepost.run.outcome_differences import differing_rows, in_words, relative_of
from milepost.stats.hypergeometric import CONFIDENCE, most_unseen
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.columns import ColumnsReader

ROWS = 1024
"""The least number of rows that are drawn; all where there are fewer."""

_DOUBTFUL = 32
"""Of so many rows that differ, the own batches are predicted: more is no rounding."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A checkpoint whose outcomes of rows [0, stop) are on record under a key."""

    name: str
    target: Target
    key: str
    stop: int


def sampled_positions(rows: int, batch_size: int, digest: str) -> Array:
    """Return ascending positions drawn at random from [0, rows): whole batches, with `ROWS` rows or more, or all rows.

    They depend on the data's digest and nothing else, so that a check can be repeated.
    """
    drawn = min(rows, -(-ROWS // batch_size) * batch_size)
    return np.sort(Seeded(rows, int(digest[:16], 16)).rows(np.arange(drawn)))


def check_sample(driver: Driver, recorded: Sequence[Recorded], data: str) -> CodeEquivalence | str:
    """Return what holds where no row of the sample differs from what is on record, else in words what differs.

    All checkpoints have the same rows on record.
    """
    size, rows = driver.data[data].size, recorded[0].stop
    batch = driver.spec.batch_sizes[data]
    positions = sampled_positions(rows, batch, driver.data[data].digest)
    found = _compared(driver, recorded, data, positions)
    if isinstance(found, str):
        return found
    doubtful = positions[reduce(np.logical_or, (rows for one in found.values() for rows in one.values()))]
    if 0 < len(doubtful) <= _DOUBTFUL:
        own = np.unique((doubtful // batch * batch)[:, None] + np.arange(batch))
        found = _compared(driver, recorded, data, own[own < size], doubtful)
        if isinstance(found, str):
            return found
    words = {name: in_words(one) for name, one in found.items()}
    if any(words.values()):
        return "; ".join(f"{text} of {name}" for name, text in words.items() if text)
    bound = most_unseen(rows, len(positions))
    return CodeEquivalence(len(positions), rows, bound, CONFIDENCE, tuple(one.name for one in recorded))


def _compared(
    driver: Driver, recorded: Sequence[Recorded], data: str, positions: Array, wanted: Array | None = None
) -> dict[str, dict[str, Array]] | str:
    """Predict rows and compare those `wanted` (by default all): by checkpoint and column which differ.

    A text says why there is nothing to compare.
    """
    wanted = positions if wanted is None else wanted
    targets = tuple(one.target for one in recorded)
    unit = Unit(0, len(positions), targets, data, tuple(positions.tolist()))
    parts: dict[Target, list[Part]] = {target: [] for target in targets}
    for target, outcome in driver.session.run([unit]):
        if isinstance(outcome, Failure):
            return f"{outcome.kind}: {outcome.message}"
        parts[target].append(outcome)
    found = {}
    for one in recorded:
        stored, environments = _on_record(driver, one.key, wanted)
        if not stored:
            return f"of {one.name} not every outcome is kept row by row"
        made = _joined(parts[one.target], np.searchsorted(positions, wanted))
        relative = relative_of([*environments, *(part.environment for part in parts[one.target])])
        columns = _of_data(driver, data, wanted, made)
        found[one.name] = differing_rows(made, {**columns, **stored}, relative)
    return found


def _joined(parts: Iterable[Part], rows: Array) -> dict[str, Array]:
    """Return some rows of the columns of parts, those of the data as `data.NAME`."""
    ordered = sorted(parts, key=lambda part: part.start)
    return {name: np.concatenate([part.columns[name] for part in ordered])[rows] for name in ordered[0].columns}


def _on_record(driver: Driver, key: str, positions: Array) -> tuple[dict[str, Array], list[Mapping[str, object]]]:
    """Return every column of outcomes that is kept of these rows, and the environments that made them.

    Nothing where there are states as well: they tell of no single row.
    """
    folder, stored, environments = driver.store.evaluation(key), dict[str, Array](), list[Mapping[str, object]]()
    for column_set in folder.column_sets():
        reader = folder.parts(column_set).read()
        if reader.has_states:
            return {}, []
        if reader.names and _covers(reader, positions):
            stored |= {name: reader.take(name, positions) for name in reader.names}
            environments += reader.environments()
    return stored, environments


def _of_data(driver: Driver, data: str, positions: Array, made: Mapping[str, Array]) -> dict[str, Array]:
    """Return the data's own columns on record, labels first of all, as `data.NAME`: those that a pass gives."""
    return {
        f"data.{name}": reader.take(column, positions)
        for name, column, reader in _data_columns(driver, data)
        if f"data.{name}" in made and _covers(reader, positions)
    }


def _data_columns(driver: Driver, data: str) -> Iterator[tuple[str, str, ColumnsReader]]:
    dataset = driver.store.dataset(driver.data[data].digest)
    reader = dataset.read()
    yield from ((name, name, reader) for name in reader.names)
    yield from ((f"slice.{name}", "value", dataset.slice(name).read()) for name in dataset.slices())


def _covers(reader: ColumnsReader, positions: Array) -> bool:
    return not len(positions) or not missing(reader.coverage, int(positions[-1]) + 1)
