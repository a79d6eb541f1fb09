"""torch.save's zip layout, read without torch: ROOT/data.pkl as data, ROOT/data/<key> mapped.

The entries are stored, so every tensor is a view on the file; each has a CRC-32, which torch itself does not check.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from milepost._internal.bounded import HEADER_LIMIT, OpenFile, opened
from milepost._internal.zip import STORED, ZipEntry, damaged, members, names, unpack
from milepost.checkpoints._codecs.pickle import Unpickled, unpickle
from milepost.checkpoints._files.checks import NAME_LIMIT
from milepost.checkpoints._files.layout import refused, shown
from milepost.checkpoints._files.roles import step_of
from milepost.checkpoints.formats._claims import claim_zips
from milepost.checkpoints.formats._torch.facts import facts_of
from milepost.checkpoints.formats._torch.side_files import SMALL, refused_if_without
from milepost.checkpoints.formats._torch.side_files import refused as refused_side_file
from milepost.checkpoints.formats._torch.storages import KNOWN, StorageType, TorchStorage
from milepost.checkpoints.formats._torch.table import StoragePlaces, tensors_of
from milepost.checkpoints.formats._torch.walk import top
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Json, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Program, Unsupported

_SCRIPT = ("constants.pkl", "code/", "bytecode.pkl", "ts_code/")
_EXPORTED = ("archive_format", "models/", "serialized_exported_program.json", "serialized_state_dict.pt")
_ID_PARTS = 5


class TorchZip:
    """Reads torch's zip files (torch 1.6 and later; Lightning's .ckpt are such)."""

    name = "torch_zip"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim zips that hold ROOT/data.pkl or a torch program, by their first entry where the directory is absent.

        "failed" where a small one, or one without any storage, holds no weights.
        """
        return map(_looked_into, claim_zips(self.name, entries, _torch_like))

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table after comparing every CRC-32 but those of optimizer tensors, which are not loaded."""
        with opened(files.path) as file:
            archive, made, places, storages = _opened(file)
            tensors = tensors_of(places, made.value, made.foreign)
            _verify(archive, storages, tensors)
            step, source = step_of(top(made.value), tensors)
            notes = _notes(archive, tensors)
            return Table(self.name, tensors, step, source, made.foreign, notes, checksum=archive.checked)

    def facts(self, files: CheckpointFiles) -> dict[str, Json]:
        """Return the numbers, texts and settings in the object beside its tensors."""
        return facts_of(_held(files.path)[0])

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in this layout is compressed; the extent has the reason."""
        raise refused(tensor)


def _opened(file: OpenFile) -> tuple["_Archive", Unpickled, StoragePlaces, dict[str, TorchStorage]]:
    """Return the archive, the object in it, and its storages with their places."""
    archive = _archive(file)
    storages: dict[str, TorchStorage] = {}
    persistent = _persistent(archive, storages)
    made = unpickle(_small(archive, "data.pkl"), KNOWN, persistent, f"{file.path}: data.pkl")
    return (
        archive,
        made,
        StoragePlaces(file, {key: archive.data(key).offset for key in storages}, archive.big),
        storages,
    )


def _held(path: str) -> tuple[Any, Sequence[Tensor]]:
    """Return the object in a file, and its tensors."""
    with opened(path) as file:
        _, made, places, _ = _opened(file)
        return made.value, tensors_of(places, made.value)


def _looked_into(files: CheckpointFiles) -> CheckpointFiles:
    if files.state != "complete":
        return files
    if files.identity.size <= SMALL:
        return refused_if_without(files, partial(_held, files.path))
    return files if _has_storages(files.path) else refused_side_file(files, "a pickle without tensors")


def _has_storages(path: str) -> bool:
    """Return whether an archive has an entry of a tensor's bytes; by its directory alone."""
    try:
        with opened(path) as file:
            return any("/data/" in name for name in names(file))
    except CheckpointError:
        return True  # `read` says what is wrong


@dataclass(frozen=True, slots=True)
class _Archive:
    file: OpenFile
    root: str
    entries: dict[str, ZipEntry]

    @property
    def checked(self) -> bool:
        """torch.serialization.set_crc32_options(False) writes 0 for all: absent, not wrong."""
        return any(item.crc for item in self.entries.values())

    @property
    def big(self) -> bool:
        order = _small(self, "byteorder") if f"{self.root}/byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise Corrupt(f"{self.file.path}: byteorder says {order[:20]!r}, expected little or big")
        return order == b"big"

    def data(self, key: str) -> ZipEntry:
        return self.entries[f"{self.root}/data/{key}"]


def _torch_like(listed: Sequence[str]) -> bool:
    inner = {name.partition("/")[2] for name in listed if name.count("/")}
    if "data.pkl" in inner or any(name == "serialized_exported_program.json" for name in listed):
        return True
    return "archive_format" in inner or (
        len(listed) == 1 and bool(inner & {".format_version", ".data/serialization_id"})
    )


def _archive(file: OpenFile) -> _Archive:
    entries = members(file)
    roots = {name.partition("/")[0] for name in entries if "/" in name}
    root = min(roots, key=lambda name: (f"{name}/data.pkl" not in entries, name)) if roots else ""
    for name in entries:
        inner = name.removeprefix(f"{root}/")
        if inner.startswith(_SCRIPT):
            raise Program(_program(file, name, "TorchScript", "model.state_dict()"))
        if inner.startswith(_EXPORTED):
            raise Program(_program(file, name, "torch.export", "program.state_dict"))
    if f"{root}/data.pkl" not in entries or len(roots) != 1:
        found = f"found folders {sorted(roots)[:5]}"
        raise Corrupt(f"{file.path}: a torch archive has one top folder with data.pkl; {found}")
    return _Archive(file, root, entries)


def _program(file: OpenFile, name: str, kind: str, how: str) -> str:
    what = f"a {kind} program (it holds {name!r}), not a table of tensors"
    return f"{file.path}: {what}; save {how} with torch.save instead"


def _small(archive: _Archive, inner: str) -> bytes:
    item = archive.entries[f"{archive.root}/{inner}"]
    if item.size > HEADER_LIMIT:
        what = f"{item.name!r} takes {item.size:,} bytes"
        raise Corrupt(f"{archive.file.path}: {what}, at most {HEADER_LIMIT:,} are read")
    if item.method != STORED:
        raise Unsupported(f"{archive.file.path}: {_compressed(item)}")
    return unpack(archive.file, item) if archive.checked else archive.file.at(item.offset, item.size, item.name)


def _compressed(item: ZipEntry) -> str:
    return f"entry {item.name!r} is compressed; torch stores entries as they are: save the file again with torch.save"


def _persistent(archive: _Archive, storages: dict[str, TorchStorage]) -> Callable[[Any], TorchStorage]:
    def storage(key: Any) -> TorchStorage:
        if not isinstance(key, tuple) or len(key) != _ID_PARTS or key[0] != "storage":
            raise Corrupt("a persistent id that is no storage")
        _, kind, name, _, count = key
        if not isinstance(kind, StorageType) or not isinstance(name, str) or type(count) is not int or count < 0:
            raise Corrupt(f"the description of storage {shown(name)} is not one of torch's")
        item = archive.entries.get(f"{archive.root}/data/{name}") if len(name) <= NAME_LIMIT else None
        if item is None:
            raise Corrupt(f"it names storage {name[:40]!r}, for which the archive has no entry")
        if item.method != STORED:
            raise Unsupported(_compressed(item))
        if item.size != count * kind.itemsize:
            declared = f"{count * kind.itemsize:,} bytes are declared"
            raise Corrupt(f"storage {name!r}: {declared}, the archive holds {item.size:,}")
        # One run of bytes may be viewed as several types; each view has its own.
        storages[name] = TorchStorage(name, kind, item.size)
        return storages[name]

    return storage


def _verify(archive: _Archive, storages: dict[str, TorchStorage], tensors: Sequence[Tensor]) -> None:
    if not archive.checked:
        return
    starts = sorted(item.where.offset for item in tensors if item.role != "optimizer" and item.where.nbytes)
    others = sorted(item.where.offset for item in tensors if item.role == "optimizer")
    for key in storages:
        item = archive.data(key)
        if _any_in(others, item) and not _any_in(starts, item):
            continue
        crc = archive.file.crc32(item.offset, item.packed, f"entry {item.name!r}")
        if crc != item.crc:
            held = [one for one in tensors if item.offset <= one.where.offset < item.offset + item.size]
            label = "/".join(filter(None, (held[0].group, held[0].name))) if held else "unnamed"
            raise damaged(archive.file, item, crc, f" (tensor {label!r})")


def _any_in(starts: Sequence[int], item: ZipEntry) -> bool:
    return bisect_left(starts, item.offset) < bisect_left(starts, item.offset + item.size)


def _notes(archive: _Archive, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    if archive.checked and any(item.role == "optimizer" for item in tensors):
        return ("checksums of optimizer tensors were not compared: they are not loaded",)
    return ()
