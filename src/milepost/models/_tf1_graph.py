"""A TensorFlow 1 graph, built once: what goes in, what comes out, and which variables the outputs depend on."""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from milepost.core.types import Variable
from milepost.errors import MissingExtra, UsageError

_HOLDING = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_OWN = "milepost"


@dataclass(frozen=True, slots=True)
class Partition:
    """A variable of the graph: all of one that a checkpoint holds, or what lies at `where` of a partitioned one."""

    held: Any
    where: tuple[slice, ...]
    fed: Any
    """The placeholder that its assignment reads."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A variable as a checkpoint holds it, and the partitions that it consists of in the graph."""

    variable: Variable
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A graph and its handles.  `slots` are what the outputs depend on and a checkpoint restores."""

    graph: Any
    inputs: Mapping[str, Any]
    feeds: Mapping[Any, Any]
    outputs: Any
    variables: tuple[Variable, ...]
    slots: tuple[Slot, ...]
    assign: Any
    initial: Any
    local: Any
    tables: Any
    reached: tuple[Any, ...]
    """The operations that the outputs depend on."""
    locals: tuple[Any, ...]
    uninitialized: Any
    """Names of the variables of `slots` that have no value, as a tensor of strings."""


def build(
    function: Callable[..., Any], inputs: Mapping[str, tuple[Any, Any]], feeds: Mapping[str, Any], device: str
) -> Built:
    """Call the user's function in a graph of its own, and look at what it made.

    Names of inputs and feeds are the function's arguments, or placeholders that it makes itself.  Raises UsageError
    where they are neither, where outputs are no tensors, or depend on what is not fed or not restorable.
    """
    graph = tf.Graph()
    with graph.as_default(), graph.device(device), _quiet():
        tf.set_random_seed(0)  # what is drawn for variables that a checkpoint lacks is the same in every process
        arguments = _arguments(function, (*inputs, *feeds))
        given = {name: tf.placeholder(*inputs[name], name=name) for name in inputs if name in arguments}
        kinds = {name: tf.as_dtype(np.asarray(value).dtype) for name, value in feeds.items() if name in arguments}
        given |= {name: tf.placeholder(kind, [], name=name) for name, kind in kinds.items()}
        outputs = _checked(_called(function, given))
        placed = {name: given[name] if name in given else _own(graph, name, function) for name in (*inputs, *feeds)}
        _check_declared(placed, inputs)
        reached = reachable(tf.nest.flatten(outputs, expand_composites=True))
        _check_fed(reached, placed, inputs)
        fed = {placed[name]: np.asarray(value, placed[name].dtype.as_numpy_dtype) for name, value in feeds.items()}
        return _completed(graph, outputs, reached, {name: placed[name] for name in inputs}, fed)


def reachable(tensors: Iterable[Any]) -> tuple[Any, ...]:
    """Return every operation that tensors depend on, by data or by control, each once."""
    waiting = [item.op for item in tensors]
    seen = dict.fromkeys(waiting)
    while waiting:
        op = waiting.pop()
        for near in (*(item.op for item in op.inputs), *op.control_inputs):
            if near not in seen:
                seen[near] = None
                waiting.append(near)
    return tuple(seen)


def _completed(
    graph: Any, outputs: Any, reached: tuple[Any, ...], inputs: Mapping[str, Any], feeds: Mapping[Any, Any]
) -> Built:
    """Sort the variables, and add the operations that give them values."""
    needed = set(reached)
    found = tf.global_variables()
    kept = [item for item in tf.local_variables() if item.op in needed]
    _check_known(reached, {item.op for item in (*found, *kept)})
    slots, others = [], []
    with graph.name_scope(_OWN):
        for name, members in _grouped(found).items():
            if any(item.op in needed for item in members):
                slots.append(_slot(name, members))
            else:
                # No prediction depends on it (a step, an optimizer's slot, an auxiliary head): it may be in a
                # checkpoint or not, in any dtype.
                others.append(Variable(name, None, _shape(members), optional=True))
        partitions = [partition for slot in slots for partition in slot.partitions]
        held = [partition.held for partition in partitions]
        uninitialized = tf.report_uninitialized_variables(held)
        if hasattr(uninitialized, "mark_used"):  # else TensorFlow complains of what only an `init_fn` has a use for
            uninitialized.mark_used()
        return Built(
            graph=graph,
            inputs=inputs,
            feeds=feeds,
            outputs=outputs,
            variables=(*(slot.variable for slot in slots), *others),
            slots=tuple(slots),
            assign=tf.group(*(partition.held.assign(partition.fed, read_value=False) for partition in partitions)),
            initial=tf.variables_initializer(held),
            local=tf.variables_initializer(kept),
            tables=tf.tables_initializer(),
            reached=reached,
            locals=tuple(kept),
            uninitialized=uninitialized,
        )


def _arguments(function: Callable[..., Any], names: Iterable[str]) -> set[str]:
    """Return which names the function takes; UsageError where it needs more than these."""
    taken = inspect.signature(function).parameters
    if any(item.kind is item.VAR_KEYWORD for item in taken.values()):
        return set(names)
    lacking = [
        name
        for name, item in taken.items()
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD) and name not in names
    ]
    if lacking:
        raise UsageError(
            f"the function given to GraphModel takes {', '.join(taken)}; {lacking[0]!r} is neither in inputs nor in "
            f"feeds ({', '.join(names)}): name it there, or hand in a lambda that gives it"
        )
    return {name for name in names if name in taken}


def _called(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    try:
        return function(**given)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "tf_keras":  # slim.batch_norm's layer lives there
            raise MissingExtra("tf_keras", "slim") from error
        raise


def _own(graph: Any, name: str, function: Callable[..., Any]) -> Any:
    try:
        return graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
    except (KeyError, ValueError):
        takes = ", ".join(inspect.signature(function).parameters) or "nothing"
        made = ", ".join(op.name for op in graph.get_operations() if op.type.startswith("Placeholder")) or "none"
        raise UsageError(
            f"{name!r} is neither an argument of the function given to GraphModel (it takes {takes}) nor a placeholder "
            f"that it makes ({made})"
        ) from None


def _checked(outputs: Any) -> Any:
    """Refuse outputs that are no tensors; a function's (logits, end_points) is not guessed at."""
    if isinstance(outputs, tuple | list):
        raise UsageError(
            f"the function given to GraphModel returned a {type(outputs).__name__} of {len(outputs)}; expected a "
            "tensor or a dict of tensors: pick one, as in lambda images: network(images)[0]"
        )
    odd = [item for item in tf.nest.flatten(outputs, expand_composites=True) if not isinstance(item, tf.Tensor)]
    if odd or not tf.nest.flatten(outputs):
        found = type(odd[0]).__name__ if odd else "nothing"
        raise UsageError(f"the function given to GraphModel returned {found}; expected a tensor or a dict of tensors")
    return outputs


def _check_declared(placed: Mapping[str, Any], inputs: Mapping[str, tuple[Any, Any]]) -> None:
    for name, (dtype, _) in inputs.items():
        if placed[name].dtype.base_dtype != tf.as_dtype(dtype).base_dtype:
            raise UsageError(
                f"input {name!r} is declared as {tf.as_dtype(dtype).name}; the function's placeholder is "
                f"{placed[name].dtype.name}"
            )


def _check_fed(reached: Iterable[Any], placed: Mapping[str, Any], inputs: Iterable[str]) -> None:
    """Refuse outputs that do not depend on an input, or depend on a placeholder that nothing is fed to."""
    ops = set(reached)
    for name in inputs:
        if placed[name].op not in ops:
            raise UsageError(
                f"the outputs do not depend on the input {name!r}: does the function read its data from elsewhere?"
            )
    known = {item.op for item in placed.values()}
    hungry = sorted(op.name for op in ops if op.type == "Placeholder" and op not in known)
    if hungry:
        raise UsageError(
            f"the outputs depend on the placeholder {hungry[0]!r}, which is not fed: give its value in "
            f"GraphModel(feeds={{{hungry[0]!r}: ...}})"
        )


def _check_known(reached: Iterable[Any], known: set[Any]) -> None:
    lost = sorted(op.name for op in reached if op.type in _HOLDING and op not in known)
    if lost:
        raise UsageError(
            f"the outputs depend on the variable {lost[0]!r}, which is in neither of the collections GLOBAL_VARIABLES "
            "and LOCAL_VARIABLES: no checkpoint holds it, and nothing initialises it"
        )


def _grouped(found: Iterable[Any]) -> dict[str, list[Any]]:
    """Return variables by the name that a Saver gives them: parts of a partitioned one under its own."""
    groups: dict[str, list[Any]] = {}
    for item in found:
        part = item._save_slice_info  # noqa: SLF001 - what Saver itself goes by
        groups.setdefault(item.op.name if part is None else part.full_name, []).append(item)
    return groups


def _slot(name: str, members: list[Any]) -> Slot:
    dtype = np.dtype(members[0].dtype.base_dtype.as_numpy_dtype).name
    return Slot(Variable(name, dtype, _shape(members)), tuple(_partition(item) for item in members))


def _shape(members: list[Any]) -> tuple[int, ...] | None:
    part = members[0]._save_slice_info  # noqa: SLF001 - what Saver itself goes by
    if part is not None:
        return tuple(int(side) for side in part.full_shape)
    shape = members[0].shape
    return tuple(shape.as_list()) if shape.is_fully_defined() else None


def _partition(held: Any) -> Partition:
    part = held._save_slice_info  # noqa: SLF001 - what Saver itself goes by
    spans: Iterable[Any] = () if part is None else zip(part.var_offset, part.var_shape, strict=True)
    where = tuple(slice(int(first), int(first) + int(size)) for first, size in spans)
    fed = tf.placeholder(held.dtype.base_dtype, held.shape if held.shape.is_fully_defined() else None)
    return Partition(held, where, fed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out that TensorFlow's own old modules are deprecated: nobody can change a graph that was trained."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(tensorflow|tf_keras|tf_slim)(\.|$)")
            yield
    finally:
        logger.setLevel(level)
