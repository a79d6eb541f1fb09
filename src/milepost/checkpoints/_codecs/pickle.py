"""An inert pickle machine: it builds plain data and placeholders, and never imports or calls what a file names.

A pickle is a program for a stack machine.  This one knows the opcodes that build data; where a program asks for an
object by name it gets a placeholder, unless the name is in `known`, a table of our own functions.  The machine is our
own rather than a subclass of the library's: that one lets eight bytes of a file ask for gigabytes (a memo index, a
bytearray), and hashes nested tuples until the stack overflows.  What an opcode makes is charged to the checkpoint's
budget: one byte of a pickle can ask for a container, three can ask for a copy of all that is in the memo.
Opcodes: the comments of CPython's Lib/pickletools.py.
"""

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

from milepost._internal.budget import TooCostly, charge
from milepost.errors import CheckpointError, Corrupt, Unsafe, Unsupported

_FOREIGN_LIMIT = 1000
_STEPS, _STEP = 1 << 12, 96  # so many steps are charged at once, at what one makes that is no call
_OBJECT = 400
_NAME_LIMIT = 1000
_LONG = 1 << 10
_STOP = ord(".")
_FEW, _SIZED = 64, dict[type[Any], int]({str: 1, bytes: 1, list: _STEP, tuple: _STEP, dict: _STEP})


@dataclass(frozen=True, slots=True)
class Known:
    """A name that we give a meaning of our own: `make` is called in place of what the file asked for."""

    address: str
    make: Callable[..., Any]

    def call(self, arguments: Sequence[Any]) -> Any:
        """Call it, after what it may copy of its arguments was charged."""
        for item in arguments:
            if type(item) in _SIZED and len(item) > _FEW:
                charge(made=len(item) * _SIZED[type(item)])
        return self.make(*arguments)


@dataclass(eq=False, slots=True)
class Placeholder:
    """An object of a class that was not imported: its address, arguments, state, items; compared by identity."""

    address: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PickledBytes:
    """Bytes that a pickle holds, by where they lie in it."""

    begin: int
    length: int


class Data(Protocol):
    """What a pickle is read from: bytes, or what reads a file piece by piece."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Unpickled:
    """What a pickle holds, the names in it that were not imported, and where it ends (in bytes)."""

    value: Any
    foreign: tuple[str, ...]
    end: int


class Ended(Exception):  # noqa: N818 - no error yet: more data may follow
    """The data ends before the pickle does: it asks for `lacking` bytes more, at the least."""

    def __init__(self, message: str, lacking: int) -> None:
        super().__init__(message)
        self.lacking = lacking


_MARK = object()  # separates the stack


def unpickle(data: bytes, known: Mapping[str, Any], persistent: Callable[[Any], Any], where: str) -> Unpickled:
    """Run a pickle as data.

    `known` maps "module.name" to a `Known` or to a plain value; `persistent` turns persistent ids into objects of ours.
    `where` begins every message.  Raises `Corrupt` for what is no pickle and `Unsafe` for opcodes that only
    code-carrying pickles use.

    >>> import io, pickle
    >>> unpickle(pickle.dumps({"a": [1, 2.5, None]}, 2), {}, lambda key: key, "x").value
    {'a': [1, 2.5, None]}
    >>> class Trap:
    ...     def __reduce__(self):
    ...         return print, ("never printed",)
    >>> unpickle(pickle.dumps(Trap()), {}, lambda key: key, "x").foreign
    ('builtins.print',)
    """
    try:
        return unpickle_start(data, known, persistent, where)
    except Ended as error:
        raise Corrupt(str(error)) from error


def unpickle_start(data: Data, known: Mapping[str, Any], persistent: Callable[[Any], Any], where: str) -> Unpickled:
    """Run the pickle with which the data begins, as `unpickle` does, but raise `Ended` where the data is too short."""
    return _ran(_Machine(data, known, persistent), where)


def unpickle_in_place(data: Data, known: Mapping[str, Any], where: str) -> Unpickled:
    r"""Run a pickle as `unpickle_start` does, its bytes left in place as `PickledBytes`; refuse persistent ids.

    >>> unpickle_in_place(b"]C\x03abca.", {}, "x").value
    [PickledBytes(begin=3, length=3)]
    """
    return _ran(_InPlace(data, known, _no_id), where)


def _no_id(_: Any) -> Any:
    raise Corrupt("the pickle names an object that lies outside of it")


def _ran(machine: "_Machine", where: str) -> Unpickled:
    try:
        value = machine.run()
    except Ended as error:
        raise Ended(f"{where}: the pickle {error}", error.lacking) from None
    except TooCostly:
        raise
    except CheckpointError as error:
        raise type(error)(f"{where}: {error}") from error
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error, OverflowError) as error:
        what = f"not a sound pickle, at its byte {machine.at:,}"
        raise Corrupt(f"{where}: {what}: {type(error).__name__}: {error}") from error
    return Unpickled(value, tuple(machine.foreign), machine.at)


class _Machine:
    def __init__(self, data: Data, known: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.data = data
        self.at = 0
        self.known = known
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.foreign: dict[str, None] = {}

    def run(self) -> Any:
        data, stack = self.data, self.stack
        while True:
            charge(made=_STEPS * _STEP)
            for _ in range(_STEPS):
                try:
                    code = data[self.at]
                except IndexError:
                    raise Ended(f"has no end within {len(data):,} bytes", 1) from None
                self.at += 1
                if code == _STOP:
                    return stack.pop()
                step = _OPCODES.get(code)
                if step is None:
                    used = f"opcode 0x{code:02x} at byte {self.at - 1:,}"
                    raise Unsafe(f"the pickle uses {used}, which plain data does not need")
                step(self)

    def take(self, length: int) -> bytes:
        left = len(self.data) - self.at
        if length > left:
            raise Ended(f"declares {length:,} bytes at its byte {self.at:,}, {left:,} are left", length - left)
        if length > _LONG:
            charge(made=length)
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def counted(self, width: int) -> bytes:
        return self.take(self.number(width))

    def text(self, length: int, codec: str, errors: str = "strict") -> str:
        made = self.take(length).decode(codec, errors)
        if length > _LONG:
            charge(made=sys.getsizeof(made))
        return made

    def blob(self, length: int) -> Any:
        return self.take(length)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Ended(f"has a line without an end at its byte {self.at:,}", 1)
        return self.take(end + 1 - self.at)[:-1]

    def marked(self) -> list[Any]:
        stack = self.stack
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError("no mark on the stack")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def named(self, module: str, name: str) -> Any:
        if len(module) + len(name) > _NAME_LIMIT:
            raise Corrupt(f"the pickle names a class by {len(module) + len(name):,} characters")
        address = f"{module}.{name}"
        if address in self.known:
            return self.known[address]
        if len(self.foreign) < _FOREIGN_LIMIT:
            # The list is printed: a name must not steer the terminal.
            self.foreign["".join(sign if sign.isprintable() else "?" for sign in address[:200])] = None
        charge(made=_OBJECT)
        return Placeholder(address)

    def make(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple):
            raise TypeError("arguments are not a tuple")
        if isinstance(function, Known):
            return function.call(arguments)
        charge(made=_OBJECT)
        address = function.address if isinstance(function, Placeholder) else type(function).__name__
        return Placeholder(address, arguments)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("too few values on the stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items


class _InPlace(_Machine):
    def blob(self, length: int) -> PickledBytes:
        left = len(self.data) - self.at
        if length > left:
            raise Ended(f"declares {length:,} bytes at its byte {self.at:,}, {left:,} are left", length - left)
        self.at += length
        return PickledBytes(self.at - length, length)


def _outside(_: _Machine) -> Any:
    raise Unsupported("its arrays lie outside of the pickle (out-of-band buffers); pickle it without buffer_callback")


def is_key(value: Any) -> bool:
    """Return whether a value hashes at once: nested tuples would hash for ever or overflow, and long integers slowly.

    >>> is_key("w"), is_key(10**5000), is_key(("a", "b"))
    (True, False, False)
    """
    if isinstance(value, str | bytes):
        if len(value) > _LONG:
            charge(made=len(value))  # to be compared with another as long
        return True
    if isinstance(value, int):
        return value.bit_length() <= _LONG
    return value is None or isinstance(value, float)


def _key(value: Any) -> Any:
    if (type(value) is str and len(value) <= _LONG) or is_key(value):
        return value
    charge(made=_OBJECT)
    return Placeholder("key", (value,))


def _pairs(flat: list[Any], target: Any) -> Any:
    if len(flat) % 2:
        raise ValueError("a key without a value")
    mapping = target.items if isinstance(target, Placeholder) else target
    if isinstance(mapping, dict):
        mapping.update((_key(key), value) for key, value in zip(flat[::2], flat[1::2], strict=True))
    elif mapping is not None:
        raise TypeError("items set on something that is no mapping")
    return target


def _extend(items: list[Any], target: Any) -> None:
    values = target.entries if isinstance(target, Placeholder) else target
    if not isinstance(values, list):
        raise TypeError("entries added to something that is no list")
    values.extend(items)


def _newobj_ex(machine: _Machine) -> Placeholder:
    made, arguments, keywords = machine.popped(3)
    charge(made=_OBJECT)
    return Placeholder(getattr(made, "address", "?"), (arguments, keywords))


def _build(machine: _Machine) -> None:
    state = machine.stack.pop()
    if isinstance(machine.stack[-1], Placeholder):
        machine.stack[-1].state = state


def _obj(machine: _Machine) -> Any:
    function, *arguments = machine.marked()
    return machine.make(function, tuple(arguments))


def _stack_global(machine: _Machine) -> Any:
    module, name = machine.popped(2)
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("a name that is not text")
    return machine.named(module, name)


def _integer(raw: bytes) -> int:
    return raw == b"01" if raw in (b"00", b"01") else int(raw)


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


_OPCODES: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME: a hint for streams
    ord("("): _push(lambda _: _MARK),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.marked(),
    ord("2"): _push(lambda m: m.stack[-1]),
    ord("N"): _push(lambda _: None),
    0x88: _push(lambda _: True),
    0x89: _push(lambda _: False),
    ord("I"): _push(lambda m: _integer(m.line())),
    ord("L"): _push(lambda m: int(m.line().rstrip(b"L"))),
    ord("J"): _push(lambda m: int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): _push(lambda m: m.number(1)),
    ord("M"): _push(lambda m: m.number(2)),
    0x8A: _push(lambda m: int.from_bytes(m.counted(1), "little", signed=True)),
    0x8B: _push(lambda m: int.from_bytes(m.counted(4), "little", signed=True)),
    ord("F"): _push(lambda m: float(m.line())),
    ord("G"): _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    ord("S"): _push(lambda m: m.line()[1:-1].decode("latin-1")),
    ord("T"): _push(lambda m: m.text(m.number(4), "latin-1")),
    ord("U"): _push(lambda m: m.text(m.number(1), "latin-1")),
    ord("V"): _push(lambda m: m.line().decode("raw_unicode_escape")),
    ord("X"): _push(lambda m: m.text(m.number(4), "utf-8", "surrogatepass")),
    0x8C: _push(lambda m: m.text(m.number(1), "utf-8", "surrogatepass")),
    0x8D: _push(lambda m: m.text(m.number(8), "utf-8", "surrogatepass")),
    ord("B"): _push(lambda m: m.blob(m.number(4))),
    ord("C"): _push(lambda m: m.blob(m.number(1))),
    0x8E: _push(lambda m: m.blob(m.number(8))),
    0x96: _push(lambda m: m.blob(m.number(8))),
    0x97: _outside,  # NEXT_BUFFER
    0x98: _outside,  # READONLY_BUFFER
    ord(")"): _push(lambda _: ()),
    ord("t"): _push(lambda m: tuple(m.marked())),
    0x85: _push(lambda m: tuple(m.popped(1))),
    0x86: _push(lambda m: tuple(m.popped(2))),
    0x87: _push(lambda m: tuple(m.popped(3))),
    ord("]"): _push(lambda _: []),
    0x8F: _push(lambda _: []),  # EMPTY_SET: kept as a list, nothing is hashed
    0x91: _push(lambda m: m.marked()),  # FROZENSET
    ord("l"): _push(lambda m: m.marked()),
    ord("a"): lambda m: _extend(m.popped(1), m.stack[-1]),
    ord("e"): lambda m: _extend(m.marked(), m.stack[-1]),
    0x90: lambda m: _extend(m.marked(), m.stack[-1]),
    ord("}"): _push(lambda _: {}),
    ord("d"): _push(lambda m: _pairs(m.marked(), {})),
    ord("s"): lambda m: _pairs(m.popped(2), m.stack[-1]),
    ord("u"): lambda m: _pairs(m.marked(), m.stack[-1]),
    ord("c"): _push(lambda m: m.named(m.line().decode(), m.line().decode())),
    0x93: _push(_stack_global),
    ord("R"): _push(lambda m: m.make(*m.popped(2))),
    0x81: _push(lambda m: m.make(*m.popped(2))),  # NEWOBJ: class and arguments, as REDUCE has function and arguments
    0x92: _push(_newobj_ex),
    ord("o"): _push(_obj),
    ord("i"): _push(lambda m: m.make(m.named(m.line().decode(), m.line().decode()), tuple(m.marked()))),
    ord("b"): _build,
    ord("p"): lambda m: m.put(int(m.line())),
    ord("q"): lambda m: m.put(m.number(1)),
    ord("r"): lambda m: m.put(m.number(4)),
    0x94: lambda m: m.put(len(m.memo)),
    ord("g"): _push(lambda m: m.memo[int(m.line())]),
    ord("h"): _push(lambda m: m.memo[m.number(1)]),
    ord("j"): _push(lambda m: m.memo[m.number(4)]),
    ord("P"): _push(lambda m: m.persistent(m.line().decode("ascii"))),
    ord("Q"): _push(lambda m: m.persistent(m.stack.pop())),
}
