"""The numbers and settings in a torch file beside its tensors: epoch, best score, arguments, hyper-parameters."""

import struct
from typing import Any

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints._files.roles import role_of
from milepost.core.types import Json

_SCALAR = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
_CODES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u1": "B", "b1": "?"}
_PIECES, _PIECE, _ENTRY = 64, 4096, 100
_KEPT = {"hyper_parameters", "datamodule_hyper_parameters", "callbacks"}


def facts_of(value: Any) -> dict[str, Json]:
    """Return the single values of an unpickled object by their keys, but for those of optimizers and schedulers."""
    return flat(value, _plain, lambda key: key not in _KEPT and role_of(key, "x") != "weights")


def _plain(item: Any) -> Any:
    """Return an object of a class that was not imported as what it holds; None where that is not known."""
    if not isinstance(item, Placeholder):
        return item
    arguments = item.arguments
    if item.address in _SCALAR:
        return _number(arguments)
    short = len(arguments) < _PIECES and all(isinstance(one, str) and len(one) < _PIECE for one in arguments)
    if short and item.address.startswith("pathlib."):
        return "/".join(arguments).replace("//", "/")
    if isinstance(item.state, dict) or item.items:
        state = item.state if isinstance(item.state, dict) else {}
        charge(made=_ENTRY * (len(state) + len(item.items)))
        return {**state, **item.items}
    if len(arguments) == 1 and isinstance(arguments[0], str | int | float | bool):
        return arguments[0]  # an enumeration's value, a type of the file's own
    return item


def _number(arguments: tuple[Any, ...]) -> Any:
    """Return the value of a NumPy scalar: its type's name and byte order, and its bytes."""
    kind, data = arguments if len(arguments) == 2 else (None, None)  # noqa: PLR2004 - type and bytes
    name = kind.arguments[0] if isinstance(kind, Placeholder) and kind.arguments else None
    code = _CODES.get(name) if isinstance(name, str) else None
    if code is None or not isinstance(data, bytes) or len(data) != struct.calcsize(code):
        return Placeholder("numpy scalar")
    state = kind.state if isinstance(kind, Placeholder) else None
    order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"
    return struct.unpack(order + code, data)[0]
