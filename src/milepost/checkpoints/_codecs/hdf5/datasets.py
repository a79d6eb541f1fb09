"""Datasets: shape, type and place of their values, checked before a byte of the values is read."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from milepost.checkpoints._codecs.hdf5 import headers, types
from milepost.checkpoints._codecs.hdf5.attributes import texts
from milepost.checkpoints._codecs.hdf5.blocks import Blocks
from milepost.checkpoints._codecs.hdf5.chunk_index import chunks
from milepost.checkpoints._codecs.hdf5.chunks import Chunked, misplaced
from milepost.checkpoints._codecs.hdf5.filters import KNOWN, SHUFFLE, Filter, pipeline
from milepost.checkpoints._codecs.hdf5.heaps import GlobalHeaps
from milepost.checkpoints._codecs.hdf5.layouts import BTREE1, Compact, Contiguous, InChunks, Layout, Virtual, layout
from milepost.checkpoints._codecs.hdf5.spaces import Space, space
from milepost.checkpoints._files.layout import affordable
from milepost.errors import Corrupt

_BFLOAT16 = "bfloat16"
_DTYPE = re.compile("dtype")


@dataclass(frozen=True, slots=True)
class Hdf5Dataset:
    """An array: at `offset` as it is, in `chunks`, or, where it is tiny, `compact` within the file's own structures.

    `address` is the place of its header, which no other object shares.  `why` is the reason where it cannot be read.
    `checked`: its values, and what says where they are and what they mean, all have checksums.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    address: int
    bfloat16: bool = False
    offset: int | None = None
    chunks: Chunked | None = None
    compact: bytes | None = None
    why: str = ""
    checked: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its values; 0 where they cannot be read."""
        return math.prod(self.shape) * self.dtype.itemsize if self.dtype is not None else 0


def is_dataset(header: headers.Header) -> bool:
    """Return whether an object that is no group is a dataset."""
    return header.holds(headers.SPACE) and header.holds(headers.TYPE)


def dataset(blocks: Blocks, heaps: GlobalHeaps, header: headers.Header, name: str) -> Hdf5Dataset:
    """Return a dataset; raise `Corrupt` where its values lie in other files, or cannot be where it says."""
    where = _layout(blocks, header, name)
    extent = space(blocks, _body(blocks, header, headers.SPACE))
    if extent.shape is None:
        return Hdf5Dataset(name, (), None, header.address, why="an empty dataspace")
    message = header.first(headers.TYPE)
    assert message is not None  # noqa: S101 - `is_dataset`
    kind = types.type_of(blocks, message)
    held = Hdf5Dataset(name, extent.shape, kind.dtype, header.address, kind.bfloat16)
    if kind.sort == types.OPAQUE and kind.size == 2 and _says_bfloat16(blocks, heaps, header):  # noqa: PLR2004 - its bytes
        held = replace(held, dtype=np.dtype("<u2"), bfloat16=True)
    if held.dtype is None:
        return replace(held, why=kind.why)
    if isinstance(where, Contiguous):
        return _contiguous(blocks, where, held)
    if isinstance(where, Compact):
        return _compact(blocks, where, held)
    assert isinstance(where, InChunks)  # noqa: S101 - virtual ones were refused
    return _chunked(blocks, where, header, held, extent)


def _body(blocks: Blocks, header: headers.Header, kind: int) -> bytes:
    message = header.first(kind)
    if message is None:
        raise blocks.fault(f"a dataset has no message of kind {kind}")
    return headers.body_of(blocks, kind, message.flags, message.body)


def _layout(blocks: Blocks, header: headers.Header, name: str) -> Layout:
    found = layout(blocks, _body(blocks, header, headers.LAYOUT))
    if isinstance(found, Virtual):
        what = f"{name!r} is a virtual dataset, made of other files; they were not opened"
        raise Corrupt(f"{blocks.path}: {what}")
    if header.holds(headers.EXTERNAL):
        what = f"{name!r} has external storage: its values would come from another file, which was not opened"
        raise Corrupt(f"{blocks.path}: {what}")
    return found


def _says_bfloat16(blocks: Blocks, heaps: GlobalHeaps, header: headers.Header) -> bool:
    return [found for _, found in texts(blocks, heaps, header, _DTYPE)] == [[_BFLOAT16]]


def _contiguous(blocks: Blocks, where: Contiguous, held: Hdf5Dataset) -> Hdf5Dataset:
    if held.nbytes == 0:
        return replace(held, offset=0)
    stored = 0 if where.address is None else held.nbytes if where.size is None else where.size
    if where.address is None or stored != held.nbytes:
        raise Corrupt(f"{blocks.path}: {held.path!r} declares {held.nbytes:,} bytes, {stored:,} are stored")
    if where.address + stored > blocks.size:
        end = f"byte {where.address + stored:,} of {blocks.size:,}"
        raise Corrupt(f"{blocks.path}: {held.path!r} should end at {end}")
    return replace(held, offset=where.address)


def _compact(blocks: Blocks, where: Compact, held: Hdf5Dataset) -> Hdf5Dataset:
    if len(where.data) != held.nbytes:
        what = f"declares {held.nbytes:,} bytes within its header, which holds {len(where.data):,}"
        raise Corrupt(f"{blocks.path}: {held.path!r} {what}")
    return replace(held, compact=where.data)


def _chunked(blocks: Blocks, where: InChunks, header: headers.Header, held: Hdf5Dataset, extent: Space) -> Hdf5Dataset:
    filters = pipeline(blocks, _body(blocks, header, headers.FILTERS)) if header.holds(headers.FILTERS) else ()
    odd = [str(one.code) for one in filters if one.code not in KNOWN]
    if odd or where.whole_edges:
        why = f"compressed by HDF5 filter {', '.join(odd)}: only deflate, shuffle and fletcher32 are read"
        return replace(held, why=why if odd else "in chunks of which those at the edge are not filtered", dtype=None)
    assert held.dtype is not None  # noqa: S101 - datasets without one are returned before
    chunk, itemsize = where.shape[:-1], held.dtype.itemsize
    if not affordable(math.prod(chunk) * itemsize, blocks.size):
        raise Corrupt(f"{blocks.path}: {held.path!r} has chunks of shape {chunk}: a bomb, not read")
    if held.nbytes == 0:
        return replace(held, offset=0)
    if len(chunk) != len(held.shape) or min(chunk) < 1:
        raise Corrupt(f"{blocks.path}: {held.path!r}: chunks of shape {chunk} cannot make up shape {held.shape}")
    if where.shape[-1] != itemsize or not _fit(filters, itemsize):
        raise blocks.fault(f"{held.path!r} has items of {itemsize} bytes, and chunks of items of another size")
    codes = tuple(one.code for one in filters)
    made = Chunked(held.shape, held.dtype, chunk, codes, tuple(chunks(blocks, where, extent, filtered=bool(filters))))
    fault = misplaced(made)
    if fault:
        raise Corrupt(f"{blocks.path}: {held.path!r}: {fault}")
    return replace(held, chunks=made, checked=header.checked and where.index != BTREE1 and made.checked)


def _fit(filters: tuple[Filter, ...], itemsize: int) -> bool:
    """Return whether what was shuffled were items of this many bytes."""
    return all(one.values[:1] == (itemsize,) for one in filters if one.code == SHUFFLE)
