"""What NumPy, JAX and Paddle write into a pickle for an array, described: type, shape, strides, where its bytes are.

The names and argument orders are those of numpy/_core/multiarray.py and numeric.py (numpy/core before NumPy 2),
jax/_src/array.py and paddle/framework/io.py; nothing of these is imported, and every number is checked.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes

from milepost.checkpoints._codecs.pickle import Known, PickledBytes, Placeholder, is_key
from milepost.checkpoints._files.layout import checked_shape, contiguous, dtype_of, name_of, shown, total
from milepost.errors import CheckpointError, Corrupt, Unsafe

OBJECTS = "holds Python objects: reading them would run code; save plain arrays instead"
_TYPE = re.compile(r"[<>=|]?([fiubc])(\d{1,2})")
_ORDERS = {"<": "<", ">": ">", "|": "", "=": "="}


@dataclass(frozen=True, slots=True)
class PickledArray:
    """An array: strides in bytes, None for C order; `odd` says why it cannot be read, `unsafe` that it has objects."""

    dtype: str
    shape: tuple[int, ...]
    data: PickledBytes | bytes | None = None
    strides: tuple[int, ...] | None = None
    odd: str = ""
    unsafe: bool = False


class _Array(Placeholder):
    """What `_reconstruct` gives; the state that comes after says all."""

    __slots__ = ()


class _Type(Placeholder):
    """What `numpy.dtype(...)` gives; the state that comes after has its byte order."""

    __slots__ = ()


class _Made(Placeholder):
    """An array or a number that is made in one call: of `_frombuffer`, or of `scalar`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Number:
    """A number type of ml_dtypes, which NumPy names by its class."""

    name: str


def is_array(value: Any) -> bool:
    """Return whether a value of a pickle stands for an array or one of its numbers."""
    return isinstance(value, _Array | _Made)


def array_of(value: Any, where: str) -> PickledArray:
    """Return the description of what `is_array`; `Corrupt`, with `where`, where it contradicts itself."""
    try:
        return _described(value)
    except CheckpointError as error:
        raise type(error)(f"{where}: {error}") from error
    except (TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"{where}: not described as NumPy describes an array: {error}") from error


def _described(value: Placeholder) -> PickledArray:
    order, axes = "C", None
    if isinstance(value, _Array):
        *_, shape, kind, fortran, data = _tuple(value.state, 4, 5)
        order = "F" if fortran else "C"
    elif value.address == "scalar":
        kind, data = _tuple(value.arguments, 2, 2)
        shape = ()
    else:
        data, kind, shape, order, *more = _tuple(value.arguments, 4, 5)
        axes = next(iter(more), None)
    sizes = checked_shape(shape, "an array")
    dtype, odd = _type_of(kind)
    if odd:
        return PickledArray("void", sizes, odd=odd, unsafe=odd is OBJECTS)
    held = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(held, PickledBytes | bytes):
        raise Corrupt(f"an array of {dtype} without bytes; {shown(data)} stands in their place")
    length = held.length if isinstance(held, PickledBytes) else len(held)
    itemsize = dtype_of(dtype).itemsize
    if total(sizes) * itemsize != length:
        raise Corrupt(f"an array of {dtype} and shape {shown(sizes)} has {length:,} bytes")
    return _laid_out(PickledArray(dtype, sizes, held), order, axes, itemsize)


def _laid_out(array: PickledArray, order: Any, axes: Any, itemsize: int) -> PickledArray:
    """Return an array with the strides of its order: "C", "F", or "K" with the axes that its bytes were written by."""
    shape = array.shape
    if order == "F":
        strides = contiguous(shape[::-1], itemsize)[::-1]
    elif axes is not None and order == "K":
        if sorted(checked_shape(axes, "an array", "the order of its axes")) != list(range(len(shape))):
            raise Corrupt(f"the axes {shown(axes)} do not fit shape {shown(shape)}")
        plain = contiguous(shape, itemsize)
        shape, strides = tuple(shape[axis] for axis in axes), tuple(plain[axis] for axis in axes)
    elif order == "C":
        return array
    else:
        raise Corrupt(f"an array in order {shown(order)}")
    plain = contiguous(shape, itemsize)
    same = all(size == 1 or one == other for size, one, other in zip(shape, strides, plain, strict=True))
    return PickledArray(array.dtype, shape, array.data, None if same or 0 in shape else strides)


def _type_of(kind: Any) -> tuple[str, str]:
    """Return a number type's name as tables write it, and why it cannot be read, if so."""
    if not isinstance(kind, _Type):
        raise Corrupt(f"an array whose type is {shown(kind)}")
    code = kind.arguments[0] if kind.arguments else None
    state = kind.state if isinstance(kind.state, tuple) else ()
    order = _ORDERS.get(state[1] if len(state) > 1 and isinstance(state[1], str) else "=")
    if isinstance(code, _Number):
        big = order == ">" and dtype_of(code.name).itemsize > 1
        return code.name, f"{code.name} of big-endian byte order" if big else ""
    if not isinstance(code, str) or order is None:
        raise Corrupt(f"an array whose type is {shown(code)}")
    match = _TYPE.fullmatch(code)
    if match is not None:
        return name_of(dtype_of(f"{order}{match[1]}{match[2]}")), ""
    if code.startswith("O"):
        return "void", OBJECTS
    return "void", "a structured type" if code.startswith("V") else f"text or dates of type {code[:40]}"


def _tuple(value: Any, least: int, most: int) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or not least <= len(value) <= most:
        raise Corrupt(f"an array's description is {shown(value)}; expected {least} to {most} items")
    return value


def _jax(function: Any, arguments: Any, state: Any, _: Any = None) -> Any:
    """Rebuild a JAX array: NumPy's own call, its arguments and its state."""
    if not isinstance(function, Known) or not isinstance(arguments, tuple):
        raise Corrupt("a JAX array that is made of something else than a NumPy array")
    array = function.call(arguments)
    if isinstance(array, Placeholder):
        array.state = state
    return array


def _paddle(text: Any, names: Any) -> Any:
    """Return the tensor that Paddle wraps as eval("data", {"data": array}); nothing is evaluated."""
    if text != "data" or not isinstance(names, dict) or names.keys() != {"data"}:
        raise Unsafe("the pickle asks to evaluate an expression; Milepost did not run it")
    return names["data"]


def _sequence(*arguments: Any) -> Any:
    """Return a list or tuple; of Paddle's pair of a tensor's name and array the array."""
    items = list(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else []
    return items[1] if len(items) == 2 and isinstance(items[0], str) and is_array(items[1]) else items  # noqa: PLR2004 - a pair


def _mapping(*arguments: Any) -> Any:
    given = arguments[0] if arguments else {}
    return (
        given
        if isinstance(given, dict)
        else {key: value for key, value in given if isinstance(key, str) and is_key(key)}
    )


def _encoded(text: Any, *_: Any) -> bytes:
    if not isinstance(text, str):
        raise Corrupt("bytes that are written as text, and are none")
    return text.encode("latin-1")


def _bytes(*arguments: Any) -> Any:
    """Return what stands for bytes already; those of nothing are empty."""
    return arguments[0] if arguments else b""


def _known() -> Mapping[str, Any]:
    functions: dict[str, Callable[..., Any]] = {
        "numpy.dtype": lambda *arguments: _Type("dtype", arguments),
        "_codecs.encode": _encoded,
        "collections.OrderedDict": _mapping,
        "flax.core.frozen_dict.FrozenDict": _mapping,
        "jax._src.array._reconstruct_array": _jax,
        "jax._src.device_array.reconstruct_device_array": _jax,
    }
    for root in ("numpy.core", "numpy._core"):
        functions[f"{root}.multiarray._reconstruct"] = lambda *_: _Array("array")
        functions[f"{root}.multiarray.scalar"] = lambda *arguments: _Made("scalar", arguments)
        functions[f"{root}.numeric._frombuffer"] = lambda *arguments: _Made("buffer", arguments)
    for module in ("builtins", "__builtin__"):
        functions |= {f"{module}.{name}": _sequence for name in ("tuple", "list")}
        functions |= {f"{module}.{name}": _bytes for name in ("bytes", "bytearray")}
        functions |= {f"{module}.dict": _mapping, f"{module}.eval": _paddle}
    known: dict[str, Any] = {address: Known(address, make) for address, make in functions.items()}
    known["numpy.ndarray"] = None  # the class that `_reconstruct` is asked for
    kinds: Sequence[str] = [name for name in dir(ml_dtypes) if isinstance(getattr(ml_dtypes, name), type)]
    return known | {f"ml_dtypes.{name}": _Number(name) for name in kinds if name not in ("finfo", "iinfo")}


KNOWN = _known()
"""The names that get a meaning; a pickle that names any other is refused."""
