# Written by scripts/make_stubs.py: do not edit.
from milepost.tasks.classification import Classification as Classification

__all__ = ["Classification"]
