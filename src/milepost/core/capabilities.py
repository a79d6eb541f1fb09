"""Which members of a seam an object has: the one place that looks, with the Protocol's name in hand."""

import inspect
from collections.abc import Mapping
from functools import cache, lru_cache
from types import FunctionType
from typing import Protocol, TypeVar, cast

from milepost.core.protocols import (
    Bounded,
    CompilesEachSize,
    DeclaresArithmetic,
    Described,
    FastBatches,
    GathersRows,
    HasBatchSize,
    HasEnvironment,
    HasFixedBatch,
    HasInitialValues,
    HasMerger,
    HasOverrides,
    HasRestorer,
    HoldsOutputs,
    MeanMetric,
    Metric,
    Model,
    NamesChanges,
    NamesSuspects,
    NotesUnread,
    OnDevice,
    RandomAccess,
    ReadsLabels,
    Releases,
    Sampled,
    ShareMetric,
    Sliced,
    Source,
    Tabled,
    Task,
    TrivialForFew,
)

P = TypeVar("P")
_ABSENT = object()

CAPABILITIES: Mapping[type, tuple[type, ...]] = {
    Model: (
        OnDevice,
        HasEnvironment,
        DeclaresArithmetic,
        HasOverrides,
        HasRestorer,
        HasMerger,
        HasInitialValues,
        Releases,
        NamesChanges,
        NamesSuspects,
        NotesUnread,
        HasFixedBatch,
        CompilesEachSize,
    ),
    Source: (RandomAccess, GathersRows, Sliced, HasBatchSize, Described),
    Task: (HoldsOutputs, ReadsLabels, Sampled),
    Metric: (Bounded, MeanMetric, ShareMetric, TrivialForFew, Tabled, FastBatches),
}
"""The optional capabilities of what an Evaluation is made of."""


def missing(thing: object, seam: type) -> list[str]:
    """Return the members of a Protocol that an object (or class) lacks, in the order of their declaration.

    A method that cannot be called is lacking.  No property is computed.

    >>> from milepost.core.protocols import MeanMetric, Tabled
    >>> missing(object(), MeanMetric), missing(object(), Tabled)
    (['range', 'contribution'], ['tables'])
    """
    return [name for name, is_method in members(seam).items() if not _offers(thing, name, is_method=is_method)]


def capability(thing: object, kind: type[P]) -> P | None:
    """Return an object as an optional capability of its seam, None where it lacks any member of it."""
    made_of: type = type(thing)
    seam: type = kind
    decided = _by_class(made_of, seam)
    has = not missing(thing, kind) if decided is None else decided
    return cast(P, thing) if has else None


@lru_cache(maxsize=1024)
def _by_class(kind: type, seam: type) -> bool | None:
    """Return whether all objects of a class have a capability; None where that is each object's own affair.

    Metrics are asked a hundred times a checkpoint, and most are objects with slots: these have what their class has.
    """
    if kind.__dictoffset__ or not _is_plain(kind):
        return None
    found = {name: inspect.getattr_static(kind, name, _ABSENT) for name in members(seam)}
    methods = [item for name, item in found.items() if members(seam)[name]]
    if not all(item is _ABSENT or isinstance(item, FunctionType | staticmethod | classmethod) for item in methods):
        return None
    return _ABSENT not in found.values()


def is_begun(thing: object, kind: type) -> bool:
    """Return whether an object has one of a capability's methods, so that it means to have all of its members."""
    return any(_offers(thing, name, is_method=True) for name, is_method in members(kind).items() if is_method)


@cache
def members(seam: type) -> dict[str, bool]:
    """Return a Protocol's members in order, and whether each is a method (else it is a value or property)."""
    declaring = [kind for kind in reversed(seam.__mro__) if kind not in (object, Protocol) and Protocol in kind.__mro__]
    items = [(name, item) for kind in declaring for name, item in vars(kind).items() if not name.startswith("_")]
    return {name: inspect.isfunction(item) for name, item in items}


def _offers(thing: object, name: str, *, is_method: bool) -> bool:
    if is_method:
        return callable(getattr(thing, name, None))
    kind: type = type(thing)
    if any(name in vars(base) for base in kind.__mro__):
        return True
    if _is_plain(kind):  # the usual case, without the cost of a static look
        return name in getattr(thing, "__dict__", ())
    # A property may read the whole data; what `__getattr__` hands on is not seen statically.
    return inspect.getattr_static(thing, name, _ABSENT) is not _ABSENT or hasattr(thing, name)


@cache
def _is_plain(kind: type) -> bool:
    """Return whether all attributes of a class's objects are its own, its bases' or the objects'."""
    looking = {"__getattr__", "__getattribute__"}
    return not any(looking & vars(base).keys() for base in kind.__mro__ if base is not object)
