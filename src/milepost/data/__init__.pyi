# Written by scripts/make_stubs.py: do not edit.
from milepost.data.arrays import Arrays as Arrays
from milepost.data.batches import Batches as Batches

__all__ = ["Arrays", "Batches"]
