"""The made-up store of the command line's tests."""

from tests.cli.conftest import store

__all__ = ["store"]
