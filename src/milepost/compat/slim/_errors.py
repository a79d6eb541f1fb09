"""Errors that are also what the originals raise: an old script's `except ValueError` goes on working."""

# ruff: noqa: N818 - the names say what is wrong

from milepost.errors import UsageError, Vanished


class AbsentCheckpoint(Vanished, ValueError):
    """No checkpoint is at the address."""


class InvalidValue(UsageError, ValueError):
    """An argument that no evaluation can go on with."""
