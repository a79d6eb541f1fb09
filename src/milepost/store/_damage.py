"""What becomes of a file of a store that cannot be read: an error, or a report, and the others are read."""

from collections.abc import Callable

from milepost.errors import StoreError

OnDamage = Callable[[StoreError], None]
"""Takes the error that names a file; where it returns, the file is left out."""


def raised(error: StoreError) -> None:
    """Leave nothing out: raise the error."""
    raise error
