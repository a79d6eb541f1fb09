"""Plain data (JSON): its one text, its digest, and the way between it and our frozen dataclasses.

Strict on the way back: an unknown key, a missing one, or a value of another type is a `ValueError` that says where.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union

Json = Any  # `core.types` has it too, and imports NumPy, which a listing need not pay for
T = TypeVar("T")
_Reader = Callable[[Any, str], Any]
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode


def canonical(value: Json) -> str:
    """Return the one JSON text of a plain value: sorted keys, no spaces, no NaN.

    >>> canonical({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return _encode(value)


def digest(value: Json) -> str:
    """Return the first 32 hex digits of the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]


def now() -> str:
    """Return the time as records hold it: UTC, RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def to_plain(value: Any) -> Any:
    """Return a value as JSON data: dataclasses become dicts, tuples lists.

    Raises `ValueError` for anything else (arrays, bytes, objects): those do not cross.

    >>> from milepost.core.types import Identity
    >>> to_plain((Identity(1, 2, 3, 4, 5), None))
    [{'device': 1, 'inode': 2, 'size': 3, 'mtime_ns': 4, 'ctime_ns': 5}, None]
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise ValueError("a mapping crosses only with text keys")
        return {key: to_plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in _names(type(value))}
    raise ValueError(f"a {type(value).__name__} is no plain data and cannot cross to another process")


def from_plain(cls: type[T], data: Any) -> T:
    """Build a dataclass from what `to_plain` made of it.

    Raises `ValueError` for unknown or missing keys and for values that do not fit the declared types.

    >>> from milepost.core.types import Failure
    >>> from_plain(Failure, {"kind": "torn", "message": "half"})
    Failure(kind='torn', message='half')
    >>> from_plain(Failure, {"kind": "torn"})
    Traceback (most recent call last):
    ...
    ValueError: Failure: missing message
    """
    hint: Any = cls
    made: T = _reader(hint)(data, cls.__name__)
    return made


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(cls))


@cache
def _reader(hint: Any) -> _Reader:
    if hint is Any or hint is object:
        return lambda data, _: data
    if hint is None or hint is type(None):
        return _literal((None,))
    if hint in (str, int, bool, float):
        return _scalar(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is list or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _sequence(_reader(arguments[0]), list)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_reader(arguments[1]))
    raise ValueError(f"{hint!r} is no type that crosses between processes")


def _scalar(kind: type[Any]) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if type(data) is kind:
            return data
        if kind is float and type(data) is int:
            return float(data)
        raise ValueError(f"{where}: expected {kind.__name__}, found {_shown(data)}")

    return read


def _literal(allowed: tuple[Any, ...]) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if not any(type(data) is type(item) and data == item for item in allowed):
            raise ValueError(f"{where}: expected one of {allowed}, found {_shown(data)}")
        return data

    return read


def _union(choices: tuple[Any, ...]) -> _Reader:
    readers = [_reader(choice) for choice in choices]

    def read(data: Any, where: str) -> Any:
        problems = []
        for one in readers:
            try:
                return one(data, where)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError(problems[0])

    return read


def _tuple(arguments: tuple[Any, ...]) -> _Reader:
    if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
        return _sequence(_reader(arguments[0]), tuple)
    readers = [_reader(item) for item in arguments]

    def read(data: Any, where: str) -> Any:
        if not isinstance(data, list | tuple) or len(data) != len(readers):
            raise ValueError(f"{where}: expected {len(readers)} items, found {_shown(data)}")
        return tuple(one(item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(readers, data, strict=True)))

    return read


def _sequence(item_reader: _Reader, make: Callable[[Any], Any]) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if not isinstance(data, list | tuple):
            raise ValueError(f"{where}: expected a list, found {_shown(data)}")
        return make([item_reader(item, where) for item in data])

    return read


def _mapping(item_reader: _Reader) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if not isinstance(data, dict) or not all(type(key) is str for key in data):
            raise ValueError(f"{where}: expected a mapping with text keys, found {_shown(data)}")
        return {key: item_reader(item, f"{where}.{key}") for key, item in data.items()}

    return read


def _dataclass(cls: type[Any]) -> _Reader:
    hints = typing.get_type_hints(cls)
    readers = {name: _reader(hints[name]) for name in hints}

    def read(data: Any, where: str) -> Any:
        if not isinstance(data, dict):
            raise ValueError(f"{where}: expected a mapping, found {_shown(data)}")
        if data.keys() != readers.keys():
            missing, unknown = sorted(readers.keys() - data.keys()), sorted(map(str, data.keys() - readers.keys()))
            odd = {"missing": missing, "unknown": unknown}
            words = "; ".join(f"{fault} {', '.join(names)}" for fault, names in odd.items() if names)
            raise ValueError(f"{where}: {words}")
        return cls(**{name: one(data[name], name) for name, one in readers.items()})

    return read


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) < 60 else text[:57] + "..."  # noqa: PLR2004 - fits a message


def json_bytes(value: Any) -> bytes:
    r"""Return the one JSON text of a plain value with a newline: equal values, equal files.

    >>> json_bytes({"b": 1, "a": None})
    b'{"a":null,"b":1}\n'
    """
    return canonical(value).encode("ascii") + b"\n"
