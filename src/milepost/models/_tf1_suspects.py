"""What in a TensorFlow 1 graph makes a prediction depend on chance, on its neighbours, or on earlier calls.

The graph shows them without being run: operations that the outputs depend on and that draw numbers or use a batch's own
statistics, with the line of the user's code that made them.  Only for messages, once a model check has failed: what a
branch holds that is not taken is named as well.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PACKAGES = (
    os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep,
    os.path.dirname(os.__file__) + os.sep,
)
_INSTALLED = f"{os.sep}site-packages{os.sep}"
_DRAWING = ("Random", "TruncatedNormal", "ParameterizedTruncatedNormal", "Multinomial", "Stateful")
_NOT_DRAWING = ("StatefulPartitionedCall", "RandomDataset")
_NORMS = "FusedBatchNorm"
_MOMENTS = "/moments/mean"


def suspects(graph: Any, reached: Iterable[Any]) -> list[str]:
    """Name what the operations should not do, those that draw first; [] where nothing was found."""
    drawing, neighbours = [], []
    functions = {item.signature.name: item for item in graph.as_graph_def().library.function}
    for op in sorted(reached, key=lambda item: str(item.name)):
        for name, kind, attributes in _with_bodies(op, functions):
            if kind.startswith(_DRAWING) and kind not in _NOT_DRAWING:
                drawing.append(f"{name} ({kind}) draws random numbers{_place(op)}: is_training left on?")
            elif kind.startswith(_NORMS) and "is_training" in attributes and attributes["is_training"].b:
                neighbours.append(f"{name} normalises by the batch's own statistics (is_training=True){_place(op)}")
            elif name.endswith(_MOMENTS):
                neighbours.append(f"{name} takes moments of the batch{_place(op)}")
    return list(dict.fromkeys([*drawing, *neighbours]))


def _with_bodies(op: Any, functions: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield name, type and attributes of an operation and, for a branch or loop, of those in its bodies."""
    yield op.name, op.type, op.node_def.attr
    waiting, seen = list(_called(op.node_def.attr)), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            yield f"{op.name}/{node.name}", node.op, node.attr
            waiting += _called(node.attr)


def _called(attributes: Mapping[str, Any]) -> list[str]:
    functions = (func for item in attributes.values() for func in ([item.func] if item.func.name else item.list.func))
    return [func.name for func in functions]


def _place(op: Any) -> str:
    """Return file and line of the user's code that made an operation, "" where it is not known."""
    for frame in reversed(op.traceback or ()):
        name = frame.filename
        if _INSTALLED not in name and not name.startswith(("<", *_PACKAGES)):
            return f" at {os.path.basename(name)}:{frame.lineno}"
    return ""


def changed(session: Any, held: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Return the names of variables whose values are no longer those of before."""
    now = read(session, held)
    return [name for name, value in now.items() if value.tobytes() != before[name].tobytes()]


def read(session: Any, held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of variables by name, as arrays of their own."""
    return {name: value.copy() for name, value in session.run(dict(held)).items()}


def assigning(reached: Iterable[Any], held: Any) -> str:
    """Return the name of an operation that assigns to a variable on the way to the outputs, "" if none does."""
    own = held.handle.op if hasattr(held, "handle") else held.op
    for op in reached:
        if op.type.startswith(("Assign", "Scatter", "ResourceScatter")) and any(item.op is own for item in op.inputs):
            return str(op.name)
    return ""
