"""What `evaluation.run` returns: the results of the checkpoints it met, which print as the table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from milepost.errors import UsageError
from milepost.report._align import lines
from milepost.report.html import table_html
from milepost.report.table import Plain, build
from milepost.scoring.records import batch_means
from milepost.store.code_standing import is_earlier
from milepost.store.store import Store

if TYPE_CHECKING:
    from milepost.run.run import Summary


class RunResults:
    """The results of one run, as the store has them, without those of earlier code.

    `evaluated`, `skipped` and `failed` count checkpoints; `records` are plain dictionaries as `--json` prints them, one
    a digest of weights, data set, metric and estimator; `failures` are the rows of those that failed.
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
        held = [record for record in listing.records(digests=place) if not is_earlier(record["status"])]
        self.records: list[Plain] = sorted(held, key=lambda record: place[record["checkpoint"]["digest"]])
        self._checkpoints = [
            row for row in listing.checkpoints() if row["path"] in self._paths or row["digest"] in place
        ]
        self.failures = [row for row in self._checkpoints if row["failure"] is not None]

    def __iter__(self) -> Iterator[Plain]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def value(self, metric: str, step: int | None = None, estimator: str = "exact") -> float | None:
        """Return the one value of a metric, of the checkpoint with this step where there are several.

        Raises UsageError where none or several fit.
        """
        alike = (item for item in self.records if (item["metric"], item["estimator"]) == (metric, estimator))
        fitting = [item for item in alike if step in (None, item["checkpoint"]["step"])]
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

    def __str__(self) -> str:
        return "\n".join(lines(build(self.records, self._checkpoints)))

    __repr__ = __str__  # a prompt shows it

    def _repr_html_(self) -> str:
        return table_html(build(self.records, self._checkpoints))
