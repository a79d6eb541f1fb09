"""Checks of a metric's own settings, when it is made."""

from milepost.errors import UsageError


def check_count(owner: str, value: object, most: int = 1 << 20) -> None:
    """Raise a UsageError unless the value is an integer from 1 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{owner}={value!r}: expected an integer from 1 to {most}")


def check_choice(owner: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a UsageError unless the value is one of the choices."""
    if value not in choices:
        raise UsageError(f"{owner}={value!r}: expected {' or '.join(map(repr, choices))}")
