"""The superblock: whether an HDF5 file is whole, how wide its addresses are, and where its root group lies.

HDF5 File Format Specification, version 3.0, section II.A.  While a file is open for writing, the library keeps bit 0 of
its consistency flags set, and updates the end in the superblock last.
"""

from milepost._internal.bounded import AGAIN, CUT, OpenFile
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.window import MAGIC, Window, whole
from milepost.errors import Corrupt, Torn, Unsupported

_OPEN_FOR_WRITING = 1
_OLD, _NEW = (0, 1), (2, 3)
_LEAST = 48
"""Bytes of the shortest superblock."""


def check_whole(file: OpenFile) -> None:
    """Check the superblock of a file that is HDF5 as a whole."""
    check_superblock(whole(file))


def check_superblock(window: Window) -> tuple[int, int]:
    """Return how many bytes addresses and lengths take.

    Raises `Torn` where the file is open for writing or has not the length that it declares, `Corrupt` where it is odd.
    """
    path = window.file.path
    if window.size < _LEAST:
        raise Torn(f"{path}: {CUT}: {window.size} bytes, with which an HDF5 file begins{AGAIN}")
    head = window.at(0, min(window.size, 112), "the superblock")
    version = head[8]
    if not head.startswith(MAGIC) or version not in (*_OLD, *_NEW):
        raise Corrupt(f"{path}: damaged: its HDF5 superblock has version {version}, known are 0 to 3")
    if version in _OLD:
        width, lengths, flags = head[13], head[14], head[20]
        place = 24 + 4 * version  # of the base address, then that of free space, then the end
    else:
        width, lengths, flags = head[9], head[10], head[11]
        place = 12  # of the base address, then that of an extension, then the end
    if width not in (4, 8) or lengths not in (4, 8):
        raise Corrupt(f"{path}: damaged: its HDF5 superblock has addresses of {width} bytes, expected 4 or 8")
    base = int.from_bytes(head[place : place + width], "little")
    end = int.from_bytes(head[place + 2 * width : place + 3 * width], "little")
    if flags & _OPEN_FOR_WRITING:
        raise Torn(f"{path}: {CUT}: its HDF5 superblock says that it is open for writing{AGAIN}")
    if base:
        raise Unsupported(f"{path}: an HDF5 file with a user block of {base:,} bytes; save it without")
    if end != window.size:
        what = f"{end - window.size:,} missing" if end > window.size else f"{window.size - end:,} too many"
        has = f"it has {window.size:,} of {end:,} bytes"
        raise Torn(f"{path}: {CUT}: {has} that its HDF5 superblock declares, {what}{AGAIN}")
    return width, lengths


def root_of(window: Window) -> tuple[Blocks, int]:
    """Return a whole file's blocks and the address of its root group's header; errors as of `check_superblock`."""
    blocks = Blocks(window, *check_superblock(window))
    fields = Fields(blocks, "the superblock", 0)
    version = fields.take(9)[8]
    if version in _OLD:
        fields.take(15 + 4 * version)
        fields.unpack("4al")  # base, free space, end, driver; then where the root's name lies
        root = fields.address()
    else:
        fields.take(3)
        fields.unpack("3a")
        root = fields.address()
        fields.checksum()
    if root is None:
        raise blocks.fault("its superblock names no root group")
    return blocks, root
