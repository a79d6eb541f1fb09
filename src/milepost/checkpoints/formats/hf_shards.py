"""Hugging Face's sharded weights: NAME.safetensors.index.json (or .bin.index.json) says which file holds which tensor.

The libraries write the shards first and the index last.  The index decides: what it lists is read from where it says,
and tensors of a shard that it does not list there are left over from another save.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT
from milepost._internal.fileid import identity_of
from milepost._internal.text import listed
from milepost.checkpoints._files.layout import refused
from milepost.checkpoints._files.links import check_shards
from milepost.checkpoints._files.shards import size_of
from milepost.checkpoints.formats._huggingface.weights import read_weights, state_of
from milepost.checkpoints.formats._weight_map import MOST_SHARDS, weight_map
from milepost.checkpoints.names import HF_INDEXES, hf_index
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn, Vanished

_BEGIN = re.compile(rb'\s*\{\s*"(?:metadata|weight_map)"')
_MARK = b'"weight_map"'
_SHARDS = (".safetensors", ".bin")


class HfShards:
    """Reads an index and its shards as one checkpoint."""

    name = "hf_shards"

    def main_name(self, name: str) -> str | None:
        """Return the name of the index that a shard of this name belongs to; None where it is no shard's name.

        >>> HfShards().main_name("model-00001-of-00002.safetensors")
        'model.safetensors.index.json'
        """
        return hf_index(name)

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim indices by what they list; "writing" while a shard is absent or not whole."""
        for entry in entries:
            named = entry.path.endswith(HF_INDEXES)
            if not _BEGIN.match(entry.head) or not (named or _MARK in entry.head):
                continue
            now = identity_of(entry.path)
            try:
                shards = list(_by_shard(entry.path))
            except CheckpointError as error:
                if named:  # `read` raises it again
                    cut = isinstance(error, Torn | Vanished)
                    yield CheckpointFiles(entry.path, self.name, (entry.path,), now, "writing" if cut else "complete")
                continue
            yield CheckpointFiles(entry.path, self.name, (entry.path, *shards), now, state_of(shards))

    def read(self, files: CheckpointFiles) -> Table:
        """Return one table of all shards.

        Raises `Torn` where shards are absent, and names them, `Corrupt` where the index leads elsewhere or names a
        tensor that its shard does not hold, and the errors of the shards' own formats.
        """
        held = _by_shard(files.path)
        absent = [os.path.basename(path) for path in held if size_of(path) is None]
        if absent:
            what = f"{len(absent)} of its {len(held)} shards are not there: {listed(absent)}"
            raise Torn(f"{files.path}: {CUT}: {what}{AGAIN}")
        check_shards(files.path, list(held))
        tables = {path: read_weights(path) for path in held}
        tensors = [item for path, table in tables.items() for item in _listed(files.path, path, table, held[path])]
        first = next((table for table in tables.values() if table.step is not None), None)
        notes = dict.fromkeys(note for table in tables.values() for note in table.notes)
        foreign = dict.fromkeys(name for table in tables.values() for name in table.foreign)
        step, source = (first.step, first.step_source) if first else (None, None)
        checksum = all(table.checksum for table in tables.values())
        return Table(self.name, tuple(tensors), step, source, tuple(foreign), tuple(notes), checksum=checksum)

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in these files is compressed; the extent has the reason."""
        raise refused(tensor)


def _listed(index: str, path: str, table: Table, names: Sequence[str]) -> list[Tensor]:
    held = {item.name: item for item in table.tensors}
    lacking = [name for name in names if name not in held]
    if lacking:
        what = f"lists {listed(lacking)} in {os.path.basename(path)}, which holds no such tensor"
        raise Corrupt(f"{index}: {what}: index and shards are of two saves; copy all of them again")
    return [held[name] for name in names]


def _by_shard(path: str) -> dict[str, list[str]]:
    """Return the names of the tensors in each shard, by the shard's path, in order of the shards."""
    return _checked(path, list(weight_map(path, "Hugging Face's").items()))


def _checked(path: str, pairs: Sequence[tuple[str, object]]) -> dict[str, list[str]]:
    if not pairs or len(pairs) > COUNT_LIMIT:
        raise Corrupt(f"{path}: lists {len(pairs):,} tensors, expected 1 to {COUNT_LIMIT:,}")
    names: dict[str, list[str]] = {}
    for tensor, shard in pairs:
        if not isinstance(shard, str) or os.path.basename(shard) != shard or not shard.endswith(_SHARDS):
            what = f"lists {str(shard)[:80]!r}, which is no file of weights beside it; Milepost did not open it"
            raise Corrupt(f"{path}: {what}")
        names.setdefault(shard, []).append(tensor)
    if len(names) > MOST_SHARDS:
        raise Corrupt(f"{path}: lists {len(names):,} shards, at most {MOST_SHARDS:,} are read")
    folder = os.path.dirname(path)
    sorted_names: Mapping[str, list[str]] = {shard: names[shard] for shard in sorted(names)}
    return {os.path.join(folder, shard): tensors for shard, tensors in sorted_names.items()}
