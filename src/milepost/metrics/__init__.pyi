# Written by scripts/make_stubs.py: do not edit.
from milepost.metrics.brier import Brier as Brier
from milepost.metrics.calibration import CalibrationError as CalibrationError
from milepost.metrics.confusion import Confusion as Confusion
from milepost.metrics.cross_entropy import CrossEntropy as CrossEntropy
from milepost.metrics.cross_entropy import SmoothedCrossEntropy as SmoothedCrossEntropy
from milepost.metrics.top_k import TopK as TopK

__all__ = ["Brier", "CalibrationError", "Confusion", "CrossEntropy", "SmoothedCrossEntropy", "TopK"]
