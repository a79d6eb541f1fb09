"""Milepost evaluates the checkpoints that training leaves behind: every one, exactly once, recorded for good.

The names below are handed on lazily: importing `milepost` loads no framework, and nothing of Milepost but this file and
`_lazy`.
"""

from milepost._internal.lazy import table

_ADDRESSES = {
    "Batch": "milepost.core.types:Batch",
    "Evaluation": "milepost.evaluation.definition:Evaluation",
    "open_store": "milepost.report.reader:open_store",
    "setting": "milepost.evaluation.settings:setting",
}

__all__ = ["Batch", "Evaluation", "open_store", "setting"]  # noqa: F822 - handed on by __getattr__

__getattr__, __dir__ = table(__name__, _ADDRESSES)
