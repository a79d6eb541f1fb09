"""One evaluation of one checkpoint on the graph that the user built, in a session that serves all of them.

Order: `initial_op`, `init_fn`, the checkpoint's weights (so that neither can leave random ones), local variables and
tables, then `eval_op` until a hook stops it or the data ends, then the hooks' ends and `final_op`.
"""

import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence, ValuesView
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

import milepost
from milepost.compat.slim._checkpoints import prefix_of, step_of, torn
from milepost.compat.slim._hooks import SummaryAtEndHook, get_or_create_eval_step
from milepost.compat.slim._repeats import Repeating, repeating
from milepost.compat.slim._restoring import ToRestore, listed, restored, without_values
from milepost.compat.slim._results import Result
from milepost.core.types import CheckpointFiles, Failure
from milepost.errors import CheckpointError, DataError, checkpoint_error

_ONCE = {"OneShotIterator", "FixedLengthRecordReaderV2", "TextLineReaderV2", "TFRecordReaderV2", "WholeFileReaderV2"}
"""These live as long as their session: the next checkpoint would find them at their end."""


_OTHERS = (os.path.dirname(milepost.__file__) + os.sep, f"{os.sep}tensorflow{os.sep}")
"""Frames of files with these in their names are Milepost's or TensorFlow's."""


class Fed(NamedTuple):
    """Operations, and what is fed to them."""

    ops: Any
    feed: Any

    @classmethod
    def of(cls, ops: Any, feed: Any) -> "Fed":
        """Take what a session takes; `dict.values()` too, which is a list to those who wrote for Python 2."""
        return cls(list(ops) if isinstance(ops, ValuesView | Iterator | set) else ops, feed)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run, as the user gave it; `session` is its address (master) and configuration."""

    session: tuple[str, Any]
    initial: Fed
    steps: Fed
    final: Fed
    hooks: Sequence[Any]
    init_fn: Callable[[Any], object] | None = None
    local_init_op: Any = None
    to_restore: Any = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    wanted: ToRestore
    local: Any
    unready: Any


@dataclass(frozen=True, slots=True)
class _Steps:
    """What counts the runs of `eval_op`, read once it and all that it updates have run; and data that repeats."""

    done: Any
    repeating: list[Repeating]


@dataclass(slots=True)
class _Kept:
    """What is made once a graph: operations by the variables that they are for, and the open session by its address."""

    prepared: dict[Any, _Prepared] = field(default_factory=dict)
    steps: dict[tuple[str, ...], "_Steps"] = field(default_factory=dict)
    sessions: dict[Any, Any] = field(default_factory=dict)


_kept: "weakref.WeakKeyDictionary[Any, _Kept]" = weakref.WeakKeyDictionary()


class _Session(tf.Session):  # type: ignore[misc]  # TensorFlow has no types
    """A session that outlives the monitored session around it."""

    def close(self) -> None:
        """Stay open: the next checkpoint is evaluated in it."""


class _Creator(tf.train.SessionCreator):  # type: ignore[misc]  # TensorFlow has no types
    """Gives a monitored session the graph's session, with a checkpoint's weights in it."""

    def __init__(self, found: CheckpointFiles, asked: Asked, data: Sequence[Repeating]) -> None:
        self._found = found
        self._asked = asked
        self._data = data
        self.step = step_of(found)
        self.digest: str | None = None
        self.notes: dict[str, Any] = {}

    def create_session(self) -> Any:
        """Restore; raises the checkpoint's own error."""
        asked, graph = self._asked, tf.get_default_graph()
        prepared = _prepared(graph, asked)
        session = _session(graph, asked)
        if asked.initial.ops is not None:
            session.run(*asked.initial)
        if asked.init_fn is not None:
            asked.init_fn(session)
        made, table = restored(self._found, prepared.wanted, session)
        session.run(prepared.local if asked.local_init_op is None else asked.local_init_op)
        without_values(session, prepared.unready, list(prepared.wanted.slots))
        self.step = self.step if table.step is None else table.step
        self.digest = made.digest
        self.notes = {**made.notes, **_repeats(self._data, asked.hooks, session)}
        if prepared.wanted.chosen:
            self.notes["chosen"] = f"{len(prepared.wanted.slots)} variables by variables_to_restore"
        for hook in asked.hooks:
            if isinstance(hook, SummaryAtEndHook):
                hook.checkpoint_step = self.step
        return session


def _prepared(graph: Any, asked: Asked) -> _Prepared:
    """Return the operations for the graph's variables as they are now; none is made twice."""
    variables = listed(asked.to_restore)
    locals_, globals_ = tf.local_variables(), tf.global_variables()
    names = [(name, tuple(item.op.name for item in members)) for name, members in variables.items()]
    tables = tf.get_collection(tf.GraphKeys.TABLE_INITIALIZERS)
    key = (tuple(names), tuple(item.op.name for item in (*locals_, *globals_)), len(tables), asked.to_restore is None)
    known = _kept.setdefault(graph, _Kept()).prepared
    if key not in known:
        local = tf.group(tf.variables_initializer(locals_), tf.tables_initializer())
        unready = tf.report_uninitialized_variables([*globals_, *locals_])
        if hasattr(unready, "mark_used"):
            unready.mark_used()
        known[key] = _Prepared(ToRestore.of(variables, chosen=asked.to_restore is not None), local, unready)
    return known[key]


def _session(graph: Any, asked: Asked) -> Any:
    """Return the open session of the graph; a new one where something in it cannot begin again."""
    master, config = asked.session
    if any(op.type in _ONCE or "Queue" in op.type for op in graph.get_operations()):
        return tf.Session(master, graph=graph, config=config)
    known = _kept.setdefault(graph, _Kept()).sessions
    key = (master, None if config is None else config.SerializeToString())
    if key not in known:
        known[key] = _Session(master, graph=graph, config=config)
    return known[key]


def evaluated(found: CheckpointFiles, asked: Asked) -> Result:
    """Evaluate one checkpoint; raises its own error where it cannot be restored, `DataError` where no data came."""
    begun = time.monotonic()
    if found.state == "writing":
        raise torn(found)
    if found.failure is not None:
        raise checkpoint_error(*found.failure)
    steps = _steps(asked)
    creator = _Creator(found, asked, [] if steps is None else steps.repeating)
    final = tf.train.FinalOpsHook(*asked.final)
    done = 0
    with tf.train.MonitoredSession(creator, [*asked.hooks, final]) as session:
        while steps is not None and not session.should_stop():
            session.run([asked.steps.ops, steps.done], asked.steps.feed)
            done += 1
    if steps is not None and not done:
        raise DataError(
            f"{prefix_of(found)}: eval_op was not run once: its data had ended before; re-initialise its iterator (put "
            "its initializer into the collection TABLE_INITIALIZERS)"
        )
    seconds = time.monotonic() - begun
    tf.logging.info("Evaluated %s in %.2f s", prefix_of(found), seconds)
    value = _scalars(asked.hooks) if asked.final.ops is None else final.final_ops_values
    return Result(prefix_of(found), creator.step, value, None, done, seconds, creator.digest, creator.notes)


def _scalars(hooks: Sequence[Any]) -> dict[str, float] | None:
    """Return the scalars of the summaries that were written, which stand for the `final_op` that was not given."""
    found: dict[str, float] = {}
    for hook in hooks:
        if isinstance(hook, SummaryAtEndHook):
            found |= hook.scalars
    return found or None


def _steps(asked: Asked) -> _Steps | None:
    """Return what counts the runs, which hooks are given; made once for the same operations of a graph."""
    if asked.steps.ops is None:
        return None
    graph = tf.get_default_graph()
    elements = [graph.as_graph_element(item) for item in tf.nest.flatten(asked.steps.ops, expand_composites=True)]
    known = _kept.setdefault(graph, _Kept()).steps
    key = tuple(item.name for item in elements)
    if key not in known:
        counter = get_or_create_eval_step()
        added = tf.assign_add(counter, 1, use_locking=True)
        # What eval_op itself adds counts too, whichever of the two comes first.
        with tf.control_dependencies([*elements, added]):
            done = tf.identity(counter.read_value(), name="evals_completed")
        operations = [getattr(item, "op", item) for item in elements]
        known[key] = _Steps(done, repeating(operations))
    for hook in asked.hooks:
        take = getattr(hook, "_set_evals_completed_tensor", None)
        if take is not None:
            take(known[key].done)
    return known[key]


def _repeats(data: Sequence[Repeating], hooks: Sequence[Any], session: Any) -> dict[str, str]:
    """Warn of, and return as a note, that some rows count twice, where a hook ends the evaluation after N runs."""
    numbers = [number for hook in hooks if (number := getattr(hook, "_num_evals", None)) is not None]
    for one in data if numbers else ():
        size = one.size if isinstance(one.size, int) else int(session.run(one.size))
        message = one.warning(min(numbers), size if size >= 0 else None)
        if message is not None:
            warnings.warn(message, stacklevel=_script())
            return {"data": message}
    return {}


def _script() -> int:
    """Return the stack level, for the caller's `warnings.warn`, of the first frame that is the user's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's frame
    level = 1
    while frame is not None and any(place in frame.f_code.co_filename for place in _OTHERS):
        frame, level = frame.f_back, level + 1
    return level


def attempted(found: CheckpointFiles, asked: Asked) -> Result:
    """Evaluate one checkpoint; what is wrong with it becomes the result, what is wrong with the graph is raised."""
    try:
        return evaluated(found, asked)
    except CheckpointError as error:
        tf.logging.warning("%s: %s: %s", prefix_of(found), error.kind, error)
        return Result(prefix_of(found), step_of(found), failure=Failure(error.kind, str(error)))
