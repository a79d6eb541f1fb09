"""Metrics: one family a file.  The classes are handed on lazily."""

from milepost._internal.lazy import room

__getattr__, __dir__ = room(__name__)
