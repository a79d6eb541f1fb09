"""Settings: what an evaluation file reads from its environment, so that it is recorded and part of the key.

A reading belongs to the evaluations whose code it was made by: those whose file, or a module that this imports, stands
on the stack of the call.  So several evaluation files in one process do not mix up, and a module that Python imported
before is not asked again.
"""

import math
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from milepost.core.types import Json
from milepost.errors import UsageError

Setting = str | int | float | bool | None

_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_EXPECTED = {bool: "1, 0, true or false", int: "a whole number", float: "a finite number"}


@dataclass(frozen=True, slots=True)
class _Reading:
    """One setting as read by one file; `files` are all those on the stack."""

    value: Setting
    files: frozenset[str]


_readings: dict[tuple[str, str], _Reading] = {}


@overload
def setting(name: str, default: bool) -> bool: ...  # noqa: FBT001 - a default, not a flag
@overload
def setting(name: str, default: int) -> int: ...
@overload
def setting(name: str, default: float) -> float: ...
@overload
def setting(name: str, default: str) -> str: ...
@overload
def setting(name: str, default: None = None) -> str | None: ...
def setting(name: str, default: Setting = None) -> Setting:
    """Read an environment variable for an evaluation, and record it: with another value it is another evaluation.

    The value is converted to the type of the default: text, int, float, or bool ("1", "0", "true", "false"); without a
    default it is text, or None where the variable is not set.  Call it while the evaluation is built, at the top of
    the file or in what builds model and data; a first reading during a prediction comes too late for the key, and ends
    the run.  Name and value are stored in plain text and shown by `milepost show`: nothing secret goes through here.

    Raises UsageError for a value that does not convert.

    >>> setting("NO_SUCH_VARIABLE", 224), setting("NO_SUCH_VARIABLE_EITHER")
    (224, None)
    """
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise UsageError(f"setting({name!r}, ...): expected the name of an environment variable")
    if default is not None and type(default) not in (str, int, float, bool):
        raise UsageError(
            f"setting({name!r}, default={default!r}): expected a default that is text, int, float, bool or None"
        )
    if isinstance(default, float) and not math.isfinite(default):
        raise UsageError(f"setting({name!r}, default={default!r}): expected a finite number")
    text = os.environ.get(name)
    value = default if text is None else _converted(name, text, str if default is None else type(default))
    own, files = _stack()
    _readings[name, own] = _Reading(value, files)
    return value


def settings_read(files: Collection[str] | None) -> dict[str, Json]:
    """Return the settings, by name, that code of these files (resolved paths) read so far; None for all of them.

    Raises UsageError where two of the files got different values for one name.
    """
    found: dict[str, tuple[Setting, str]] = {}
    for (name, own), reading in sorted(_readings.items(), key=lambda item: item[0]):
        if files is not None and reading.files.isdisjoint(files):
            continue
        value, first = found.setdefault(name, (reading.value, own))
        if (type(value), value) != (type(reading.value), reading.value):
            raise UsageError(
                f"setting {name!r} is {value!r} in {first} and {reading.value!r} in {own}: read it in one place, with "
                "one default"
            )
    return {name: value for name, (value, _) in found.items()}


def readings() -> dict[tuple[str, str], object]:
    """Return all readings so far, to be compared with those of another moment."""
    return dict(_readings)


def _converted(name: str, text: str, wanted: type) -> Setting:
    try:
        if wanted is bool:
            return _TRUTH[text.strip().lower()]
        if wanted is int:
            return int(text)
        if wanted is float:
            number = float(text)
            if math.isfinite(number):
                return number
            raise ValueError  # noqa: TRY301 - worded below
    except (KeyError, ValueError):
        raise UsageError(
            f"the environment variable {name} is {text!r}; the evaluation expects {_EXPECTED[wanted]}"
        ) from None
    return text


def _stack() -> tuple[str, frozenset[str]]:
    """Return the caller's file and those of all that called it, as far as they are files ("" where it is none)."""
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to the caller's frame
    names = []
    while frame is not None:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    resolved = [str(Path(name).resolve()) if not name.startswith("<") else "" for name in dict.fromkeys(names)]
    return resolved[0], frozenset(resolved) - {""}
