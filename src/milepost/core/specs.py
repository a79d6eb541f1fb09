"""A task, metric or adapter as plain data: what its class is called, and what it was made with."""

import dataclasses

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
    if dataclasses.is_dataclass(thing):
        for item in dataclasses.fields(thing):
            kept, value = item.metadata.get("spec", True), getattr(thing, item.name)
            if kept and not (kept == "set" and value is None):
                described[item.name] = list(value) if isinstance(value, tuple) else value
    return described
