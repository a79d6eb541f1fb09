"""The contract of a checkpoint format, as laws that any format can be held to in a few lines.

A format's test gives a `FormatCase`: the format, a function that writes a small checkpoint of it, and hostile files
that only this format knows.  `check_format(case, folder)` runs every law; `LAWS` lists them for one test a law.  A
broken law raises `AssertionError`, and the message says what broke it.
"""

import os
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from milepost._internal.budget import spending
from milepost._internal.fileid import identity_of
from milepost.checkpoints._files.shards import bytes_in
from milepost.checkpoints.discovery import ListedFile, entry_of
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import materialise, read_table
from milepost.core.protocols import Format
from milepost.core.types import Array, CheckpointFiles, Table
from milepost.errors import CheckpointError, Corrupt, Torn

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (5,), (0, 3), (2, 3, 4))

_MEMORY = 64 << 20
_FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class"),
)


@dataclass(frozen=True, slots=True)
class FormatCase:
    """What the laws need to know of a format.

    `write(path, arrays)` writes a checkpoint that holds these arrays under these names.  `checksummed` promises that a
    flipped bit never gives other values silently.  `hostile` are whole files, or functions that write one (and others
    beside it), each to be refused with an error of the tree (or not claimed) within 64 MB of memory.  For a
    checkpoint of several files, `beside(name)` gives the names of the shards from that of the main file.
    """

    format: Format
    write: Callable[[Path, Mapping[str, Array]], object]
    suffix: str = ".ckpt"
    dtypes: tuple[str, ...] = DTYPES
    checksummed: bool = False
    hostile: tuple[bytes | Callable[[Path], object], ...] = ()
    beside: Callable[[str], Sequence[str]] = lambda _: ()


Rows = dict[str, tuple[str, tuple[int, ...], bytes]]


def check_format(case: FormatCase, folder: Path) -> None:
    """Run every law in a folder of its own below `folder`; raises `AssertionError` at the first that is broken."""
    for law in LAWS:
        place = folder / law.__name__
        place.mkdir(parents=True)
        law(case, place)


def examples(dtypes: Sequence[str] = DTYPES) -> dict[str, Array]:
    """Return arrays of every dtype and of odd shapes, laid out in C order, Fortran order, and as a view with gaps."""
    draw = np.random.default_rng(20)
    made: dict[str, Array] = {}
    for name in dtypes:
        for shape in SHAPES:
            values = draw.integers(0, 2 if name == "bool" else 100, shape)
            made[f"{name}.{'x'.join(map(str, shape)) or 'scalar'}"] = np.asarray(values).astype(np.dtype(name))
    block = draw.integers(0, 100, (6, 8)).astype(np.dtype(dtypes[0]))
    made["block.fortran"] = np.asfortranarray(block)
    made["block.transposed"] = block.T
    made["block.gaps"] = block[::2, 1::3]
    return made


def law_round_trip(case: FormatCase, folder: Path) -> None:
    """Hold that what was written comes back: names, dtypes, shapes, and every bit."""
    arrays = examples(case.dtypes)
    path = _written(case, folder, arrays)
    _same(_rows_of(arrays), _must_read(case, path), "round trip")


def law_content_decides(case: FormatCase, folder: Path) -> None:
    """Hold that content alone decides what is claimed, not the name; the first of several files keeps its ending."""
    arrays = examples(case.dtypes[:1])
    path = _written(case, folder, arrays)
    renamed = folder / f"notes{case.suffix if case.beside(path.name) else '.txt'}"
    for name, content in _files(case, path, renamed.name).items():
        (folder / name).write_bytes(content)
    _same(_rows_of(arrays), _must_read(case, renamed), "read under another name")
    noise = random.Random(3).randbytes(4096)  # noqa: S311 - a sample, not a secret
    others = (b"", b"hello, world\n" * 40, b"{}", bytes(4096), noise, b"PK\x03\x04", b"\x80\x02}.")
    for number, content in enumerate(others):
        other = folder / f"other{number}{case.suffix}"
        other.write_bytes(content)
        claimed = list(case.format.find([entry_of(str(other))]))
        assert not claimed, f"claims a file that begins with {content[:16]!r}"


def law_find_is_calm(case: FormatCase, folder: Path) -> None:
    """Hold that `find` raises nothing for odd entries, and gives the claimed file's own path and identity."""
    path = _written(case, folder, examples(case.dtypes[:1]))
    gone = ListedFile(str(folder / "gone"), is_dir=False)
    found = list(case.format.find([ListedFile(str(folder), is_dir=True), entry_of(str(path)), gone]))
    assert [one.path for one in found] == [str(path)], f"found {[one.path for one in found]}"
    assert found[0].format == case.format.name
    assert found[0].state == "complete"
    assert found[0].identity.size == path.stat().st_size
    assert str(path) in found[0].paths


def law_cut_files(case: FormatCase, folder: Path) -> None:
    """Hold that a file cut at any point is torn, corrupt or not claimed: never a table, never another exception."""
    path = folder / f"cut{case.suffix}"
    files = _files(case, _written(case, folder, examples(case.dtypes[:2])), path.name)
    draw = random.Random(7)  # noqa: S311 - a sample, not a secret
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name, whole in files.items():
        points = {*range(0, min(64, len(whole)), 3), *range(len(whole) - 40, len(whole))}
        points |= {draw.randrange(len(whole)) for _ in range(80)}
        for point in sorted(points):
            (folder / name).write_bytes(whole[:point])
            outcome = _outcome(case, path)
            fine = outcome is None or isinstance(outcome, Torn | Corrupt)
            assert fine, f"{name} cut after {point} of {len(whole)} bytes gave {_described(outcome)}"
        (folder / name).write_bytes(whole)


def law_flipped_bits(case: FormatCase, folder: Path) -> None:
    """Hold that a flipped bit gives an error of the tree or a sound table; with checksums, never other values."""
    arrays = examples(case.dtypes[:2])
    expected = _rows_of(arrays)
    path = folder / f"flipped{case.suffix}"
    written = _written(case, folder, arrays)
    found = _found(case, written)
    promised = found is not None and case.format.read(found).checksum
    assert promised == case.checksummed, f"its table says checksum={promised}, its case checksummed={case.checksummed}"
    files = _files(case, written, path.name)
    draw = random.Random(11)  # noqa: S311 - a sample, not a secret
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name, content in files.items():
        whole = bytearray(content)
        for _ in range(300 // len(files)):
            place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
            whole[place] ^= bit
            (folder / name).write_bytes(whole)
            whole[place] ^= bit
            outcome = _outcome(case, path)
            if isinstance(outcome, dict) and case.checksummed:
                _same(expected, outcome, f"bit {bit:#x} of byte {place} of {name} flipped")
        (folder / name).write_bytes(whole)


def law_hostile_files(case: FormatCase, folder: Path) -> None:
    """Hold that hostile files are refused, within 64 MB, and that nothing of them is run."""
    _must_read(case, _written(case, folder, examples(case.dtypes[:1])))  # whatever is imported lazily is imported now
    for number, made in enumerate(case.hostile):
        path = folder / f"hostile{number}{case.suffix}"
        if callable(made):
            made(path)
        else:
            path.write_bytes(made)
        size = sum(len(content) for content in _files(case, path, path.name).values())
        tracemalloc.start()
        try:
            with _nothing_runs():
                outcome = _outcome(case, path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert not isinstance(outcome, dict), f"hostile file {number} was read as {_described(outcome)}"
        assert peak < _MEMORY + 4 * size, f"hostile file {number} took {peak:,} bytes of memory"


def law_reading_changes_nothing(case: FormatCase, folder: Path) -> None:
    """Hold that the file and its folder stay as they were, and that reading twice gives the same table."""
    path = _written(case, folder, examples(case.dtypes[:1]))
    path.chmod(0o400)
    before = identity_of(str(path)), _files(case, path, path.name), sorted(os.listdir(folder))
    first, second = _table(case, path), _table(case, path)
    assert first == second, "two readings differ"
    after = identity_of(str(path)), _files(case, path, path.name), sorted(os.listdir(folder))
    assert before == after, "reading changed the file or its folder"


Law = Callable[[FormatCase, Path], None]
LAWS: tuple[Law, ...] = tuple(item for name, item in globals().items() if name.startswith("law_"))
"""Every law, each `law(case, folder)` with an empty folder of its own."""


def _written(case: FormatCase, folder: Path, arrays: Mapping[str, Array]) -> Path:
    path = folder / f"example{case.suffix}"
    case.write(path, arrays)
    return path


def _files(case: FormatCase, path: Path, name: str) -> dict[str, bytes]:
    """Return the files of a checkpoint, by what they are called where the first is called `name`."""
    names = zip((path.name, *case.beside(path.name)), (name, *case.beside(name)), strict=True)
    return {new: path.with_name(old).read_bytes() for old, new in names if path.with_name(old).exists()}


def _found(case: FormatCase, path: Path) -> CheckpointFiles | None:
    return next(iter(case.format.find([entry_of(str(path))])), None)


def _table(case: FormatCase, path: Path) -> Table:
    found = _found(case, path)
    assert found is not None, f"{path.name} is not claimed"
    return read_table(case.format, found)


def _must_read(case: FormatCase, path: Path) -> Rows:
    outcome = _outcome(case, path)
    assert isinstance(outcome, dict), f"{path.name} gave {_described(outcome)}"
    return outcome


def _outcome(case: FormatCase, path: Path) -> Rows | CheckpointError | None:
    """Find, read, unpack and map a file: its rows, the error of the tree, or None where it is not claimed."""
    found = _found(case, path)
    if found is None:
        return None
    try:
        with spending(str(path), bytes_in(found)):
            table = materialise(case.format, read_table(case.format, found), str(path.parent))
        return {
            "/".join(filter(None, (one.group, one.name))): (one.dtype, one.shape, map_tensor(one).tobytes())
            for one in table.tensors
        }
    except CheckpointError as error:
        return error
    except Exception as error:
        raise AssertionError(f"{path.name}: {type(error).__name__} is no error of the tree: {error}") from error
    finally:
        for spooled in path.parent.glob("tensors-*.raw"):
            spooled.unlink()


def _rows_of(arrays: Mapping[str, Array]) -> Rows:
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


def _same(expected: Rows, found: Rows, what: str) -> None:
    assert sorted(found) == sorted(expected), f"{what}: tensors {sorted(found)} instead of {sorted(expected)}"
    for name, row in expected.items():
        assert found[name][:2] == row[:2], f"{what}: {name} is {found[name][:2]} instead of {row[:2]}"
        assert found[name][2] == row[2], f"{what}: {name} has other values"


def _described(outcome: object) -> str:
    if isinstance(outcome, dict):
        return f"a table of {len(outcome)} tensors"
    return "nothing claimed" if outcome is None else f"{type(outcome).__name__}: {outcome}"


@cache
def _collected() -> list[list[str]]:
    """Install an audit hook, which Python cannot remove, and return the lists to the last of which it adds events."""
    lists: list[list[str]] = []

    def note(event: str, _: tuple[Any, ...]) -> None:
        if lists and event.startswith(_FORBIDDEN):
            lists[-1].append(event)

    sys.addaudithook(note)
    return lists


@contextmanager
def _nothing_runs() -> Iterator[None]:
    lists = _collected()
    lists.append([])
    try:
        yield
        assert not lists[-1], f"reading ran something: {lists[-1]}"
    finally:
        lists.pop()
