"""From the datasets of an HDF5 file to the tensors of a table, and from a table's row back to its bytes."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from milepost.checkpoints._codecs import hdf5_chunks as chunks
from milepost.checkpoints._codecs.hdf5 import Hdf5Dataset, tree
from milepost.checkpoints._codecs.hdf5_file import Window
from milepost.checkpoints._files.bounded import identity_of, opened
from milepost.checkpoints._files.layout import missing, name_of, refused
from milepost.checkpoints.formats._keras.names import NamedDataset, as_step, counts_steps, named
from milepost.core.types import Extent, Identity, Tensor
from milepost.errors import Torn

ENCODING = "hdf5"
"""How a tensor is stored that is neither raw nor absent: in chunks, within a header, or in a packed archive."""


def tensors_of(window: Window, items: Sequence[NamedDataset]) -> list[Tensor]:
    """Return the rows of a table."""
    path = window.file.path
    made = []
    for item in items:
        held = item.dataset
        if held.dtype is None:
            made.append(Tensor(item.name, "void", held.shape, missing(held.why, path), item.role, item.group))
            continue
        dtype = "bfloat16" if held.bfloat16 else name_of(held.dtype)
        if held.offset is not None and window.unpacked is None:
            where = Extent(path, window.begin + held.offset, held.nbytes)
        else:
            where = Extent(path, held.address, held.nbytes, ENCODING)
        made.append(Tensor(item.name, dtype, held.shape, where, item.role, item.group))
    return made


def step_of(window: Window, items: Sequence[NamedDataset]) -> tuple[int | None, str | None]:
    """Return the optimizer's count of steps and where it stands; None twice where there is none."""
    for item in items:
        if counts_steps(item):
            value = int(np.frombuffer(bytes_of(window, item.dataset), item.dataset.dtype)[0])
            where = "/".join(part for part in (item.group, item.name) if part)
            return as_step(value), f"content: {where}" if as_step(value) is not None else None
    return None, None


def bytes_of(window: Window, held: Hdf5Dataset) -> bytes:
    """Return the values of a dataset in C order."""
    what = f"{window.file.path}: {held.path!r}"
    if held.compact is not None:
        return held.compact
    if held.chunks is not None:
        return chunks.assemble(held.chunks, window.at, what)
    return window.at(held.offset or 0, held.nbytes, what)


def read_items(window: Window) -> list[NamedDataset]:
    """Return the datasets of a file by name, checked."""
    return named(tree(window), window.file.path)


def fetched(tensor: Tensor, frame: Callable[..., Window]) -> bytes:
    """Return the bytes of a tensor of encoding `ENCODING`; `frame` gives the window on its file."""
    if tensor.where.encoding != ENCODING:
        raise refused(tensor)
    path = tensor.where.file
    with opened(path) as file:
        window = frame(file)
        held = _by_address(path, identity_of(path), window.begin, frame).get(tensor.where.offset)
        if held is None:
            raise Torn(f"{path}: changed while it was read: tensor {tensor.name!r} is no longer at its place")
        return bytes_of(window, held)


@lru_cache(maxsize=2)
def _by_address(path: str, identity: Identity, begin: int, frame: Callable[..., Window]) -> dict[int, Hdf5Dataset]:  # noqa: ARG001 - identity and begin are part of the cache's key
    with opened(path) as file:
        return {held.address: held for held in tree(frame(file)).datasets.values()}
