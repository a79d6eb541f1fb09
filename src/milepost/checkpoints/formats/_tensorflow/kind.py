"""Which of TensorFlow's layouts a table has: its last eight bytes and the value of its first key, "", decide.

A bundle's index begins with its header, whose first field is a number; a Saver V1 file with the list of what it holds,
whose first field is a message.  LevelDB's own files end in the same bytes, and begin with neither.
"""

from typing import Literal

from milepost._internal.bounded import opened
from milepost._internal.budget import glancing
from milepost.checkpoints._codecs.protobuf import BYTES, VARINT
from milepost.checkpoints._codecs.sstable import MAGIC, open_table
from milepost.core.protocols import Entry
from milepost.errors import CheckpointError, Torn, Vanished

Kind = Literal["bundle", "v1", "damaged", "other"]

_BEGINNING = b"\0\0?\x08"  # nothing shared, a key of no bytes, a value of some, whose first field is number 1, a varint
_FIRST_FIELD = 1 << 3


def kind_of_table(entry: Entry) -> Kind | None:
    """Return what kind of table a file is; None where it does not end as one; raises what reading it does."""
    if entry.is_dir or entry.tail != MAGIC:
        return None
    try:
        with opened(entry.path) as file, glancing(entry.path, file.size):
            first = open_table(file).first()
    except (Torn, Vanished):
        raise  # its end is there: the disk failed, or the file went meanwhile
    except CheckpointError:
        return "damaged"
    if first is None or first[0] or not first[1]:
        return "other"
    kinds: dict[int, Kind] = {_FIRST_FIELD | VARINT: "bundle", _FIRST_FIELD | BYTES: "v1"}
    return kinds.get(first[1][0], "other")


def begins_as_index(head: bytes) -> bool:
    r"""Return whether bytes are those with which a bundle's index begins, as far as they go.

    >>> begins_as_index(b"\0\0\x06\x08\x01"), begins_as_index(b"\0"), begins_as_index(b"{}"), begins_as_index(b"")
    (True, True, False, False)
    """
    pairs = zip(head, _BEGINNING, strict=False)
    return bool(head) and all(found == expected or expected == ord("?") for found, expected in pairs)
