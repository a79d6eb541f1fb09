"""Every name that a Keras model's variables have: its own, and those under which files of all kinds keep them.

The model's own are Keras' paths without the model's name (`dense/kernel`).  Files of Keras 3 name by structure
(`layers/dense/vars/0`), older ones by layer, TensorFlow's object graphs by attributes.  What a file would call a
variable is found by walking the model as the writer of such a file walks it.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from milepost.core.types import Variable
from milepost.models._keras2_names import keras2_names


@dataclass(frozen=True, slots=True)
class HeldVariable:
    """A variable of the model: the framework's own object, and how a checkpoint knows it."""

    holder: Any
    variable: Variable


def held_by(model: Any, *, modern: bool) -> tuple[list[HeldVariable], list[Variable]]:
    """Return the model's variables, each once, and the further names of those that a file keeps twice (tied)."""
    required, optional = (_modern if modern else _classic)(model)
    structure = _grouped(_recorded(model) if modern else _walked(model, "", set()))
    legacy = _grouped(_legacy(model))
    objects = _objects(model)
    older = keras2_names(model) if modern else {}
    exported = {id(holder): f"variables/{place}" for place, holder in enumerate(model.variables)} if modern else {}
    found: list[HeldVariable] = []
    tied: list[Variable] = []
    taken: set[str] = set()
    for holder in (*required, *optional):
        name = _unique(_path(holder).removeprefix(f"{model.name}/"), taken)
        dtype, shape = dtype_of(holder), tuple(int(size) for size in holder.shape)
        files = {"weights_h5": structure.get(id(holder), []), "legacy_h5": legacy.get(id(holder), [])}
        also = [(scheme, names[0]) for scheme, names in files.items() if names]
        also += [("weights_h5", old) for old in _older(files["weights_h5"][:1])]
        also += [("objects", path) for path in objects.get(id(holder), [])]
        also += [("keras2", path) for path in older.get(id(holder), [])]
        also += [("keras3_export", exported[id(holder)])] if id(holder) in exported else []
        is_optional = any(holder is item for item in optional)
        found.append(HeldVariable(holder, Variable(name, dtype, shape, None, is_optional, tuple(also))))
        for number in range(1, max(map(len, files.values()))):
            again = tuple((scheme, names[number]) for scheme, names in files.items() if number < len(names))
            tied.append(Variable(_unique(again[0][1], taken), dtype, shape, name, is_optional, again))
    return found, tied


def dtype_of(holder: Any) -> str:
    """Return a variable's dtype by name, of Keras 3 (text) and of TensorFlow (an object)."""
    return str(getattr(holder.dtype, "name", holder.dtype))


def _path(holder: Any) -> str:
    return str(getattr(holder, "path", None) or holder.name).split(":", maxsplit=1)[0]


def _unique(name: str, taken: set[str]) -> str:
    numbered = (f"{name}~{number}" if number else name for number in count())
    made = next(item for item in numbered if item not in taken)
    taken.add(made)
    return made


def _grouped(pairs: Iterator[tuple[str, Any]]) -> dict[int, list[str]]:
    """Return the names of each variable, by its identity: a value that is no variable of the model has none."""
    found: dict[int, list[str]] = {}
    for name, holder in pairs:
        found.setdefault(id(holder), []).append(name)
    return found


def _older(names: Sequence[str]) -> list[str]:
    return [f"_layer_checkpoint_dependencies/{name[7:]}" for name in names if name.startswith("layers/")]


# ---------------------------------------------------------------------------------------------------- which variables


def _modern(model: Any) -> tuple[list[Any], list[Any]]:
    """Return what a prediction of a Keras 3 model depends on, and the rest: states of generators and of metrics."""
    required = list(model.weights)
    known = {id(item) for item in required}
    every = [*model.variables, *model.metrics_variables]
    optional = {id(item): item for item in every if id(item) not in known}
    return required, list(optional.values())


def _classic(model: Any) -> tuple[list[Any], list[Any]]:
    """Return the same of a Keras 2 model, whose `weights` count the states of metrics too."""
    roots = (kind.__module__.partition(".")[0] for kind in type(model).__mro__)
    package = sys.modules[next(root for root in roots if root in ("tf_keras", "keras"))]  # `keras` before its version 3
    metric = package.metrics.Metric
    counted = {id(item): item for part in model.submodules if isinstance(part, metric) for item in part.variables}
    weights = {id(item): item for item in model.weights}
    required = [item for key, item in weights.items() if key not in counted]
    return required, [item for key, item in weights.items() if key in counted]


# --------------------------------------------------------------------------------------------------------------- files


def _legacy(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an older `.h5` calls the variables, in its order: by layer, those that are trained first."""
    seen: set[str] = set()
    groups = [(layer.name, layer.trainable_weights + layer.non_trainable_weights) for layer in model.layers]
    for layer, weights in (*groups, ("top_level_model_weights", _own(model))):
        for item in weights:
            name = _path(item)
            place = f"/{name}".find(f"/{layer}/")
            short = name[place:] if place >= 0 else f"{layer}/{name}"
            short = f"{layer}/{name}" if short in seen else short
            seen.add(short)
            yield short, item


def _own(model: Any) -> list[Any]:
    """Return the variables that an object owns by itself, by the names of Keras 3 or 2; [] for what is no layer."""
    for kind in ("variables", "weights"):
        if hasattr(model, f"_non_trainable_{kind}"):
            return [*getattr(model, f"_trainable_{kind}"), *getattr(model, f"_non_trainable_{kind}")]
    return []


@dataclass(slots=True)
class _PathRecorder:
    """What Keras takes for a file to write to: it only notes which value goes where."""

    path: str = ""
    found: list[tuple[str, Any]] = field(default_factory=list)

    def make(self, path: str, metadata: Any = None) -> "_PathRecorder":  # noqa: ARG002 - Keras' signature
        self.path = f"{path}/vars" if path else "vars"
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self.found.append((f"{self.path}/{key}", value))


def _recorded(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the variables of a Keras 3 model as saving puts them into `.weights.h5`."""
    from keras.src.saving import saving_lib  # noqa: PLC0415 - private to Keras: only what saves knows these names

    class Recorder(_PathRecorder, saving_lib.H5IOStore):  # type: ignore[misc] # Keras has no types
        def __bool__(self) -> bool:
            return True

    recorder = Recorder()
    saving_lib._save_state(model, recorder, None, "", set())  # noqa: SLF001 - as above
    yield from recorder.found


def _walked(model: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the same of a Keras 2 model, whose layers hand over copies that show nothing of their variable."""
    lib = sys.modules.get("tf_keras.src.saving.saving_lib")
    if lib is None or id(model) in visited:
        return
    visited.add(id(model))
    prefix = f"{path}/vars" if path else "vars"
    yield from ((f"{prefix}/{number}", item) for number, item in enumerate(_own(model)))
    for name, child in lib._walk_trackable(model):  # noqa: SLF001 - private to Keras: only what saves knows these names
        inner = f"{path}/{name}" if path else name
        for part, item in _parts(lib, child):
            yield from _walked(item, f"{inner}/{part}" if part else inner, visited)


def _parts(lib: Any, child: Any) -> Iterator[tuple[str, Any]]:
    """Yield an object, or the objects of a container by their class' name and number."""
    if lib._is_keras_trackable(child):  # noqa: SLF001 - as above
        yield "", child
    elif isinstance(child, list | dict | tuple | set):
        used: dict[str, int] = {}
        for item in child.values() if isinstance(child, dict) else child:
            if lib._is_keras_trackable(item):  # noqa: SLF001 - as above
                word = lib.generic_utils.to_snake_case(type(item).__name__)
                used[word] = used.get(word, -1) + 1
                yield word + (f"_{used[word]}" if used[word] else ""), item


def _objects(model: Any) -> dict[int, list[str]]:
    """Return the shortest path of attributes to each variable, as `tf.train.Checkpoint(model)` goes; {} elsewhere."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not hasattr(model, "_trackable_children"):
        return {}
    view = tensorflow.train.TrackableView(model)
    found: dict[int, list[str]] = {}
    seen = {id(model)}
    waiting: list[tuple[str, Any]] = [("", model)]
    for path, item in waiting:
        for name, child in view.children(item).items():
            if id(child) not in seen:
                seen.add(id(child))
                escaped = name.replace(".", "..").replace("/", ".S")
                place = f"{path}/{escaped}" if path else escaped
                waiting.append((place, child))
                found.setdefault(id(child), []).append(place)
    return found


# ------------------------------------------------------------------------------------------------------------- counting


@contextmanager
def numbered_from_first() -> Iterator[None]:
    """Have layers without names numbered from the first on; afterwards the process counts on where it was."""
    saved = [(counts, dict(counts)) for counts in _counters()]
    try:
        for counts, _ in saved:
            counts.clear()
        yield
    finally:
        for counts, before in saved:
            counts.clear()
            counts.update(before)


def _counters() -> Iterator[Any]:
    state = sys.modules.get("keras.src.backend.common.global_state")
    if state is not None:
        counts = state.get_global_attribute("object_name_uids")
        if counts is not None:
            yield counts
    backend = sys.modules.get("tf_keras.src.backend")
    if backend is not None:
        yield backend.get_default_graph_uid_map()
