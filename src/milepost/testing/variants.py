"""The settings in which a registered class is judged."""

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints


def variants(cls: type[Any]) -> list[Any]:
    """Return instances of a metric or task: its defaults, every other choice of a `Literal` field, and its `examples`.

    A field without a default takes the first of its choices.  A class attribute `examples`, a tuple of keyword
    arguments, adds settings that no type shows.

    >>> from milepost.metrics.brier import Brier
    >>> variants(Brier)
    [Brier(nonfinite='undefined'), Brier(nonfinite='skip')]
    """
    base: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    for name, choices, default in _choices(cls):
        first = choices[0] if default is dataclasses.MISSING else default
        base[name] = first
        others += [{name: choice} for choice in choices if choice != first]
    return [cls(**{**base, **changes}) for changes in ({}, *others, *getattr(cls, "examples", ()))]


def _choices(cls: type[Any]) -> list[tuple[str, tuple[Any, ...], Any]]:
    if not dataclasses.is_dataclass(cls):
        return []
    hints = get_type_hints(cls)
    fields = [item for item in dataclasses.fields(cls) if get_origin(hints[item.name]) is Literal]
    return [(item.name, get_args(hints[item.name]), item.default) for item in fields]
