"""Checks of a metric's own settings, when it is made."""

import sys

from milepost.errors import UsageError


def check_count(owner: str, value: object, most: int = 1 << 20) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{owner}={value!r}: expected an integer from 1 to {most}")


def check_choice(owner: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{owner}={value!r}: expected {' or '.join(map(repr, choices))}")


def check_class(owner: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 20:
        raise UsageError(f"{owner}={value!r}: expected the index of a class, an integer from 0")


def check_positive(owner: str, value: object) -> float:
    """Return the value as a float; raise a UsageError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise UsageError(f"{owner}={value!r}: expected a finite number above 0")
    return float(value)


def check_share(owner: str, value: object) -> float:
    """Return the value as a float; raise a UsageError unless it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{owner}={value!r}: expected a number from 0 to 1")
    return abs(float(value))  # -0.0 is 0


def check_flag(owner: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{owner}={value!r}: expected True or False")
