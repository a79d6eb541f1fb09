"""torch.save's layout before torch 1.6 (and on request since): pickles one after another, then the storages' bytes.

The magic number, the protocol, facts about the machine, the object, the list of storage keys; then for each key the
number of items (int64) and the items, little-endian on every machine.  Nothing has a checksum, but each size stands
twice: all offsets are known from the pickles, and every tensor is a view on the file.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT, HEADER_LIMIT, OpenFile, opened
from milepost.checkpoints._codecs.pickle import Ended, Unpickled, unpickle_start
from milepost.checkpoints._files.checks import NAME_LIMIT
from milepost.checkpoints._files.layout import checked_shape, refused, shown
from milepost.checkpoints._files.roles import step_of
from milepost.checkpoints.formats._claims import claim
from milepost.checkpoints.formats._torch.facts import facts_of
from milepost.checkpoints.formats._torch.side_files import SMALL, refused_if_without
from milepost.checkpoints.formats._torch.storages import KNOWN, StorageType, TorchStorage
from milepost.checkpoints.formats._torch.table import StoragePlaces, named_by, tensors_of
from milepost.checkpoints.formats._torch.walk import top
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Json, Table, Tensor
from milepost.errors import Corrupt, Torn

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

# As protocols 2 to 5 write the number (4 and 5 in a frame), and as 1 does.
_BEGIN = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\.|L%dL?\n\." % MAGIC, re.DOTALL
)
_USUAL = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_LEAST = 4
_WINDOW = 64 << 10
_GLANCE = 1 << 20
_COUNT = 8
_FIELDS = 5


class TorchLegacy:
    """Reads torch's files that are no zips: torch before 1.6, and `_use_new_zipfile_serialization=False`."""

    name = "torch_legacy"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim files that begin with torch's magic number; one that ends before its last storage is "writing"."""
        for entry in entries:
            cut = _LEAST <= len(entry.head) < len(_USUAL) and _USUAL.startswith(entry.head)
            if not entry.is_dir and (cut or _BEGIN.match(entry.head)):
                # A description too long for a glance is `Corrupt` to it, not `Torn`; `read` reads it whole.
                files = claim(self.name, entry.path, lambda file: _contents(file, _GLANCE))
                small = files.state == "complete" and files.identity.size <= SMALL
                yield refused_if_without(files, partial(_held, entry.path)) if small else files

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table.

        Raises `Torn` where the file ends too early, with the bytes that are missing, `Corrupt` where sizes, keys or
        pickles are not sound, and `Unsafe` for opcodes that plain data does not need.
        """
        with opened(files.path) as file:
            made, begins, end = _contents(file, HEADER_LIMIT)
            tensors = tensors_of(StoragePlaces(file, begins), made.value, made.foreign)
            step, source = step_of(top(made.value), tensors)
            after = file.size - end
        notes = (f"{after:,} bytes follow the last storage; they are not read",) if after > 0 else ()
        return Table(self.name, tensors, step, source, made.foreign, notes)

    def facts(self, files: CheckpointFiles) -> dict[str, Json]:
        """Return the numbers, texts and settings in the object beside its tensors."""
        return facts_of(_held(files.path)[0])

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in this layout is compressed; the extent has the reason."""
        raise refused(tensor)


def _held(path: str) -> tuple[Any, Sequence[Tensor]]:
    """Return the object in a file, and its tensors."""
    with opened(path) as file:
        made, begins, _ = _contents(file, HEADER_LIMIT)
        return made.value, tensors_of(StoragePlaces(file, begins), made.value)


def _contents(file: OpenFile, limit: int) -> tuple[Unpickled, dict[str, int], int]:
    """Return the object, where each storage begins, and where the last one ends."""
    pickles = _Pickles(file, limit)
    for what, expected in (("magic number", MAGIC), ("protocol", PROTOCOL)):
        found = pickles.next(what).value
        if type(found) is not int or found != expected:
            raise Corrupt(f"{file.path}: the {what} of torch's non-zip format is {expected}, found {shown(found)}")
    pickles.next("facts about the machine")  # its byte order does not matter: storages are little-endian
    storages: dict[str, TorchStorage] = {}
    made = pickles.next("object", _persistent(storages))
    keys = pickles.next("list of storages", after=storages).value
    return made, *_laid_out(file, pickles.at, _checked(file, keys, storages), storages, made.value)


class _Pickles:
    """The pickles at the beginning of a file, one after the other, each read in windows until it is whole."""

    def __init__(self, file: OpenFile, limit: int) -> None:
        self.file = file
        self.limit = limit
        self.at = 0

    def next(
        self, what: str, persistent: Callable[[Any], Any] | None = None, after: dict[str, TorchStorage] | None = None
    ) -> Unpickled:
        """Run the next pickle; `after` are storages that must follow it, for the count of what is missing."""
        window = _WINDOW
        where = f"{self.file.path}: {what} (from byte {self.at:,})"
        while True:
            size = min(window, self.limit, self.file.size - self.at)
            data = self.file.at(self.at, size, what)
            try:
                made = unpickle_start(data, KNOWN, persistent or _no_storage, where)
            except Ended as error:
                self._give_up(error, what, size, sum(_COUNT + item.nbytes for item in (after or {}).values()))
                window = max(8 * window, size + error.lacking)
            else:
                self.at += made.end
                return made

    def _give_up(self, error: Ended, what: str, size: int, following: int) -> None:
        """Raise where reading more would not help: the file ends, or the pickle is larger than any should be."""
        if size + error.lacking > self.limit:
            raise Corrupt(f"{error}; the pickle is longer than the limit of {self.limit:,} bytes") from error
        if self.at + size >= self.file.size:
            end = f"it ends in its {what}, after {self.file.size:,} bytes"
            missing = f"at least {error.lacking + following:,} missing"
            raise Torn(f"{self.file.path}: {CUT}: {end}; {missing}{AGAIN}") from error


def _no_storage(key: Any) -> Any:  # noqa: ARG001 - the machine's own signature
    raise Corrupt("a storage is named where only plain data belongs")


def _persistent(storages: dict[str, TorchStorage]) -> Callable[[Any], Any]:
    def resolve(key: Any) -> Any:
        kind, *fields = key if isinstance(key, tuple) and key else (None,)
        if kind == "module" and fields:
            return fields[0]  # a class with its source, which is not read
        if kind != "storage" or len(fields) != _FIELDS:
            raise Corrupt("a persistent id that is neither a storage nor a module")
        return _storage(storages, fields)

    return resolve


def _storage(storages: dict[str, TorchStorage], fields: list[Any]) -> TorchStorage:
    kind, key, _, count, view = fields  # the third is the device that it was saved on: everything is read as it lies
    if not isinstance(kind, StorageType) or not isinstance(key, str) or len(key) > NAME_LIMIT:
        raise Corrupt(f"the description of storage {shown(key)} is not one of torch's")
    where = f"storage {key[:40]!r}"
    (count,) = checked_shape((count,), where, "its count of items")
    whole = TorchStorage(key, kind, count * kind.itemsize)
    if storages.setdefault(key, whole) != whole:
        raise Corrupt(f"{where} is described twice, and the descriptions differ")
    if view is None:
        return whole
    if not isinstance(view, tuple) or len(view) != 3:  # noqa: PLR2004 - key, offset, items
        raise Corrupt(f"{where}: a view on it is not described by key, offset and length")
    offset, items = checked_shape(view[1:], where, "a view on it")
    if offset + items > count:
        raise Corrupt(f"{where}: a view ends at item {offset + items:,}, but the storage has only {count:,}")
    return TorchStorage(key, kind, items * kind.itemsize, offset * kind.itemsize)


def _checked(file: OpenFile, keys: Any, storages: dict[str, TorchStorage]) -> list[str]:
    if not isinstance(keys, list) or len(keys) > COUNT_LIMIT or not all(isinstance(key, str) for key in keys):
        raise Corrupt(f"{file.path}: the list of storages is not a list of at most {COUNT_LIMIT:,} keys")
    listed = set(keys)
    odd = sorted(listed ^ storages.keys())
    if odd or len(listed) != len(keys):
        raise Corrupt(
            f"{file.path}: the object names {len(storages):,} storages, the list {len(keys):,}, and they differ"
            + (f": {odd[0][:40]!r} is in one alone" if odd else ": one is listed twice")
        )
    return keys


def _laid_out(
    file: OpenFile, at: int, keys: list[str], storages: dict[str, TorchStorage], value: Any
) -> tuple[dict[str, int], int]:
    """Return where each storage begins and the last one ends, each size compared with the one before its bytes."""
    begins: dict[str, int] = {}
    first_cut = None
    for key in keys:
        item = storages[key]
        declared = item.nbytes // item.kind.itemsize
        if at + _COUNT <= file.size:
            found = int.from_bytes(file.at(at, _COUNT, "a storage's length"), "little", signed=True)
            if found != declared:
                raise Corrupt(
                    f"{file.path}: storage of tensor {named_by(value, key)!r}: {declared:,} items are declared, "
                    f"{found:,} stand before its bytes, at byte {at:,}"
                )
        begins[key] = at + _COUNT
        at += _COUNT + item.nbytes
        if at > file.size and first_cut is None:
            first_cut = key
    if first_cut is not None:
        raise Torn(
            f"{file.path}: {CUT}: it has {file.size:,} of {at:,} bytes, "
            f"{at - file.size:,} missing, from tensor {named_by(value, first_cut)!r} on{AGAIN}"
        )
    return begins, at
