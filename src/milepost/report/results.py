"""What `evaluation.run` returns: the results of the checkpoints it met, which print as the table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from milepost.errors import UsageError
from milepost.report._align import lines
from milepost.report.addresses import RAW
from milepost.report.class_rows import class_rows, of_now
from milepost.report.html import table_html
from milepost.report.table import Plain, Results, build, each
from milepost.report.tabular import Tabular
from milepost.scoring.records import batch_means
from milepost.store.code_standing import is_earlier
from milepost.store.store import Store

if TYPE_CHECKING:
    from milepost.run.run import Summary


class RunResults(Tabular):
    """The results of one run, as the store has them, without those of earlier code.

    `evaluated`, `skipped` and `failed` count checkpoints; `records` are plain dictionaries as `--json` prints them, one
    a checkpoint, variant, data set, metric and estimator; `failures` are the rows of those that failed.
    `results["top1"]` is a column of the table, in its order.
    """

    def __init__(self, store: str, summary: "Summary") -> None:
        self.store = store
        self.evaluated: int = summary.evaluated
        self.skipped: int = summary.skipped
        self.failed: int = summary.failed
        self._weights = tuple(summary.weights)
        self._paths = frozenset(summary.paths)
        self._read()

    def _read(self) -> None:
        listing = Store.open(self.store).listing()
        place = {digest: number for number, digest in enumerate(self._weights)}
        rows = listing.checkpoints()
        ours = [bool(self._paths.intersection(each(row, "path", current=True))) for row in rows]
        known = {row["digest"] for row, own in zip(rows, ours, strict=True) if own}
        elsewhere = place.keys() - known
        self._checkpoints = [row for row, own in zip(rows, ours, strict=True) if own or row["digest"] in elsewhere]
        own = {(row["run"], row["step"], row["digest"], row["variant"]) for row in self._checkpoints}
        held = [item for item in listing.records(digests=place) if _named(item) in own and not _is_old(item)]
        self.records: list[Plain] = sorted(held, key=lambda record: place[record["checkpoint"]["digest"]])
        self.failures = [row for row in self._checkpoints if row["failure"] is not None]

    def __iter__(self) -> Iterator[Plain]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def value(
        self, metric: str, step: int | None = None, estimator: str = "exact", variant: str | None = None
    ) -> float | None:
        """Return the one value of a metric, of the checkpoint with this step where there are several.

        Without a `variant`, that of the raw weights is meant where there are any.  Raises UsageError where none or
        several fit.
        """
        alike = (item for item in self.records if (item["metric"], item["estimator"]) == (metric, estimator))
        fitting = [item for item in alike if step in (None, item["checkpoint"]["step"])]
        wanted = [item for item in fitting if item["checkpoint"]["variant"] == (variant or RAW)]
        fitting = wanted if variant else wanted or fitting
        if len(fitting) != 1:
            names = sorted({record["metric"] for record in self.records})
            raise UsageError(
                f"expected one record of metric {metric!r}, step {step}, estimator {estimator!r}; "
                f"found {len(fitting)}; pass a step where several fit; metrics: {', '.join(names)}"
            )
        found: float | None = fitting[0]["value"]
        return found

    def batch_means(self, *sizes: int) -> Sequence[Plain]:
        """Return the records of batch means for other batch sizes, computed from kept columns without the model."""
        store = Store.open(self.store)
        for digest in self._weights:
            batch_means(store, digest, sizes)
        self._read()
        return [record for record in self.records if record.get("batch_size") in sizes]

    def by_class(self, metric: str) -> list[dict[str, Any]]:  # noqa: D102 - as in `Tabular`
        store = Store.open(self.store)
        return of_now(class_rows(store, store.listing(), self._checkpoints, metric))

    def _table(self) -> Results:
        return build(self.records, self._checkpoints)

    def _values(self) -> list[Plain]:
        listing = Store.open(self.store).listing()
        own = set(map(_named, self.records))
        return [item for item in listing.records(slices=None) if _named(item) in own and not _is_old(item)]

    def __str__(self) -> str:
        return "\n".join(lines(self._table()))

    __repr__ = __str__  # a prompt shows it

    def _repr_html_(self) -> str:
        return table_html(self._table())


def _named(record: Plain) -> tuple[Any, ...]:
    checkpoint = record["checkpoint"]
    return record["run"], checkpoint["step"], checkpoint["digest"], checkpoint["variant"]


def _is_old(record: Plain) -> bool:
    return is_earlier(record["status"])
