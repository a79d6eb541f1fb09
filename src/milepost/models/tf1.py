"""TensorFlow 1 graphs (Slim, `tensorflow.compat.v1`): built once, a session for each loaded checkpoint.

Import this before or after tf_slim: what tf_slim 1.1.0 misses in today's TensorFlow is put back here.

A session a checkpoint, rather than one whose weights are swapped, because to change the checkpoint then costs nothing.
Measured on two busy cores: giving ResNet-50's 267 variables their values takes 40 to 120 ms (0.5 ms for six small
ones, as long as a prediction), for every batch and checkpoint.  A session's first load and prediction are compiled, in
1.5 to 2 s (0.02 s); so the sessions of checkpoints that are gone serve the next ones.
"""

import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from milepost._internal.memory import fits_memory
from milepost.core.types import Array, Json, Variable
from milepost.errors import Corrupt, DataError, Mismatch, MissingExtra, ModelFailed, OutOfMemory, UsageError
from milepost.restore.overrides import GivenNames, again, check_names, overrides_of, spec_of_overrides

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: how TensorFlow was compiled is no news
try:
    import tensorflow.compat.v1 as tf
except ModuleNotFoundError as error:
    raise MissingExtra("tensorflow", "tf") from error

from milepost.models import _slim_legacy, _tf1_suspects
from milepost.models._tf1_arrays import fitted, partitions_of
from milepost.models._tf1_graph import Built, Slot, build
from milepost.models._values import repeatable

_slim_legacy.put_back(sys.modules["tensorflow.python.framework.ops"], tf.Tensor)

_CPU = "cpu"
Declared = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SessionWeights:
    """One checkpoint's weights: the session whose variables hold them."""

    session: Any


class GraphModel:
    r"""A TensorFlow 1 graph: `function` is called once, with placeholders, and returns a tensor or a dict of tensors.

    `inputs` gives dtype and shape (None for the axis of rows) by the name of the function's argument, or of the
    placeholder that it makes itself. `feeds` are numbers or truth values fed at every prediction, named alike
    (`{"is_training": False}`). A NumPy array goes to the only input, a dict to the inputs by name; floats are cast to
    the placeholder's width, integers only where all numbers stay the same. Outputs are NumPy arrays.

    Variables are the global ones under the names of `tf.train.Saver`: a partitioned one is one variable under its own
    name. Those that the outputs do not depend on (a step, an optimizer's slots) may be in a checkpoint or not. Local
    variables and tables are initialised. What the outputs depend on is restored strictly; what the user says otherwise
    is part of the evaluation's key:

    - `restore={"checkpoint/name": "graph/name"}` renames; both may be scopes: `{"old/": "new/"}`, `{"": "tower/"}`.
    - `rename={r"_(\d+)/": r"/block\1/"}` renames by regular expressions, in order, what `restore` does not name.
    - `keep=("logits/*",)` leaves variables as built (under a fixed seed): the result is marked PARTIAL.
    - `ignore=("AuxLogits/*",)` are tensors of the checkpoint that the graph has no variable for.
    - `init_fn(session, checkpoint_prefix)` restores instead of Milepost; what it leaves in the variables counts.

    Raises UsageError for a function and declarations that do not fit each other.

    >>> model = GraphModel(lambda x: x * tf.get_variable("w", []), inputs={"x": (tf.float32, [None])})
    >>> [variable.name for variable in model.variables()]
    ['w']
    >>> weights = model.load({"w": np.float32(3)})
    >>> model.predict(weights, np.array([1, 2], "float32")).tolist()
    [3.0, 6.0]
    """

    name = "tf1"

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Declared,
        *,
        feeds: Mapping[str, Any] | None = None,
        init_fn: Callable[[Any, str], Any] | None = None,
        device: str = _CPU,
        **names: Unpack[GivenNames],
    ) -> None:
        if not callable(function):
            raise UsageError(f"GraphModel takes a function that builds a graph; found a {type(function).__name__}")
        self._function = function
        self._inputs = _declared(inputs)
        self._feeds = _scalars(feeds or {}, self._inputs)
        self._device = _device(device)
        self.overrides = overrides_of(self.initial, names)
        others = [name for name, value in names.items() if value and name != "keep"]
        if init_fn is not None and (not callable(init_fn) or others):
            raise UsageError(
                "init_fn is a function of a session and a checkpoint's prefix, and restores by its own rules: restore, "
                f"rename and ignore are not for it; found {init_fn!r}, {', '.join(others) or 'none of these'}"
            )
        self.restorer = None if init_fn is None else _InitFunction(init_fn, self)
        self._graph: Built | None = None
        self._idle: list[Any] = []
        self._initial: list[dict[str, Array]] = []

    def variables(self) -> tuple[Variable, ...]:
        """Return the graph's global variables; those that the outputs do not depend on are optional, and come last."""
        return self._built().variables

    def load(self, tensors: Mapping[str, Array]) -> SessionWeights:
        """Copy arrays by variable name into the variables of a session; optional names may be absent.

        Floating arrays may be of any width, and integer ones of any that holds the same numbers; anything else, a shape
        that differs, or an absent variable is a `Mismatch`.
        """
        built = self._built()
        fed = {partition.fed: array for slot in built.slots for partition, array in partitions_of(slot, tensors)}
        session = self._idle.pop() if self._idle else self.session()
        with fits_memory("the weights of a checkpoint"):
            # Of arrays that are aligned, TensorFlow keeps the memory as the variable's own: so they are ours alone.
            session.run(built.assign, fed)
            if built.locals:
                session.run(built.local)
        loaded = SessionWeights(session)
        weakref.finalize(loaded, self._idle.append, session).atexit = False
        return loaded

    def predict(self, weights: SessionWeights, inputs: Any) -> Any:
        """Return the outputs for one batch as NumPy arrays; `DataError` for inputs that do not fit the placeholders."""
        built = self._built()
        with fits_memory("a batch or its outputs"):
            return weights.session.run(built.outputs, {**self._given(built, inputs), **built.feeds})

    def release(self) -> None:
        """Close the sessions that hold the weights of checkpoints that are gone."""
        while self._idle:
            self._idle.pop().close()

    def suspects(self, weights: SessionWeights, inputs: Any) -> list[str]:  # noqa: ARG002 - the graph shows it without a run
        """Name the operations that the outputs depend on and that draw numbers, or use a batch's own statistics."""
        built = self._built()
        return _tf1_suspects.suspects(built.graph, built.reached)

    def changes(self, weights: SessionWeights) -> Callable[[], list[str]]:
        """Return what names the variables that predictions changed from now on, and by which operation."""
        built = self._built()
        held = {item.held.op.name: item.held for slot in built.slots for item in slot.partitions}
        held |= {item.op.name: item for item in built.locals}
        before = _tf1_suspects.read(weights.session, held)

        def changed() -> list[str]:
            found = _tf1_suspects.changed(weights.session, held, before)
            by = {name: _tf1_suspects.assigning(built.reached, held[name]) for name in found}
            return [f"{name} (by {by[name]})" if by[name] else name for name in found]

        return changed

    def initial(self, names: Iterable[str]) -> dict[str, Array]:
        """Return the values that variables are built with, for those that a checkpoint lacks.

        They are drawn under a fixed seed of the graph, so that they are the same in every process; UsageError where
        they are not.
        """
        if not self._initial:
            # A second graph, not a second session: the function may draw numbers itself.
            graphs = (self._built(), build(self._function, self._inputs, self._feeds, self._device))
            self._initial = [_initialised(built) for built in graphs]
        first, second = self._initial
        return repeatable(
            names, first, second, "draw them from TensorFlow's initializers, or from a generator with a seed"
        )

    def on(self, device: str) -> "GraphModel":
        """Return the same model for another device ("cpu", "gpu", "gpu:1"), with a graph of its own."""
        own = self.restorer
        return GraphModel(
            self._function,
            self._inputs,
            feeds=self._feeds,
            init_fn=own and own.init_fn,
            device=device,
            **again(self.overrides),
        )

    def spec(self) -> dict[str, Json]:
        """Return what the user declared: part of the evaluation's key; {} where he declared nothing.

        >>> inputs = {"x": (tf.float32, [None])}
        >>> GraphModel(lambda x: x, inputs, feeds={"is_training": False}, restore={"old/w": "w"}).spec()
        {'name': 'tf1', 'restore': {'old/w': 'w'}, 'feeds': {'is_training': False}}
        """
        declared = spec_of_overrides(self.overrides)
        if self._feeds:
            declared["feeds"] = {name: value.item() for name, value in self._feeds.items()}
        if self.restorer is not None:
            declared["init_fn"] = self.restorer.called
        return {"name": self.name, **declared} if declared else {}

    def environment(self) -> dict[str, Json]:
        """Return framework, version, device, threads within an operation, and whether oneDNN's kernels are used."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return {
            "framework": "tensorflow",
            "version": tf.__version__,
            "device": self._device,
            "threads": int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or cores,
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
        }

    def session(self) -> Any:
        """Return a new session over the one graph, its tables initialised and its variables not."""
        built = self._built()
        config = tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0} if self._device == _CPU else None)
        config.gpu_options.allow_growth = True
        session = tf.Session(graph=built.graph, config=config)
        session.run(built.tables)
        return session

    def restored_by(self, init_fn: Callable[[Any, str], Any], prefix: str) -> dict[str, Array]:
        """Return the values that a user's function gives the variables of a new session; those without are left out."""
        built = self._built()
        with self.session() as session, built.graph.as_default():
            init_fn(session, prefix)
            without = {name.decode() for name in session.run(built.uninitialized)}
            slots = [
                slot
                for slot in built.slots
                if not any(partition.held.op.name in without for partition in slot.partitions)
            ]
            return _values(session, slots)

    def _built(self) -> Built:
        if self._graph is None:
            built = build(self._function, self._inputs, self._feeds, self._device)
            check_names(self.overrides, {item.name for item in built.variables}, "the graph")
            self._graph = built
        return self._graph

    def _given(self, built: Built, inputs: Any) -> dict[Any, Any]:
        named = inputs if isinstance(inputs, Mapping) else dict.fromkeys(built.inputs, inputs)
        if named.keys() != built.inputs.keys() or (len(named) > 1 and not isinstance(inputs, Mapping)):
            found = f"inputs {', '.join(map(str, inputs))}" if isinstance(inputs, Mapping) else "one array"
            raise DataError(f"the graph takes the inputs {', '.join(built.inputs)}; the data gives {found}")
        return {fed: fitted(name, named[name], fed) for name, fed in built.inputs.items()}


@dataclass(frozen=True, slots=True)
class _InitFunction:
    """Restores by the user's `init_fn`."""

    init_fn: Callable[[Any, str], Any]
    model: GraphModel

    @property
    def called(self) -> str:
        return str(getattr(self.init_fn, "__qualname__", type(self.init_fn).__name__))

    @property
    def place(self) -> str:
        return f"init_fn {self.called}"

    def __call__(self, path: str, variant: str) -> dict[str, Array]:
        """Return variables' values by name, as the function restored them from a checkpoint's address."""
        if variant != "raw":
            raise Mismatch(
                f"{self.place} restores one set of weights, whatever the variant: leave {variant!r} out of "
                "Evaluation(variants=...)"
            )
        try:
            with fits_memory("the weights of a checkpoint"):
                return self.model.restored_by(self.init_fn, path.removesuffix(".index"))
        except (Mismatch, OutOfMemory):
            raise
        except Exception as error:
            kind = {tf.errors.NotFoundError: Mismatch, tf.errors.DataLossError: Corrupt}.get(type(error), ModelFailed)
            first = next(iter(str(error).splitlines()), "")
            raise kind(f"{self.place} raised {type(error).__name__}: {first}") from error


def _declared(inputs: Declared) -> dict[str, tuple[Any, Any]]:
    try:
        return {name: (tf.as_dtype(dtype), tf.TensorShape(shape)) for name, (dtype, shape) in dict(inputs).items()}
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"inputs is {inputs!r}; expected dtype and shape by name, such as "
            '{"images": (tf.float32, [None, 28, 28, 1])}'
        ) from error


def _scalars(feeds: Mapping[str, Any], inputs: Iterable[str]) -> dict[str, Any]:
    found = {name: np.asarray(value) for name, value in feeds.items()}
    for name, value in found.items():
        if value.ndim or value.dtype.kind not in "biuf" or name in inputs:
            raise UsageError(
                f"feeds={{{name!r}: {feeds[name]!r}}}: expected a number or a truth value for what is no input"
            )
    return found


def _device(device: str) -> str:
    kind, _, number = device.lower().removeprefix("/").removeprefix("device:").partition(":")
    kind = "gpu" if kind == "cuda" else kind
    there = len(tf.config.experimental.list_physical_devices(kind.upper())) if kind else 0
    if not there or (number and (not number.isdigit() or int(number) >= there)):
        raise UsageError(f"device {device!r}: TensorFlow finds {there} devices of this kind here")
    return f"{kind}:{number}" if number.strip("0") else kind


def _initialised(built: Built) -> dict[str, Array]:
    with tf.Session(graph=built.graph) as session:
        session.run(built.tables)
        session.run(built.initial)
        return _values(session, built.slots)


def _values(session: Any, slots: Iterable[Slot]) -> dict[str, Array]:
    """Return variables' values by the names of a checkpoint, partitioned ones put together."""
    found = {}
    for slot in slots:
        values = session.run([partition.held for partition in slot.partitions])
        if len(values) == 1:
            found[slot.variable.name] = np.array(values[0])
            continue
        whole = np.empty(slot.variable.shape or (), values[0].dtype)
        for partition, value in zip(slot.partitions, values, strict=True):
            whole[partition.where] = value
        found[slot.variable.name] = whole
    return found
