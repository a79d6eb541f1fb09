"""From nested containers to a flat list of tensors: the path of enclosing keys is the group, the own key the name."""

from collections.abc import Iterator, Mapping
from typing import Any

from milepost._internal.bounded import COUNT_LIMIT
from milepost._internal.budget import charge
from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints._files.checks import NAME_LIMIT
from milepost.checkpoints.formats._torch.storages import View
from milepost.errors import Corrupt

_DEPTH = 100
_CHILD = 160
"""Bytes of a child that waits to be looked at."""
_GLANCE = 4
"""Sixteen items that are looked at and passed over count as one node."""


def walk(value: Any, where: str) -> Iterator[tuple[str, str, View]]:
    """Yield (group, name, view) for each tensor, in the file's order.

    An object that is no tensor but stands among some is yielded as a view that is `unsafe`.  A pickled module is walked
    as its own `state_dict` would be: dotted names, persistent buffers only.  Raises `Corrupt` for nesting without end,
    for names that are too long together, and for more than a million tensors.
    """
    # Each waiting item: group, own key, value, ids of the containers around it.
    waiting: list[tuple[str, str, Any, tuple[int, ...]]] = [("", "", value, ())]
    tensors = 0
    while waiting:
        group, key, item, around = waiting.pop()
        if isinstance(item, View):
            tensors += 1
            yield group, key, item
            if tensors > COUNT_LIMIT:
                raise Corrupt(f"{where}: more than {COUNT_LIMIT:,} tensors")
            continue
        children = _children(item)
        if not children or id(item) in around:
            continue
        if len(around) >= _DEPTH:
            raise Corrupt(f"{where}: containers are nested more than {_DEPTH} deep, or without end")
        inside = f"{group}/{key}" if len(around) > 1 else key
        if len(inside) > NAME_LIMIT:
            raise Corrupt(
                f"{where}: a tensor's name would be longer than {NAME_LIMIT:,} characters: {inside[:100]!r}..."
            )
        around = (*around, id(item))
        charge(made=_CHILD * len(children) + len(inside) + 8 * len(around), nodes=len(children))
        waiting.extend((inside, name, child, around) for name, child in reversed(children))


def top(value: Any) -> Mapping[Any, Any]:
    """Return the mapping at the top of a file, empty where there is none."""
    if isinstance(value, Placeholder):
        value = value.state if isinstance(value.state, dict) else value.items
    return value if isinstance(value, dict) else {}


def _children(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, dict | list | tuple):
        charge(nodes=len(item) >> _GLANCE)
    if isinstance(item, dict):
        held = [(_text(key), child) for key, child in item.items() if _holds(child)]
        beside = any(isinstance(child, View) and child.shape for _, child in held)  # a lone number is no weight
        odd = [(key, _made(child)) if beside and isinstance(child, Placeholder) else None for key, child in held]
        return [row for pair in zip(odd, held, strict=True) for row in pair if row is not None]
    if isinstance(item, list | tuple):
        return [(str(index), child) for index, child in enumerate(item) if _holds(child)]
    if isinstance(item, Placeholder):
        state = item.state
        if isinstance(state, dict) and isinstance(state.get("_parameters"), dict):
            return list(_module(state))
        inline = _children(state) if isinstance(state, dict) else [("state", state)] if _holds(state) else []
        parts = [*inline, *_children(item.items), *_children(item.entries)]
        charge(nodes=len(item.arguments) >> _GLANCE)
        return parts + [(f"argument {index}", child) for index, child in enumerate(item.arguments) if _holds(child)]
    return []


def _made(child: Placeholder) -> View:
    """Return what stands for an object among tensors; it is refused where the model needs a tensor of that name."""
    called = child.address[:200].encode("ascii", "backslashreplace").decode("ascii")
    reason = f"reading it would run {called}, which was not done; save plain tensors: torch.save(model.state_dict())"
    return View(None, "void", 0, (), (), reason, unsafe=True)


def _holds(child: Any) -> bool:
    return isinstance(child, View | dict | list | tuple | Placeholder)


def _module(state: dict[Any, Any]) -> Iterator[tuple[str, View]]:
    waiting: list[tuple[str, dict[Any, Any], int]] = [("", state, 0)]
    count = 0
    while waiting:
        prefix, parts, depth = waiting.pop()
        listed, modules = parts.get("_non_persistent_buffers_set"), parts.get("_modules")
        held = [parts.get(kind) for kind in ("_parameters", "_buffers")]
        counts = [len(one) for one in (*held, modules, listed) if isinstance(one, dict | list)]
        charge(made=(_CHILD + len(prefix)) * (1 + sum(counts)), nodes=1 + sum(counts))
        skipped = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
        for mapping in held:
            for key, child in mapping.items() if isinstance(mapping, dict) else ():
                if isinstance(child, View) and not (mapping is held[1] and key in skipped):
                    yield prefix + _text(key), child
        inner: list[tuple[str, dict[Any, Any], int]] = []
        for key, child in modules.items() if isinstance(modules, dict) else ():
            if isinstance(child, Placeholder) and isinstance(child.state, dict):
                inner.append((f"{prefix}{_text(key)}.", child.state, depth + 1))
        waiting.extend(reversed(inner))
        count += 1
        if depth > _DEPTH or count > COUNT_LIMIT:
            raise Corrupt("a pickled module is nested without end")


def _text(key: Any) -> str:
    """Return a key as text that can be stored and printed; Python refuses to print integers of thousands of digits."""
    if isinstance(key, str):
        return key[:NAME_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(key, bytes):
        return str(key[:NAME_LIMIT])[:NAME_LIMIT]
    long = key.arguments[0] if isinstance(key, Placeholder) and key.address == "key" else key
    if isinstance(long, int) and not -(1 << 63) <= long < 1 << 63:
        return "a huge integer"
    return str(key) if isinstance(key, int | float | None) else type(key).__name__
