"""A task, metric or adapter as plain data: what its class is called, and what it was made with."""

import dataclasses
from functools import lru_cache

from milepost.core.capabilities import capability
from milepost.core.protocols import Named, Versioned
from milepost.core.types import Json


def spec_of(thing: object) -> dict[str, Json]:
    """Describe a thing as plain data: its registered name, its version if it has one, its dataclass fields.

    A class without a name goes by its own.  Fields with `metadata={"spec": False}` are left out: they change no result;
    those with `{"spec": "set"}` are left out while they are None, so that a new setting changes no earlier key.

    >>> from milepost.metrics import TopK
    >>> spec_of(TopK(5))
    {'name': 'top_k', 'k': 5, 'ties': 'class_index'}
    """
    named, versioned = capability(thing, Named), capability(thing, Versioned)
    described: dict[str, Json] = {"name": type(thing).__name__ if named is None else named.name}
    if versioned is not None:
        described["version"] = versioned.version
    kind: type = type(thing)
    for name, kept in _fields(kind):
        value = getattr(thing, name)
        if not (kept == "set" and value is None):
            described[name] = list(value) if isinstance(value, tuple) else value
    return described


@lru_cache(maxsize=1024)
def _fields(kind: type) -> list[tuple[str, Json]]:
    """Return a dataclass's fields that are in its spec, and how; none of another class."""
    found = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return [(item.name, kept) for item in found if (kept := item.metadata.get("spec", True))]
