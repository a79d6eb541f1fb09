"""The code of an evaluation that was made in a prompt or notebook: what its parts reach, as it is in memory.

A function stands for its compiled code (so that comments and layout do not count), its defaults, what it closes over
and the globals that it names; a class for its bases and members; data for its value; the user's files and packages for
themselves.  What cannot be told apart from another of its kind (a tokenizer, an open file) makes the code unknown: then
the user is asked for a version.
"""

import dis
import functools
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.modules import file_of
from milepost.evaluation.origin import Origin, origin
from milepost.evaluation.source import form_of

LIVE = "<live>"
"""The file that stands for a prompt or notebook where it is noted who read something."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, type(Ellipsis))
_VALUES = (int, float, complex, str, bytes)
_CALLED = (functools.partial, MethodType)
_NAMED = (BuiltinFunctionType, np.ufunc, WrapperDescriptorType, MethodDescriptorType, ClassMethodDescriptorType)
_WRITTEN_OUT = (
    "dtype",
    "device",
    "Size",
    "Pattern",
    "PosixPath",
    "timedelta",
    "datetime",
    "date",
    "Decimal",
    "Fraction",
)
"""Classes of packages whose `repr` says all."""
_SKIPPED = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "__slots__"),
        *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl"),
        *(
            "__name__",
            "__static_attributes__",
            "__firstlineno__",
            "__parameters__",
            "__orig_bases__",
            "__annotations_cache__",
        ),
    }
)
_MODULE_STATE = frozenset({"training", "_is_full_backward_hook"})
_KERAS = ("keras", "tf_keras")
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_MOST = 100_000
_MANY = 50
_LARGE = 1 << 20


@dataclass(slots=True)
class LiveCode:
    """What was reached: digests of code and values by name, the user's files, and names of packages."""

    forms: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)


def live_code(evaluation: Evaluation) -> LiveCode:
    """Return what the model, data, task and metrics of an evaluation reach.

    Raises UsageError, which asks for `version=`, where something has no identity.
    """
    walk = _Reach()
    for part in (evaluation.model, evaluation.task, *evaluation.metrics):
        walk.visit(part, type(part).__name__)
    walk.is_data = True  # its fingerprint tells the content
    for name, source in evaluation.data.items():
        walk.visit(source, f"data[{name!r}]")
    return walk.found


class _Reach:
    """One way through objects, each met once; `counts`: whether plain values that are met decide anything."""

    def __init__(self) -> None:
        self.found = LiveCode()
        self.is_data = False
        self._seen: dict[tuple[int, bool], Any] = {}  # holds what it has seen, so that no id comes twice

    def visit(self, thing: Any, where: str, *, counts: bool = True) -> None:
        """Take in a thing that is called so."""
        kind = type(thing)
        if kind in _PLAIN:
            if counts:
                self._add(where, [kind.__name__, repr(thing)])
            return
        key = id(thing), counts
        if key in self._seen:
            return
        self._seen[key] = thing
        if len(self._seen) > _MOST:
            raise _unknown(where, "it reaches too many objects")
        if not self._code(thing, where):
            self._data(thing, where, counts=counts)

    def _code(self, thing: Any, where: str) -> bool:
        """Take in a function, class or module; False for anything else."""
        if isinstance(thing, FunctionType):
            self._function(thing, where)
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, ModuleType):
            self._module(thing)
        elif isinstance(thing, _NAMED):
            self._add(where, ["named", repr(getattr(thing, "__module__", "")), thing.__name__])
        else:
            return False
        return True

    def _data(self, thing: Any, where: str, *, counts: bool) -> None:
        """Take in a value, what a container holds, or the state of an object."""
        kind = type(thing)
        base = next((base for base in _VALUES if isinstance(thing, base)), None)
        if base is not None:  # of a class of its own, such as an IntEnum
            self.visit([kind, base(thing)], where, counts=counts)
        elif kind in (list, tuple) and len(thing) > _MANY and all(type(item) in _PLAIN for item in thing):
            if counts:
                self._add(where, [[type(item).__name__, repr(item)] for item in thing])
        elif (inner := _inside(thing)) is not None:
            for name, item in inner:
                self.visit(item, f"{where}{name}", counts=counts or isinstance(thing, _CALLED))
        elif not self._array(thing, where, counts=counts):
            self._instance(thing, where, counts=counts)

    def _add(self, where: str, what: Any) -> None:
        name, number = where, 1
        while name in self.found.forms:  # two functions of one name
            number += 1
            name = f"{where} ({number})"
        self.found.forms[name] = digest(what)[:16]

    def _function(self, function: FunctionType, where: str) -> None:
        code, name = function.__code__, function.__qualname__
        whose = _whose(function.__module__, code.co_filename)
        if whose is Origin.NOBODY:
            self.found.cells.add(os.path.realpath(code.co_filename))
            self._add(name, form_of(code))
            for loaded in sorted(_globals_of(code) & function.__globals__.keys()):
                self.visit(function.__globals__[loaded], loaded)
            for module in sorted(_imports_of(code)):
                self._package(module)
        elif whose is Origin.USER:
            self.found.files.add(os.path.realpath(code.co_filename))
        else:
            self._package(function.__module__ or where)
        # What a package's decorator has wrapped is the user's.
        self.visit(function.__defaults__ or (), f"{name}: default")
        self.visit(function.__kwdefaults__ or {}, f"{name}: default")
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if whose is Origin.NOBODY or callable(_content(cell)):
                self.visit(_content(cell), f"{name}: {variable}")

    def _class(self, kind: type) -> None:
        whose = _whose(kind.__module__)
        if whose is Origin.USER:
            self._module(sys.modules[kind.__module__])
        elif whose is not Origin.NOBODY:
            self._package(kind.__module__)
        else:
            self._add(f"class {kind.__qualname__}", [base.__qualname__ for base in kind.__mro__])
            for base in (*kind.__bases__, type(kind)):
                self.visit(base, base.__qualname__)
            for name, member in sorted(vars(kind).items()):
                if name not in _SKIPPED and type(member).__name__ not in ("member_descriptor", "getset_descriptor"):
                    self.visit(member, f"{kind.__qualname__}.{name}")

    def _module(self, module: ModuleType) -> None:
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and origin(file) is Origin.USER:
            self.found.files.add(os.path.realpath(file))
        else:
            self._package(module.__name__)

    def _package(self, name: str) -> None:
        file = file_of(name, os.getcwd())
        if file is not None and origin(file) is Origin.USER:
            self.found.files.add(file)
        elif name not in ("builtins", "__main__"):
            self.found.packages.add(name)

    def _array(self, thing: Any, where: str, *, counts: bool) -> bool:
        """Take in an array or tensor by its content; False where it is none."""
        if not isinstance(thing, np.ndarray | np.generic) and not {"dtype", "shape", "__array__"} <= set(dir(thing)):
            return False
        if counts and not (self.is_data and thing.nbytes > _LARGE):
            try:
                array = np.ascontiguousarray(thing.detach().cpu() if "detach" in dir(thing) else thing)
            except Exception as error:  # a device, a sparse layout, a dtype that NumPy lacks
                raise _unknown(where, f"its content cannot be read: {error}") from error
            if array.dtype.hasobject:
                raise _unknown(where, "its array holds objects")
            self._add(where, [str(array.dtype), list(array.shape), digest(array.tobytes().hex())])
        return True

    def _instance(self, thing: Any, where: str, *, counts: bool) -> None:
        kind = type(thing)
        whose = _whose(kind.__module__)
        self.visit(kind, kind.__qualname__)
        foreign = whose not in (Origin.USER, Origin.NOBODY)
        if isinstance(thing, logging.Logger) or (foreign and kind.__name__ in _WRITTEN_OUT):
            self.visit(repr(thing), where, counts=counts)
            return
        if whose is Origin.MILEPOST or (self.is_data and foreign):
            counts = False  # the key has the settings of Milepost's own; a data set's content is known by itself
        elif not foreign or callable(thing):
            counts = True  # the user's own, also where a model of Milepost's holds it
        if counts:
            self._add(f"{where}: class", [kind.__module__ if foreign else "", kind.__qualname__])
        if counts and _is_keras_layer(kind):
            self.visit(_keras_config(thing, where), where)
            return
        state = _state(thing) if not foreign or all(map(_is_written_in_python, kind.__mro__[:-1])) else None
        if state is None:
            if counts and foreign and not self.is_data:
                raise _unknown(where, f"a {kind.__module__}.{kind.__qualname__} does not say what it holds")
            return
        for name, item in state:
            self.visit(item, f"{where}.{name}", counts=counts)


def _inside(thing: Any) -> Iterator[tuple[str, Any]] | None:
    """Yield what a container or a wrapper of functions holds, by name; None for any other thing."""
    if isinstance(thing, Mapping):
        return ((f"[{key!r}]", item) for key, item in islice(thing.items(), _MOST))
    if isinstance(thing, list | tuple):
        return ((f"[{place}]", item) for place, item in enumerate(thing))
    if isinstance(thing, set | frozenset):
        return ((f"[{place}]", item) for place, item in enumerate(sorted(thing, key=repr)))
    if isinstance(thing, MethodType):
        return iter([("", thing.__func__), (".self", thing.__self__)])
    if isinstance(thing, functools.partial):
        return iter([("", thing.func), (": arguments", thing.args), (": arguments", thing.keywords)])
    if isinstance(thing, staticmethod | classmethod):
        return iter([("", thing.__func__)])
    if isinstance(thing, functools.cached_property):
        return iter([("", thing.func)])
    if isinstance(thing, property):
        return iter([("", thing.fget), (".setter", thing.fset)])
    if callable(thing) and "__wrapped__" in dir(thing):  # a cache, or a function that was compiled
        return iter([(": wrapper", type(thing)), ("", thing.__wrapped__)])
    return None


def _state(thing: Any) -> list[tuple[str, Any]] | None:
    """Return the attributes of an object; None where Python knows of none."""
    kind = type(thing)
    held = {name: getattr(thing, name) for base in kind.__mro__ for name in _slots(base) if hasattr(thing, name)}
    try:
        held |= vars(thing)
    except TypeError:
        return sorted(held.items()) or None
    if _is_torch_module(kind):
        # Checkpoints bring the values of parameters, and of the buffers that are saved.
        parameters = held.get("_parameters", {}).items()
        held["_parameters"] = {n: None if p is None else [str(p.dtype), tuple(p.shape)] for n, p in parameters}
        unsaved = held.get("_non_persistent_buffers_set", ())
        held["_buffers"] = {name: item for name, item in held.get("_buffers", {}).items() if name in unsaved}
        held = {name: item for name, item in held.items() if name not in _MODULE_STATE}
    return sorted((name, item) for name, item in held.items() if name not in _SKIPPED)


def _is_torch_module(kind: type) -> bool:
    return any((base.__module__, base.__name__) == ("torch.nn.modules.module", "Module") for base in kind.__mro__)


def _is_keras_layer(kind: type) -> bool:
    return any(base.__name__ == "Layer" and base.__module__.partition(".")[0] in _KERAS for base in kind.__mro__)


def _keras_config(layer: Any, where: str) -> Any:
    """Return what a layer or model of Keras is made from; layers are called by their place, not a running number."""
    try:
        config = layer.get_config()
    except Exception as error:
        raise _unknown(where, f"its get_config() fails: {error}") from error
    places = {str(config.get("name")): "itself"}
    for place, item in enumerate(config.get("layers") or ()):
        places.setdefault(str(item.get("config", {}).get("name")), f"layer {place}")
    return _renamed(config, places)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _is_written_in_python(kind: type) -> bool:
    """Return whether all that instances hold can be seen: C code keeps its own to itself."""
    return str(getattr(sys.modules.get(kind.__module__), "__file__", "")).endswith(".py")


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _whose(module: str | None, file: str = "") -> Origin:
    """Return who wrote a function or class: nobody's are those of a prompt or notebook."""
    if os.path.isfile(file):
        return origin(file)
    known = getattr(sys.modules.get(module or ""), "__file__", None)
    if isinstance(known, str) and os.path.isfile(known):
        return origin(known)
    return Origin.NOBODY if module in (None, "__main__") or module not in sys.modules else Origin.PYTHON


def _codes_of(code: CodeType) -> Iterator[CodeType]:
    yield code
    yield from chain.from_iterable(_codes_of(item) for item in code.co_consts if isinstance(item, CodeType))


def _globals_of(code: CodeType) -> set[str]:
    each = chain.from_iterable(map(dis.get_instructions, _codes_of(code)))
    return {str(one.argval) for one in each if one.opname in _GLOBAL}


def _imports_of(code: CodeType) -> set[str]:
    found, module = set[str](), ""
    for one in chain.from_iterable(map(dis.get_instructions, _codes_of(code))):
        if one.opname == "IMPORT_NAME":
            module = str(one.argval)
            found.add(module)
        elif one.opname == "IMPORT_FROM":
            found.add(f"{module}.{one.argval}")  # which may be a module
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _unknown(where: str, why: str) -> UsageError:
    return UsageError(
        f"the code of this Evaluation, which was made in a prompt or notebook, cannot be told apart from other code "
        f'({where}: {why}): set Evaluation(version="1", ...), and change it when the code changes'
    )
