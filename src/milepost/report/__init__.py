"""Results for people to read: first the data (`table`, `detail`), then the drawing (`text`, `terminal`)."""

from milepost._internal.lazy import table as _table

__getattr__, __dir__ = _table(__name__, {"results_table": "milepost.report.rich_table:results_table"})
