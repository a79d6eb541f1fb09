"""Keras' HDF5 files: `.weights.h5` of Keras 3, whole models and weights in the older `.h5`, and HDF5 of any other kind.

Arrays are mapped where they lie; those in chunks are unpacked on request.  The model's config, and code that it may
hold, is never read.
"""

import os
from collections.abc import Iterator, Sequence

from milepost._internal.bounded import opened
from milepost.checkpoints._codecs.hdf5.superblock import check_whole
from milepost.checkpoints._codecs.hdf5.window import MAGIC, whole
from milepost.checkpoints.formats._claims import claim
from milepost.checkpoints.formats._keras.table import fetched, table_of
from milepost.checkpoints.names import keras_index
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Table, Tensor


class KerasH5:
    """Reads HDF5 files, without h5py."""

    name = "keras_h5"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim HDF5 files by their first bytes, but for the shards of an index that lies beside them."""
        for entry in entries:
            if entry.head.startswith(MAGIC) and not _is_shard(entry.path):
                yield claim(self.name, entry.path, check_whole)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table: `layers/dense/vars/0` for files of Keras 3, `dense/kernel` for older ones, else paths.

        Raises `Torn` where the file is open for writing or short, `Corrupt` where it is damaged, declares more than it
        holds or leads to other files, and `Unsupported` where it uses what Keras and h5py do not.
        """
        with opened(files.path) as file:
            return table_of(self.name, whole(file))

    def fetch(self, tensor: Tensor) -> bytes | memoryview:
        """Return the bytes of an array that lies in chunks or within a header."""
        return fetched(tensor, whole)


def _is_shard(path: str) -> bool:
    index = keras_index(os.path.basename(path))
    return index is not None and os.path.isfile(os.path.join(os.path.dirname(path), index))
