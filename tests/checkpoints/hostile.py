"""Damaged and hostile files in any number, for the test and for benchmarks/hostile.py; every one is to be a failed row.

Forty are those of tests/sixty; the rest are made from whole files of every format: HDF5 that would read other files or
declares too much, cut off, flipped where a checksum watches, headers that declare too much, pickles that would call,
links that lead out, names that leave the archive.
"""

import itertools
import json
import os
import pickle
import posix
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save as safe
from tests.checkpoints import _tf_writer as tf
from tests.checkpoints import hdf5_files
from tests.sixty import bad
from tests.sixty.pieces import Part, archive, arrays_of, flipped, npy, npz, saved, weights_of, write

Make = bytes | Callable[[Path], object]

WHOLE: dict[str, bytes] = {
    "zip.pt": saved(weights_of(1)),
    "legacy.pth": saved(weights_of(1), _use_new_zipfile_serialization=False),
    "a.safetensors": safe(weights_of(1)),
    "a.npz": npz(arrays_of(1)),
    "packed.npz": npz(arrays_of(1), packed=True),
    "a.weights.h5": hdf5_files.made(hdf5_files.layers({f"{name}/0": array for name, array in arrays_of(1).items()})),
    "a.keras": hdf5_files.zipped(hdf5_files.made(hdf5_files.layers({"dense/0": arrays_of(1)["fc1.weight"]}))),
    "saver1.ckpt": tf.saver_v1(arrays_of(1)),
}
BESIDE = "weights"


class Call:
    """Pickles as a call of a function that would leave the marker."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        """Keep what would be called."""
        self.call = function, arguments

    def __reduce__(self) -> Any:
        """Ask for the call."""
        return self.call


def calls(marker: Path) -> list[Call]:
    """Return calls of what a payload is likely to call."""
    text = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return [
        Call(posix.system, f"touch {marker}"),
        Call(os.popen, f"touch {marker}"),
        Call(exec, text),
        Call(eval, text),
        Call(subprocess.check_output, ["touch", str(marker)]),
        Call(shutil.copy, "/etc/passwd", str(marker)),
        Call(Path.touch, marker),
        Call(open, str(marker), "w"),
    ]


def make(folder: Path, marker: Path, count: int) -> list[str]:
    """Write `count` bad files (at least fifty) into a folder, with what they link to beside it; return their names."""
    bad.make(folder, marker)
    outside = folder.parent / "outside"
    outside.mkdir()
    write(outside / BESIDE, WHOLE["zip.pt"])
    names = [one.file for one in bad.BAD]
    for number, (name, made) in enumerate(itertools.islice(_more(outside, marker), count - len(names))):
        path = folder / f"bad-{number:03}-{name}"
        if callable(made):
            made(path)
        else:
            write(path, made)
        names.append(path.name)
    assert len(names) == count
    return names


def _more(outside: Path, marker: Path) -> Iterator[tuple[str, Make]]:
    """Yield one of each sort in turn, without end."""
    yield from _hdf5(outside)
    sorts = [_links(outside), _pickles(marker), _cut(), _flipped(), _headers(), _names(), _bundles()]
    while True:
        for sort in sorts:
            yield next(sort)


def _hdf5(outside: Path) -> Iterator[tuple[str, Make]]:
    """Yield one of each kind; what leads out leads to a file that is there."""
    target = str(outside / BESIDE)
    for number, (name, fill) in enumerate(hdf5_files.HOSTILE.items()):
        leads_out = fill.__code__.co_argcount > 1
        content = hdf5_files.made(lambda file, fill=fill, leads_out=leads_out: fill(file, *[target] * leads_out))  # type: ignore[misc]
        yield (f"{name}.keras", hdf5_files.zipped(content)) if number % 3 == 2 else (f"{name}.weights.h5", content)


def _links(outside: Path) -> Iterator[tuple[str, Make]]:
    for number in itertools.count():
        target = (outside / BESIDE, Path("/etc/passwd"), outside, Path("../outside") / BESIDE)[number % 4]
        name = "checkpoints" if target == outside else "link.pt"
        yield name, lambda path, target=target: path.symlink_to(target)  # type: ignore[misc]


def _pickles(marker: Path) -> Iterator[tuple[str, Make]]:
    while True:
        for call in calls(marker):
            yield "whole.pt", saved(call)
            yield "whole.pth", saved(call, _use_new_zipfile_serialization=False)
            yield "needed.ckpt", saved({"state_dict": {**weights_of(1), "fc1.weight": call}})
            yield "bare.pkl", pickle.dumps({"coef": call})
            yield "objects.npz", npz({**arrays_of(1), "fc2.bias": _objects(call)})


def _objects(call: Call) -> Any:
    return np.array([call] * 10, dtype=object)


def _cut() -> Iterator[tuple[str, Make]]:
    for number in itertools.count():
        for name, whole in WHOLE.items():
            left = len(whole) * (1 + 37 * number % 97) // 98
            yield f"cut-{name}", whole[:left]


def _flipped() -> Iterator[tuple[str, Make]]:
    data = arrays_of(1)["fc1.weight"].tobytes()
    for number in itertools.count():
        for name in ("zip.pt", "a.npz", "saver1.ckpt", "a.keras"):
            place = WHOLE[name].index(data) + 997 * number % len(data)
            yield f"flipped-{name}", flipped(WHOLE[name], place)


def _headers() -> Iterator[tuple[str, Make]]:
    for number in itertools.count():
        size = 1 << (20 + number % 43)
        declared = {"fc1.weight": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}
        header = json.dumps(declared).encode()
        yield "declared.safetensors", struct.pack("<Q", len(header)) + header + bytes(64)
        yield "bomb.safetensors", struct.pack("<Q", 100_000_001 + size) + b"{}"
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size}, {1 + number}), }}"
        yield "declared.npz", archive([Part("fc1.weight.npy", _npy(shape))])
        strides = bad._tensor((2048,), (2 + number,))
        yield "strides.pt", bad._pickled(strides)


def _bundles() -> Iterator[tuple[str, Make]]:
    """Yield tensor bundles: an index, with one shard beside it."""
    for number in itertools.count():
        whole = tf.bundle("a", arrays_of(1))
        data, index = whole["a.data-00000-of-00001"], whole["a.index"]
        yield "cut.index", _bundle(index[: 10 + 31 * number % (len(index) - 10)], data)
        yield "short.index", _bundle(index, data[: 53 * number % len(data)])
        place = 97 * number % len(data)
        yield "flipped.index", _bundle(index, flipped(data, place))
        size = 1 << (20 + number % 40)
        for sort, shape, offset in (("shape", (size, 1 + number), 0), ("offset", (16,), size)):
            entry = tf.entry(1, shape, 0, offset, bytes(64))
            yield f"{sort}.index", _bundle(tf.table([(b"", tf.header()), (b"fc1.weight", entry)]), bytes(64))
        twice = [(name, tf.entry(1, (16,), 0, 4 * (number % 16), bytes(64))) for name in (b"a", b"b")]
        yield "shared.index", _bundle(tf.table([(b"", tf.header()), *twice]), bytes(128))
        yield "shards.index", _bundle(tf.table([(b"", tf.header(size)), *twice[:1]]), bytes(128))


def _bundle(index: bytes, data: bytes) -> Callable[[Path], object]:
    def put(path: Path) -> None:
        write(path, index)
        write(path.with_name(f"{path.stem}.data-00000-of-00001"), data)

    return put


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + bytes(64)


def _names() -> Iterator[tuple[str, Make]]:
    for number in itertools.count(1):
        parts = [Part(f"{'../' * number}etc/{name}.npy", npy(array)) for name, array in arrays_of(1).items()]
        yield "names.npz", archive(parts)
        yield "names.pt", _renamed(number)
        twice = [Part("w.npy", npy(arrays_of(1)["fc2.bias"]))] * (1 + number)
        yield "twice.npz", archive(twice)


def _renamed(number: int) -> bytes:
    made = WHOLE["zip.pt"]
    name = b"archive/data/0" if b"archive/data/0" in made else b"/data/0"
    return made.replace(name, (b"../" * (1 + number))[: len(name) - 1] + b"0")
