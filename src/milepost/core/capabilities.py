"""Which members of a seam an object has: the one place that looks, with the Protocol's name in hand."""

from typing import Protocol, TypeVar, cast

P = TypeVar("P")


def missing(thing: object, seam: type) -> list[str]:
    """Return the public members of a Protocol that an object lacks, in the order of their declaration.

    >>> from milepost.core.protocols import MeanMetric, Tabled
    >>> missing(object(), MeanMetric), missing(object(), Tabled)
    (['range', 'contribution'], ['tables'])
    """
    declaring = [kind for kind in reversed(seam.__mro__) if kind not in (object, Protocol) and Protocol in kind.__mro__]
    names = dict.fromkeys(name for kind in declaring for name in vars(kind) if not name.startswith("_"))
    return [name for name in names if not hasattr(thing, name)]


def capability(thing: object, kind: type[P]) -> P | None:
    """Return an object as an optional capability of its seam, None where it lacks any member of it.

    >>> from milepost.core.protocols import Tabled
    >>> capability(object(), Tabled) is None
    True
    """
    return None if missing(thing, kind) else cast(P, thing)
