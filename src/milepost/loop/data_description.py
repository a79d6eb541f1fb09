"""What a data set is, as an evaluation is planned with it: its size and its identity.

A stream of unknown size is read once to be counted; so its rows count whole in its identity, at no further cost.
"""

import hashlib
from weakref import WeakKeyDictionary

import numpy as np

from milepost._internal import heartbeat
from milepost._internal.serialization import digest
from milepost.core.capabilities import capability
from milepost.core.protocols import Described, Source
from milepost.core.types import Array, Batch, DataDescription, Json
from milepost.errors import DataError
from milepost.loop.row_checksums import row_checksums, with_checksums

_ENDLESS = 1 << 62
_BATCH = 4096
_counted: "WeakKeyDictionary[Source, tuple[int, dict[str, Json]]]" = WeakKeyDictionary()
"""What was read of a stream: one object is read once, as its fingerprint is computed once."""


def data_description(name: str, source: Source) -> DataDescription:
    """Return a source's size, its fingerprint with what reading a stream adds, the digest of these, and what it says.

    Raises `DataError` where size or fingerprint are none.
    """
    fingerprint, size = source.fingerprint(), source.size
    if size is None or (fingerprint.get("weak") and "size" not in fingerprint):
        size, fingerprint = _read(source, fingerprint)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise DataError(f"source {name!r}: its size is {size!r}; expected a number of rows, or None for a stream")
    try:
        identity = digest([fingerprint, size])
    except (TypeError, ValueError) as error:
        raise DataError(f"source {name!r}: fingerprint() is no plain data ({error}): found {fingerprint!r}") from error
    described = capability(source, Described)
    return DataDescription(size, fingerprint, identity, {} if described is None else described.described())


def _read(source: Source, fingerprint: dict[str, Json]) -> tuple[int, dict[str, Json]]:
    """Count a stream's rows; where no version declares what they are, digest them as well."""
    if "weak" not in fingerprint:
        return sum(_rows(batch) for batch in source.batches(0, _ENDLESS, _BATCH)), fingerprint
    if source in _counted:
        return _counted[source]
    whole, size, content = True, 0, hashlib.sha256()
    for batch, checksums in with_checksums(source.batches(0, _ENDLESS, _BATCH)):
        size += _rows(batch)
        whole = whole and checksums is not None
        content.update(row_checksums(_columns(batch, checksums), len(batch.labels)).tobytes())
    rest = {key: value for key, value in fingerprint.items() if key != "weak" or not whole}
    found = size, {**rest, "rows": content.hexdigest()[:32]}
    _counted[source] = found
    return found


def _columns(batch: Batch, checksums: Array | None) -> dict[str, Array]:
    """Return what identifies the rows of a batch; inputs by their checksums, where they have any."""
    columns = {"row": checksums, "label": batch.labels, "weight": batch.weights, "id": batch.ids, "group": batch.groups}
    return {name: np.asarray(item) for name, item in columns.items() if item is not None}


def _rows(batch: Batch) -> int:
    heartbeat.beat()
    return len(batch.labels)
