# Written by scripts/make_stubs.py: do not edit.
from milepost.core.types import Batch as Batch
from milepost.evaluation.definition import Evaluation as Evaluation
from milepost.report.reader import open_store as open_store
from milepost.evaluation.settings import setting as setting

__all__ = ["Batch", "Evaluation", "open_store", "setting"]
