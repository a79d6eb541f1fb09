"""What torch writes into a pickle, rebuilt as descriptions: storages, views on them, number types, plain containers.

The names and argument orders are those of torch/_utils.py and torch/_tensor.py; every number is checked against the
storage's real bytes before it becomes a view.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from milepost.checkpoints._codecs.pickle import Known, Placeholder, is_key
from milepost.checkpoints._files.layout import checked_shape, dtype_of, overlaps, span, total
from milepost.errors import Corrupt

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64", "UntypedStorage": "uint8",
}  # fmt: skip
_ODD_STORAGES = {"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1}
_TYPES = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32"),
    *("uint64", "bool", "complex128", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"),
    *("float8_e5m2fnuz", "float8_e8m0fnu"),
)
_AS_FIRST = (
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter"),
    *("torch._utils._rebuild_device_tensor_from_cpu_tensor", "torch.device", "torch.serialization._get_layout"),
    *("torch.Tensor", "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable"),  # Variable: before torch 0.4
)
"""What is called on a value that stands for the whole."""


@dataclass(frozen=True, slots=True)
class Type:
    """A torch number type by its NumPy or ml_dtypes name."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageType:
    """A storage class: what its items are; `odd` where the type is one that NumPy lacks."""

    dtype: str
    itemsize: int
    odd: str | None = None


@dataclass(frozen=True, slots=True)
class TorchStorage:
    """A run of bytes in the file: its key, its type, its length in bytes, and where in the key's bytes it begins."""

    key: str
    kind: StorageType
    nbytes: int
    begin: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: a strided view on a storage; offset and strides in items.  `odd` says why it cannot be read, if so.

    `unsafe` marks what stands in a tensor's place and only a call of something that the file names could make.
    """

    storage: TorchStorage | None
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    odd: str | None = None
    unsafe: bool = False


def _view(storage: Any, dtype: str | None, offset: Any, shape: Any, strides: Any, odd: str | None = None) -> View:
    if not isinstance(storage, TorchStorage):
        raise Corrupt("a tensor is built on something that is no storage")
    if dtype is None:
        dtype, odd = storage.kind.dtype, storage.kind.odd or odd
    where = f"a tensor on storage {storage.key[:40]!r}"
    sizes, steps = checked_shape(shape, where), checked_shape(strides, where, "the strides")
    (start,) = checked_shape((offset,), where, "the offset")
    if len(sizes) != len(steps):
        raise Corrupt(f"{where}: {len(sizes)} sizes and {len(steps)} strides")
    itemsize = storage.kind.itemsize if odd else dtype_of(dtype).itemsize
    reach = start + span(sizes, steps) if total(sizes) else 0
    if reach * itemsize > storage.nbytes:
        raise Corrupt(f"{where}: shape {sizes} reaches byte {reach * itemsize:,}, the storage has {storage.nbytes:,}")
    if odd is None and overlaps(sizes, steps):
        odd = "a view whose items overlap; save it with .clone()"
    return View(storage, dtype, start, sizes, steps, odd)


def _tensor_v2(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> View:
    return _view(storage, None, offset, shape, strides, _lazy_bits(*rest[2:3]))


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> View:
    (kind,) = rest[2:3] or (None,)  # requires_grad, hooks, dtype, metadata
    if isinstance(kind, Type):
        return _view(storage, kind.name, offset, shape, strides, _lazy_bits(*rest[3:4]))
    return _view(storage, "void", offset, shape, strides, f"number type {getattr(kind, 'address', '?')}")


def _lazy_bits(metadata: Any = None) -> str | None:
    if isinstance(metadata, dict) and any(metadata.get(bit) for bit in ("conj", "neg")):
        return "a lazily conjugated or negated view; save it with .resolve_conj().resolve_neg()"
    return None


def _odd(reason: str) -> Callable[..., View]:
    def make(*arguments: Any) -> View:
        """Take a shape from the arguments where there is one; the tensor is listed, never read."""
        shapes = [item for item in arguments if isinstance(item, tuple) and all(type(size) is int for size in item)]
        shape = checked_shape(shapes[0], reason) if shapes and all(size >= 0 for size in shapes[0]) else ()
        return View(None, "void", 0, shape, (), reason)

    return make


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:  # noqa: ARG001 - torch's own order
    if isinstance(function, Known) and isinstance(arguments, tuple):
        return function.call(arguments)
    return Placeholder("torch._tensor._rebuild_from_type_v2", (function, kind, arguments))


def _first(*arguments: Any) -> Any:
    return arguments[0] if arguments else None


def _mapping(*arguments: Any) -> dict[Any, Any]:
    pairs = (pair for pair in _listed(*arguments) if isinstance(pair, list | tuple) and len(pair) == 2)  # noqa: PLR2004 - key, value
    return {key: value for key, value in pairs if isinstance(key, str | int) and is_key(key)}


def _listed(*arguments: Any) -> list[Any]:
    return list(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else []


def _encoded(*arguments: Any) -> Any:
    text = arguments[0] if arguments else ""
    return text.encode("latin-1", "replace") if isinstance(text, str) else b""


def _known() -> dict[str, Any]:
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _tensor_v2,
        "torch._utils._rebuild_tensor_v2": _tensor_v2,
        "torch._utils._rebuild_tensor_v3": _tensor_v3,
        "torch._tensor._rebuild_from_type_v2": _from_type,
        "torch._utils._rebuild_sparse_tensor": _odd("a sparse tensor"),
        "torch._utils._rebuild_sparse_csr_tensor": _odd("a sparse tensor"),
        "torch._utils._rebuild_nested_tensor": _odd("a nested tensor"),
        "torch._utils._rebuild_qtensor": _odd("a quantised tensor"),
        "torch._utils._rebuild_meta_tensor_no_storage": _odd("a meta tensor, which has no data"),
        "torch._utils._rebuild_wrapper_subclass": _odd("a wrapped tensor subclass"),
        "torch._utils._rebuild_device_tensor_from_numpy": _odd("a tensor pickled through NumPy"),
        "torch.Size": lambda *arguments: tuple(_listed(*arguments)),
        "collections.OrderedDict": _mapping,
        "collections.defaultdict": lambda *_: {},
        "_codecs.encode": _encoded,
    }
    functions |= dict.fromkeys(_AS_FIRST, _first)
    for module in ("builtins", "__builtin__"):
        functions |= {f"{module}.{name}": _listed for name in ("set", "frozenset", "list", "tuple", "bytearray")}
        functions |= {f"{module}.{name}": _first for name in ("int", "float", "bool", "str")}
        functions[f"{module}.dict"] = _mapping
    known: dict[str, Any] = {address: Known(address, make) for address, make in functions.items()}
    known |= {f"torch.{name}": Type(name) for name in _TYPES}
    for module in ("torch", "torch.cuda", "torch.storage"):
        for name, dtype in _STORAGES.items():
            known[f"{module}.{name}"] = StorageType(dtype, dtype_of(dtype).itemsize)
        for name, itemsize in _ODD_STORAGES.items():
            known[f"{module}.{name}"] = StorageType("void", itemsize, f"quantised numbers ({name})")
    return known


KNOWN = _known()
"""The names that get a meaning; every other becomes a placeholder and is listed."""
