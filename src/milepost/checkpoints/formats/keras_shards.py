"""Keras' sharded weights (3.12 and later): NAME.weights.json maps variables to NAME_0000n.weights.h5 beside it.

Keras writes the index again whenever it closes a shard, so the index alone does not show that the last one is written:
a newer shard that it does not list yet shows that saving goes on.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT, opened
from milepost._internal.fileid import identity_of
from milepost.checkpoints._codecs.hdf5.superblock import check_whole
from milepost.checkpoints._codecs.hdf5.window import whole
from milepost.checkpoints.formats._claims import is_whole
from milepost.checkpoints.formats._keras.table import fetched, table_of
from milepost.checkpoints.formats._weight_map import MOST_SHARDS, weight_map
from milepost.checkpoints.names import keras_index
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn, Vanished

_MARKS = (
    re.compile(rb'\A\s*\{\s*"(?:metadata|weight_map)"'),
    re.compile(rb'"weight_map"\s*:\s*\{'),
    re.compile(rb'_\d{5}\.weights\.h5"'),
)
"""What the first bytes of an index hold."""


class KerasShards:
    """Reads an index and its shards as one checkpoint."""

    name = "keras_shards"

    def main_name(self, name: str) -> str | None:
        """Return the name of the index that a shard of this name belongs to; None where it is no shard's name.

        Users name epochs like shards (`model_00010.weights.h5`): without an index they are checkpoints by themselves.

        >>> KerasShards().main_name("big_00000.weights.h5")
        'big.weights.json'
        """
        return keras_index(name)

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim indices by what they list; "writing" while a shard is absent, not whole, or newer and not listed."""
        for entry in entries:
            if not all(mark.search(entry.head) for mark in _MARKS):
                continue
            identity = identity_of(entry.path)
            try:
                shards = _shards(entry.path)
            except CheckpointError:
                yield CheckpointFiles(entry.path, self.name, (entry.path,), identity)  # `read` raises it again
                continue
            others = _unlisted(entry.path, shards)
            going_on = any(_newer(path, entry.path) for path in others)
            complete = not going_on and all(is_whole(path, check_whole) for path in shards)
            files = (entry.path, *shards, *others)
            yield CheckpointFiles(entry.path, self.name, files, identity, "complete" if complete else "writing")

    def read(self, files: CheckpointFiles) -> Table:
        """Return one table of all shards; `Torn` where one is missing, errors as for `.weights.h5` otherwise."""
        tensors: dict[str, Tensor] = {}
        step: int | None = None
        source: str | None = None
        checksum = True
        for path in _shards(files.path):
            try:
                with opened(path) as file:
                    table = table_of(self.name, whole(file))
            except Vanished as error:
                raise Torn(f"{files.path}: {CUT}: its shard {os.path.basename(path)} is not there{AGAIN}") from error
            if step is None:
                step, source = table.step, table.step_source
            checksum &= table.checksum
            for item in table.tensors:
                if item.name in tensors:
                    raise Corrupt(f"{files.path}: two of its shards hold {item.name!r}")
                tensors[item.name] = item
        return Table(self.name, tuple(tensors.values()), step, source, checksum=checksum)

    def fetch(self, tensor: Tensor) -> bytes | memoryview:
        """Return the bytes of an array that lies in chunks or within a header."""
        return fetched(tensor, whole)


def _shards(path: str) -> list[str]:
    """Return the paths of an index' shards, in order; `Corrupt` where a name leads elsewhere or is not Keras'."""
    held = weight_map(path, "Keras'").values()
    listed = [name for value in held for name in (value if isinstance(value, list | dict) else [value])]
    if not listed or len(listed) > COUNT_LIMIT:
        raise Corrupt(f"{path}: lists {len(listed):,} places of variables, expected 1 to {COUNT_LIMIT:,}")
    own = os.path.basename(path)
    for name in listed:
        if not isinstance(name, str) or os.path.basename(name) != name or keras_index(name) != own:
            raise Corrupt(f"{path}: lists {str(name)[:80]!r}, which is not a shard of {own}; Milepost did not open it")
    names = sorted(set(listed))
    if len(names) > MOST_SHARDS:
        raise Corrupt(f"{path}: lists {len(names):,} shards, at most {MOST_SHARDS:,} are read")
    return [os.path.join(os.path.dirname(path), name) for name in names]


def _unlisted(index: str, shards: Sequence[str]) -> list[str]:
    """Return the paths of shards that the index does not list: of a save that goes on, or left from a larger one."""
    folder, own = os.path.split(index)
    with suppress(OSError):
        found = [os.path.join(folder, name) for name in os.listdir(folder or os.curdir) if keras_index(name) == own]
        return sorted(set(found) - set(shards))
    return []


def _newer(path: str, index: str) -> bool:
    with suppress(OSError):
        return os.stat(path).st_mtime_ns >= os.stat(index).st_mtime_ns
    return False
