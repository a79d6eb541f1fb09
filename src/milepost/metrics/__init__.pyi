# Written by scripts/make_stubs.py: do not edit.
from milepost.metrics.balanced_accuracy import BalancedAccuracy as BalancedAccuracy
from milepost.metrics.brier import Brier as Brier
from milepost.metrics.calibration import CalibrationError as CalibrationError
from milepost.metrics.cohen_kappa import CohenKappa as CohenKappa
from milepost.metrics.confusion import Confusion as Confusion
from milepost.metrics.cross_entropy import CrossEntropy as CrossEntropy
from milepost.metrics.f_beta import FBeta as FBeta
from milepost.metrics.matthews import Matthews as Matthews
from milepost.metrics.precision import Precision as Precision
from milepost.metrics.recall import Recall as Recall
from milepost.metrics.specificity import Specificity as Specificity
from milepost.metrics.top_k import TopK as TopK

__all__ = ["BalancedAccuracy", "Brier", "CalibrationError", "CohenKappa", "Confusion", "CrossEntropy", "FBeta", "Matthews", "Precision", "Recall", "Specificity", "TopK"]
