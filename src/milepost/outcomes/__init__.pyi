# Written by scripts/make_stubs.py: do not edit.
from milepost.outcomes.classification import Classification as Classification

__all__ = ["Classification"]
