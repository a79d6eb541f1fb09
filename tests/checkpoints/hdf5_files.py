"""HDF5 and Keras files, whole and hostile, made with h5py for the tests and for tests/checkpoints/hostile.py."""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from milepost.checkpoints.discovery import find
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import materialise, read_table
from milepost.core.protocols import Format
from milepost.core.types import Array, Table

Fill = Callable[[h5py.File], object]


def made(fill: Fill, **options: Any) -> bytes:
    """Return an HDF5 file that a function filled."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return stream.getvalue()


def plain(path: Path, arrays: Mapping[str, Array], **how: Any) -> None:
    """Write arrays by name."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            fit = how if array.ndim and array.size else {}
            file.create_dataset(name, data=array, **fit)


def archive(path: Path, arrays: Mapping[str, Array], method: int = zipfile.ZIP_STORED, config: str = "{}") -> None:
    """Write a `.keras` that holds arrays by name."""

    def fill(file: h5py.File) -> None:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)

    path.write_bytes(zipped(made(fill), method, config))


def zipped(
    weights: bytes, method: int = zipfile.ZIP_STORED, config: str = "{}", name: str = "model.weights.h5"
) -> bytes:
    """Return a `.keras` around the bytes of its weights."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for entry, content in (("metadata.json", b"{}"), ("config.json", config.encode()), (name, weights)):
            file.writestr(zipfile.ZipInfo(entry), content, method)
    return stream.getvalue()


def layers(arrays: Mapping[str, Array]) -> Fill:
    """Return what fills a file of Keras 3 with `layer/number` arrays."""

    def fill(file: h5py.File) -> None:
        for name, array in arrays.items():
            layer, _, number = name.partition("/")
            file.require_group(f"layers/{layer}/vars").create_dataset(number, data=array)

    return fill


def external(file: h5py.File, target: str = "/etc/passwd") -> None:
    """Add a dataset whose values lie in another file."""
    file.create_dataset("layers/dense/vars/0", (8,), "u1", external=[(target, 0, 8)])


def virtual(file: h5py.File, target: str = "/etc/passwd") -> None:
    """Add a dataset that is made of another file's."""
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(target, "x", (4,))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def unlimited(file: h5py.File, target: str = "/etc/passwd") -> None:
    """Add a virtual dataset without a size: asking for its shape opens its source."""
    layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
    source = h5py.VirtualSource(target, "x", (4,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def soft(file: h5py.File) -> None:
    """Add a soft link, and what it leads to."""
    file["layers/dense/vars/1"] = np.ones(3, "f4")
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def leading_out(file: h5py.File, target: str = "/etc/passwd") -> None:
    """Add an external link."""
    file["layers/dense/vars/0"] = h5py.ExternalLink(target, "/x")


def circle(file: h5py.File) -> None:
    """Add a group that holds itself."""
    group = file.create_group("layers/dense")
    group["vars"] = group


def twice(file: h5py.File) -> None:
    """Add one dataset under two names."""
    file["layers/dense/vars/0"] = np.ones(3, "f4")
    file["layers/dense/vars/1"] = file["layers/dense/vars/0"]


def petabyte(file: h5py.File) -> None:
    """Declare a petabyte, and store nothing of it."""
    file.create_dataset("layers/dense/vars/0", (1 << 47,), "f8")


def petabyte_in_chunks(file: h5py.File) -> None:
    """Declare a petabyte in chunks, and store one of them."""
    data = file.create_dataset("layers/dense/vars/0", (1 << 47,), "f8", chunks=(64,), compression="gzip")
    data[:64] = 1.0


def bomb(file: h5py.File) -> None:
    """Store 512 MB of zeros in half a megabyte."""
    size = 1 << 16
    data = file.create_dataset("layers/dense/vars/0", (1 << 26,), "f8", chunks=(1 << 20,), compression="gzip")
    data.id.write_direct_chunk((0,), b"x" * size)
    for place in range(1, 64):
        data.id.write_direct_chunk((place << 20,), b"x")


def wide_chunk(file: h5py.File) -> None:
    """Give a small dataset chunks that are huge."""
    options = {"chunks": (1 << 28,), "maxshape": (None,), "compression": "gzip"}
    file.create_dataset("layers/dense/vars/0", (4,), "f8", **options).id.write_direct_chunk((0,), b"x")


def misdeclared(file: h5py.File) -> None:
    """Store a chunk that unpacks to more than it may."""
    data = file.create_dataset("layers/dense/vars/0", (8,), "f4", chunks=(8,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24)))


def deep(file: h5py.File) -> None:
    """Nest groups."""
    file["/".join("a" for _ in range(90))] = np.ones(1, "f4")


def typed(file: h5py.File) -> None:
    """Add a named type among the groups."""
    file["layers/dense/vars/0"] = np.ones(1, "f4")
    file["layers/type"] = np.dtype("f8")


HOSTILE: dict[str, Fill] = {
    item.__name__: item
    for item in (
        external, virtual, unlimited, soft, leading_out, circle, twice, petabyte, petabyte_in_chunks, bomb, wide_chunk,
        misdeclared, deep, typed,
    )
}  # fmt: skip
"""What makes a file that is to be refused."""


def table_of(form: Format, path: Path) -> Table:
    """Find and read a whole checkpoint of a format."""
    found = find([str(path)])[0]
    assert found.format == form.name, found
    assert found.state == "complete"
    return read_table(form, found)


def arrays_of(form: Format, path: Path, role: str = "weights") -> dict[str, Array]:
    """Return its arrays of a role by name."""
    table = materialise(form, table_of(form, path), str(path.parent))
    return {item.name: map_tensor(item) for item in table.tensors if item.role == role}
