"""Dataspaces: the shape of a dataset or attribute.

HDF5 File Format Specification, version 3.0, section IV.A.2.b.
"""

from dataclasses import dataclass

from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

MOST_AXES = 32
_NULL = 2


@dataclass(frozen=True, slots=True)
class Space:
    """A shape, None for a null dataspace, and how large each axis may grow, None for endless."""

    shape: tuple[int, ...] | None
    largest: tuple[int | None, ...] = ()


def space(blocks: Blocks, body: bytes) -> Space:
    """Return the dataspace that a message holds."""
    fields = Fields(blocks, "a dataspace", data=body)
    version, rank, flags, sort = fields.unpack("BBBB")
    if version not in (1, 2) or rank > MOST_AXES:
        raise blocks.fault(f"a dataspace has version {version} and {rank} axes")
    if version == 1:
        fields.take(4)
    elif sort == _NULL:
        return Space(None)
    shape = fields.unpack(f"{rank}l")
    if not flags & 1:
        return Space(shape, shape)
    endless = (1 << 8 * blocks.length_width) - 1
    largest = tuple(None if size == endless else size for size in fields.unpack(f"{rank}l"))
    if any(most is not None and most < size for most, size in zip(largest, shape, strict=True)):
        raise blocks.fault(f"a dataspace of shape {shape} is at most {largest}")
    return Space(shape, largest)
