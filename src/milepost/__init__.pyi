# Written by scripts/make_stubs.py: do not edit.
from milepost.core import Batch as Batch
from milepost.evaluation import Evaluation as Evaluation
from milepost.report.reading import open_store as open_store
from milepost.settings import setting as setting

__all__ = ["Batch", "Evaluation", "open_store", "setting"]
