"""What the results of a run and those of a store have in common: columns, data frames, and rows by class."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from milepost.core.types import Array
from milepost.report.table import Plain, Results
from milepost.report.table_columns import column


class Tabular(ABC):
    """A table of checkpoints that is read by column; a failed checkpoint is a row without values."""

    @abstractmethod
    def _table(self) -> Results:
        """Return the table, all its rows."""

    @abstractmethod
    def _values(self) -> Iterable[Plain]:
        """Return all records, those by slice too."""

    @abstractmethod
    def by_class(self, metric: str) -> list[dict[str, Any]]:
        """Return what a metric gives by class, such as recall and support: one row a checkpoint, data set and class.

        A row has run, step, name, variant, data, status, class, class_name (None where the data has no names), then
        the metric's numbers (NaN where undefined).  Raises UsageError where there is no such table.
        """

    def __getitem__(self, name: str) -> Array:
        """Return a column of the table, an entry a checkpoint: a metric's exact values (float64), or run, step, ...

        Raises UsageError for a name that is no column; it lists those that are.
        """
        return column(self._table(), name)

    def plot(self, metric: str, ax: Any = None, data: str | None = None) -> Any:
        """Draw a metric's curve over the steps into matplotlib's axes, new ones by default, and return these.

        `data` names the data set where there are several.  Raises MissingExtra where matplotlib is not installed, and
        UsageError where there is no such value.
        """
        from milepost.report.figures.curve import plotted  # noqa: PLC0415 - only where a figure is asked for

        return plotted(self._table(), metric, data, ax)

    def to_pandas(self) -> Any:
        """Return the table as a DataFrame: a row a checkpoint and data set, a column a metric's exact value.

        Undefined values are NaN.  Raises MissingExtra where pandas is not installed.
        """
        from milepost.report.dataframe import wide  # noqa: PLC0415 - only where a data frame is asked for

        return wide(self._table())

    def to_pandas_long(self) -> Any:
        """Return the records as a DataFrame: a row a value, with its interval, estimator, slice and status.

        Whole numbers are Int64, undefined values NaN.  Raises MissingExtra where pandas is not installed.
        """
        from milepost.report.dataframe import long  # noqa: PLC0415 - the same

        return long(self._values())

    def to_pandas_by_class(self, metric: str) -> Any:
        """Return `by_class` as a DataFrame.  Raises MissingExtra where pandas is not installed."""
        from milepost.report.dataframe import by_class  # noqa: PLC0415 - the same

        return by_class(self.by_class(metric))
