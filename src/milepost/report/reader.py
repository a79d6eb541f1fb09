"""A store read from Python: records, checkpoints, kept columns, the best, and pairs; nothing is evaluated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.report._align import lines
from milepost.report._metrics_on_record import evaluations_of
from milepost.report._ranking import one_data
from milepost.report.addresses import find, run_id
from milepost.report.best import Best, best_of
from milepost.report.class_rows import class_rows
from milepost.report.compare import Comparison, compare_two
from milepost.report.html import table_html
from milepost.report.table import NEWEST, Results, build, newest
from milepost.report.tabular import Tabular
from milepost.scoring.columns import Scored, scored_of, slices_of
from milepost.store.store import Store


def open_store(path: str | Path) -> "StoreReader":
    """Open a store that is there, to read it; a `StoreError` says what was found instead.

    >>> import tempfile
    >>> from milepost.store.store import Store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Store.create(f"{folder}/evals")
    ...     open_store(f"{folder}/evals").records()
    []
    """
    return StoreReader(Store.open(path))


class StoreReader(Tabular):
    """What a store knows, as plain data and NumPy arrays; a notebook shows it as the table.

    Every call looks at the store as it is then.  An address is a step, `run:step`, a name, or at least four digits of a
    digest, with `:ema` behind it for another set of weights than the raw ones; one that fits none or several is a
    UsageError that lists them.  `store["top1"]` is a column of the table.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = store.path

    def records(
        self, run: str | None = None, data: str | None = None, metric: str | None = None, part: str | None = "all"
    ) -> list[dict[str, Any]]:
        """Return the records as `--json` prints them; infinite values are the texts "inf" and "-inf".

        `part` is "all" (values over all rows), a slice's name, `name=value`, or None for everything.
        """
        return self._store.listing().records(run=run_id(self._store, run), data=data, metric=metric, slices=part)

    def checkpoints(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return one row for each digest and variant, and one a failed file, with all its checkpoints."""
        return self._store.listing().checkpoints(run_id(self._store, run))

    def best(
        self,
        metric: str,
        data: str | None = None,
        run: str | None = None,
        part: str = "all",
        variant: str | None = None,
    ) -> Best:
        """Return the best checkpoint by a metric's exact value, with its rivals; it prints as lines."""
        return best_of(self._store, metric, data, run, part, variant)

    def compare(
        self, a: str | int, b: str | int, metric: str = "top1", data: str | None = None, part: str = "all"
    ) -> Comparison:
        """Compare the checkpoints at two addresses on the same rows, or those of a slice; it prints as lines."""
        return compare_two(self._store, str(a), str(b), metric, data, part)

    def columns(self, address: str | int, data: str | None = None) -> dict[str, Array]:
        """Return what is kept of each row, as arrays of one row an example in the source's own order.

        `row` is the natural row number (int64), `label` and the like come from the data, `slice.name` its slices, the
        others are outcomes.
        Where only some rows were evaluated, only these are there.  Those of earlier code are given where there are none
        of the code of now.
        """
        row = find(self.checkpoints(), str(address))
        ours = evaluations_of(self._store, row["digest"])
        if not ours:
            raise UsageError(f"{address}: no outcomes of this checkpoint are kept; it is {row['state']}")
        name = one_data(sorted({spec["data_name"] for spec in ours.values()}), data)
        standing = self._store.codes.standing()
        of_now = {key: not standing.of(spec).earlier for key, spec in ours.items() if spec["data_name"] == name}
        opened = ((now, self._opened(key)) for key, now in of_now.items())
        _, chosen = max(opened, key=lambda one: (bool(one[1]), one[0], one[1][0].stop if one[1] else 0))
        if not chosen:
            raise UsageError(f"{address}: no outcomes on {name} are kept")
        return _natural(chosen, slices_of(self._store, chosen[0].digest, chosen[0].stop))

    def by_class(self, metric: str) -> list[dict[str, Any]]:  # noqa: D102 - as in `Tabular`
        listing = self._store.listing()
        return class_rows(self._store, listing, listing.checkpoints(), metric)

    def _table(self) -> Results:
        listing = self._store.listing()
        return build(listing.records(), listing.checkpoints())

    def _values(self) -> list[dict[str, Any]]:
        return self.records(part=None)

    def _opened(self, key: str) -> list[Scored]:
        """Return the column sets of an evaluation that cover the most rows from the first one on."""
        folder = self._store.evaluation(key)
        covered = {name: folder.parts(name).read().coverage[:1] for name in folder.column_sets()}
        stops = {name: ranges[0][1] for name, ranges in covered.items() if ranges and ranges[0][0] == 0}
        widest = max(stops.values(), default=0)
        return [scored_of(self._store, key, name, stop) for name, stop in stops.items() if stop == widest]

    def _results(self) -> tuple[Results, str]:
        """Return the rows of the newest checkpoints, and how many there are where these are not all."""
        listing = self._store.listing()
        checkpoints = listing.checkpoints()
        shown = newest(checkpoints, NEWEST)
        left_out = len(shown) < len(checkpoints)
        records = listing.records(digests={row["digest"] for row in shown})
        return build(records, shown), f"the newest {len(shown)} of {len(checkpoints):,} checkpoints" * left_out

    def __str__(self) -> str:
        """Return the table: one line a checkpoint, the newest 50."""
        results, remark = self._results()
        return "\n".join(filter(None, [*lines(results), remark]))

    def __repr__(self) -> str:
        return f"<milepost store at {self.path}>"

    def _repr_html_(self) -> str:
        return table_html(*self._results())


def _natural(opened: list[Scored], slices: Mapping[str, Array]) -> dict[str, Array]:
    """Return the columns of sets over the same rows, in the natural order of these."""
    first = opened[0]
    rows = first.order.rows(np.arange(first.stop))
    order = np.argsort(rows, kind="stable")
    found = {"row": rows[order]}
    for reader in (first.data, *(held.outcomes for held in opened)):
        for name in reader.names:
            if name not in found:
                found[name] = reader.slice(name, 0, first.stop)[order]
    return found | {f"slice.{name}": values[order] for name, values in slices.items()}
