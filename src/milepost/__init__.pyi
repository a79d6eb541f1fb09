# Written by scripts/make_stubs.py: do not edit.
from milepost.core import Batch as Batch
from milepost.evaluation import Evaluation as Evaluation

__all__ = ["Batch", "Evaluation"]
