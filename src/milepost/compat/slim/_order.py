"""A metric's value that is fetched in a step which also runs its update comes after it: always, and only then.

A graph of TensorFlow 1 has no "after, if it runs at all": a control edge from the update to the value would make every
look at the value count a batch again. But a step may be run as a callable whose edges are connected for that step alone
(`CallableOptions.tensor_connection`). So the one place where all steps of a session pass is looked into: where the
fetches reach both the update of a metric and a look at its state, that look is taken from the state after the update.
Whatever is made of the value (a summary, a printed text) follows, since no node is copied.  docs/design/slim-metrics.md
tells what else was tried.
"""

import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.client.session import BaseSession

_STEPS = "_milepost_steps"
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of tensors: a look at the state, and the state right after the update."""

    look: str
    after: str


_pairs: "weakref.WeakKeyDictionary[Any, list[Pair]]" = weakref.WeakKeyDictionary()


def in_order(look: Any, after: Any) -> None:
    """Have `look` (a tensor of the same dtype and shape) taken from `after` in every step that runs both."""
    with _lock:
        _pairs.setdefault(look.graph, []).append(Pair(look.name, after.name))
        if not hasattr(BaseSession._call_tf_sessionrun, "original"):  # noqa: SLF001 - where all steps pass
            BaseSession._call_tf_sessionrun = _hook(BaseSession._call_tf_sessionrun)  # noqa: SLF001 - the same


def _hook(original: Callable[..., Any]) -> Callable[..., Any]:
    def run(
        session: Any, options: Any, feeds: dict[Any, Any], fetches: list[Any], targets: list[Any], metadata: Any
    ) -> Any:
        pairs = _pairs.get(session.graph)
        if not pairs:
            return original(session, options, feeds, fetches, targets, metadata)
        step = _Step.of(feeds, fetches, targets)
        known = vars(session).setdefault(_STEPS, {})
        if step not in known:
            known[step] = step.connected(session.graph, pairs)
        if not known[step]:
            return original(session, options, feeds, fetches, targets, metadata)
        call = _callable(session, step, known[step], options)
        given = {_tensor_name(output): value for output, value in feeds.items()}
        return pywrap_tf_session.TF_SessionRunCallable(
            session._session,  # noqa: SLF001 - the handle that every call of the C API takes
            call._handle,  # noqa: SLF001 - the same
            [given[name] for name in step.feeds],
            metadata,
        )

    run.original = original  # type: ignore[attr-defined]  # says that the hook is there
    return run


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step feeds, fetches and runs, by name."""

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, feeds: Iterable[Any], fetches: Iterable[Any], targets: Iterable[Any]) -> "_Step":
        names = tuple(sorted(map(_tensor_name, feeds)))
        return cls(names, tuple(map(_tensor_name, fetches)), tuple(map(pywrap_tf_session.TF_OperationName, targets)))

    def connected(self, graph: Any, pairs: list[Pair]) -> tuple[Pair, ...]:
        """Return the metrics of which the step runs the update and looks at the state; what is fed needs nothing."""
        fed = set(self.feeds)
        waiting = [graph.get_operation_by_name(name) for name in (*map(_op, self.fetches), *self.targets)]
        reached: set[str] = set()
        while waiting:
            op = waiting.pop()
            if op.name not in reached:
                reached.add(op.name)
                waiting += [tensor.op for tensor in op.inputs if tensor.name not in fed]
                waiting += op.control_inputs
        return tuple(pair for pair in pairs if _op(pair.look) in reached and _op(pair.after) in reached)


def _callable(session: Any, step: _Step, pairs: tuple[Pair, ...], options: Any) -> Any:
    """Return the step with its edges connected again, made once a session."""
    given = b"" if options is None else bytes(pywrap_tf_session.TF_GetBuffer(options))
    known = vars(session)[_STEPS]
    key = (step, given)
    with _lock:
        if key not in known:
            made = config_pb2.CallableOptions()
            made.feed.extend(step.feeds)
            made.fetch.extend(step.fetches)
            made.target.extend(step.targets)
            made.run_options.ParseFromString(given)
            for pair in pairs:
                made.tensor_connection.add(from_tensor=pair.after, to_tensor=pair.look)
            known[key] = session._make_callable_from_options(made)  # noqa: SLF001 - its public twin takes no connections
    return known[key]


def _tensor_name(output: Any) -> str:
    return f"{pywrap_tf_session.TF_OperationName(output.oper)}:{output.index}"


def _op(tensor: str) -> str:
    return tensor.rpartition(":")[0]
