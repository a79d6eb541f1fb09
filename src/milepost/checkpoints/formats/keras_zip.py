"""Keras' `.keras`: a zip of metadata.json, config.json and model.weights.h5, which is mapped where it is stored.

The architecture in config.json is never built, and code in it never run: the model comes from the evaluation file.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from milepost.checkpoints._codecs.hdf5_file import Window
from milepost.checkpoints._codecs.zip import (
    DEFLATED,
    MAGIC,
    STORED,
    ZipEntry,
    first_name,
    members,
    names,
    peek,
    unpack,
    verify,
)
from milepost.checkpoints._files.bounded import OpenFile, identity_of, opened
from milepost.checkpoints._files.layout import affordable, unread
from milepost.checkpoints.formats._keras.table import fetched, read_items, step_of, tensors_of
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Identity, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn, Unsupported

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_OURS = frozenset({"metadata.json", _CONFIG, _WEIGHTS})
_CONFIG_LOOK = 1 << 20
_CODE = (b'"Lambda"', b"__lambda__")


class KerasZip:
    """Reads `.keras` archives; needs h5py, but for finding them.

    >>> KerasZip().name
    'keras_zip'
    """

    name = "keras_zip"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim zips that hold Keras' files, by the first entry where the directory is absent."""
        for entry in entries:
            first = first_name(entry.head) if not entry.is_dir else None
            if first is not None and entry.head.startswith(MAGIC):
                state = _state(entry.path, first)
                if state:
                    yield CheckpointFiles(entry.path, self.name, (entry.path,), identity_of(entry.path), state)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table of the weights within, after comparing their CRC-32; errors as for `.weights.h5`."""
        with opened(files.path) as file:
            entries = members(file)
            window = _window(file)
            if window.unpacked is None:
                verify(file, entries[_WEIGHTS])
            items = read_items(window)
            step, source = step_of(window, items)
            tensors = tensors_of(window, items)
            notes = tuple(_notes(file, entries))
        return Table(self.name, tuple(tensors), step, source, notes=(*notes, *unread(tensors)))

    def fetch(self, tensor: Tensor) -> bytes:
        """Return the bytes of an array that is not stored as it is."""
        return fetched(tensor, _window)


def _state(path: str, first: str) -> Literal["complete", "writing"] | None:
    try:
        with opened(path) as file:
            listed = names(file)
    except Torn:
        return "writing" if first in _OURS else None
    except CheckpointError:
        return "complete" if first in _OURS else None
    return "complete" if _WEIGHTS in listed or {"metadata.json", _CONFIG} <= set(listed) else None


def _window(file: OpenFile) -> Window:
    item = members(file).get(_WEIGHTS)
    if item is None:
        raise Unsupported(
            f"{file.path}: a Keras archive without {_WEIGHTS}; save it with weights in HDF5, as Keras does"
        )
    if item.method == STORED:
        return Window(file, item.offset, item.size)
    if item.method != DEFLATED:
        raise Unsupported(
            f"{file.path}: entry {item.name!r} is compressed by method {item.method}: only deflate is read"
        )
    if not affordable(item.size, file.size):
        raise Corrupt(f"{file.path}: {file.size:,} bytes would unpack to {item.size:,}: a zip bomb, not read")
    return Window(file, 0, item.size, _unpacked(file.path, identity_of(file.path)))


@lru_cache(maxsize=1)
def _unpacked(path: str, identity: Identity) -> bytes:  # noqa: ARG001 - part of the cache's key
    with opened(path) as file:
        return unpack(file, members(file)[_WEIGHTS])


def _notes(file: OpenFile, entries: dict[str, ZipEntry]) -> Iterator[str]:
    yield f"weights only: the architecture in {_CONFIG} is not built"
    item = entries.get(_CONFIG)
    if item is not None and item.method in (STORED, DEFLATED):
        found = peek(file, item, _CONFIG_LOOK)
        if any(mark in found for mark in _CODE):
            yield f"{_CONFIG} names Lambda layers, which may hold code: none of it was run"
