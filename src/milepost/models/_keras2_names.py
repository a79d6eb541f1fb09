"""What Keras 2 would call the variables of a Keras 3 model in TensorFlow's object graphs.

Keras 2 tracks the layers of a functional or sequential model that have weights by number, in the order of `layers`
(`layer_with_weights-3`), and all else by attribute (`encoder/blocks/0/kernel`).  Keras 3 keeps that order, and most
attributes, some behind an underscore.  A model is walked by Python's own means, so that every back end has the names.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

_OTHERWISE = {"BaseDepthwiseConv": {"kernel": "depthwise_kernel"}}
"""Attributes that Keras 2 calls otherwise, by the class of Keras 3."""
_NUMBERED = {"Functional", "Sequential"}
_GRAPH = frozenset(
    {"_nodes", "_nodes_by_depth", "_operations", "_operations_by_depth", "_inputs_struct", "_outputs_struct"}
)
_TRACKING = ("_self_unconditional_", "_self_name_based_", "_self_saveable_")
"""Where Keras 3 keeps the graph of a functional model, and what TensorFlow tracks of it."""
_MOST = 1 << 17
"""Most ways that are followed: a model whose parts hold each other has more than anyone could name."""


def keras2_names(model: Any) -> dict[int, list[str]]:
    """Return every name that Keras 2 could give a variable, by the variable's identity.

    A variable is there under several names where several ways of attributes lead to it; a name leads to one variable.
    """
    found: dict[int, list[str]] = {}
    waiting: list[tuple[str, Any, tuple[int, ...]]] = [("", model, ())]
    for count, (path, item, around) in enumerate(waiting):
        if count >= _MOST:
            break
        for name, child in _children(item).items():
            place = f"{path}/{name}" if path else name
            if _is_variable(child):
                found.setdefault(id(child), []).append(place)
            elif id(child) not in around:
                waiting.append((place, child, (*around, id(item))))
    return found


def _children(item: Any) -> dict[str, Any]:
    """Return what Keras 2 would track of an object, by name: variables, layers, metrics and containers of such."""
    if isinstance(item, Mapping):
        return {_escaped(str(key)): value for key, value in item.items() if _is_tracked(value)}
    if isinstance(item, list | tuple):
        return {str(number): value for number, value in enumerate(item) if _is_tracked(value)}
    held = {**vars(item), **vars(item).get("_modules", {})}  # where PyTorch's modules keep their parts
    attributes = {name: value for name, value in held.items() if _is_tracked(value) and not _is_internal(name)}
    plain = {name.lstrip("_"): value for name, value in attributes.items()}
    own = {_escaped(variable.name): variable for variable in _variables(item)}
    renamed = {
        new: plain[old] for kind in _kinds(item) for old, new in _OTHERWISE.get(kind, {}).items() if old in plain
    }
    found = {**own, **plain, **attributes, **renamed, **dict(_numbered(item))}
    # Keras 2 tracks a variable by what it is called and by its attribute: whichever was last, where the two collide.
    return {name: child for name, child in found.items() if own.get(name, child) is child}


def _numbered(model: Any) -> Iterator[tuple[str, Any]]:
    if not _NUMBERED.isdisjoint(_kinds(model)):
        weighted = (layer for layer in model.layers if layer.weights)
        yield from ((f"layer_with_weights-{number}", layer) for number, layer in enumerate(weighted))


def _kinds(item: Any) -> Iterator[str]:
    return (kind.__name__ for kind in type(item).__mro__)


def _variables(item: Any) -> Sequence[Any]:
    """Return the variables that a layer or a metric has by itself, without those of its parts."""
    if hasattr(item, "_non_trainable_variables"):
        return [*item._trainable_variables, *item._non_trainable_variables]  # noqa: SLF001 - no other tells them from its parts'
    return list(item.variables)


def _is_tracked(value: Any) -> bool:
    keras = sys.modules["keras"]
    return isinstance(value, Mapping | list | tuple | keras.Layer | keras.Variable | keras.Metric)


def _is_variable(value: Any) -> bool:
    return isinstance(value, sys.modules["keras"].Variable)


def _is_internal(name: str) -> bool:
    return name in _books() or name.startswith(_TRACKING)


@cache
def _books() -> frozenset[str]:
    """Return the attributes in which Keras 3 keeps its own books: those of a layer and of models without content."""
    keras = sys.modules["keras"]
    empty = keras.Layer(name="a"), keras.Sequential(name="b"), keras.Model(name="c")  # named: numbers stay as they are
    return frozenset(name for item in empty for name in vars(item)) | _GRAPH


def _escaped(local: str) -> str:
    return local.replace(".", "..").replace("/", ".S")
