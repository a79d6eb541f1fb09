"""HDF5 as data, by h5py: a walk that checks each link, layout, filter, type and size before a byte of values is read.

h5py is imported here only, and only to read a file.  It gets a window on an open file, never a path, so it opens
nothing by itself.  Every object that could lead elsewhere is refused: soft and external links, external storage,
virtual datasets.  h5py never reads values: it gives their places, and `hdf5_chunks` unpacks chunks.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from milepost._internal.bounded import COUNT_LIMIT
from milepost.checkpoints._codecs.hdf5_chunks import KNOWN, Chunk, Chunked, misplaced
from milepost.checkpoints._codecs.hdf5_file import Stream, Window, check_superblock
from milepost.checkpoints._files.layout import affordable
from milepost.errors import CheckpointError, Corrupt, Unsupported

_DEPTH = 64
_TEXT_LIMIT = 16 << 20
_BFLOAT16 = "bfloat16"
_READ = re.compile(r"name|backend|keras_version|(?:layer|weight)_names\d*")
"""Attributes of groups that are read; the model's config is not among them."""


@dataclass(frozen=True, slots=True)
class Hdf5Dataset:
    """An array: at `offset` as it is, in `chunks`, or, where it is tiny, `compact` within the file's own structures.

    `address` is the place of its header, which no other object shares.  `why` is the reason where it cannot be read.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    address: int
    bfloat16: bool = False
    offset: int | None = None
    chunks: Chunked | None = None
    compact: bytes | None = None
    why: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its values; 0 where they cannot be read."""
        return math.prod(self.shape) * self.dtype.itemsize if self.dtype is not None else 0


@dataclass(slots=True)
class Tree:
    """What a file holds: datasets by path, and the texts of the attributes that Keras gives to groups."""

    datasets: dict[str, Hdf5Dataset] = field(default_factory=dict)
    texts: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def listed(self, group: str, name: str) -> list[str] | None:
        """Return a list of names, which Keras may have split into `name0`, `name1`, ...; None where there is none."""
        held = self.texts.get(group, {})
        if name in held:
            return held[name]
        parts = [held[f"{name}{number}"] for number in range(len(held)) if f"{name}{number}" in held]
        return [item for part in parts for item in part] if parts else None


def tree(window: Window) -> Tree:
    """Return what an HDF5 file holds, checked; no values are read.

    Raises `Torn` where it is not whole, `Corrupt` where it is damaged or leads out of itself, and `Unsupported` with
    the pip line where h5py is not installed.
    """
    check_superblock(window)
    h5 = _h5py(window.file.path)
    walk = _Walk(h5, window)
    try:
        with h5.File(Stream(window), "r") as file:
            walk.run(file.id)
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [repr(error)]
        raise Corrupt(f"{window.file.path}: damaged: HDF5 cannot read it: {lines[0][:200]}") from error
    if not walk.tree.datasets:
        raise Corrupt(f"{window.file.path}: an HDF5 file without any dataset")
    return walk.tree


def _h5py(path: str) -> Any:
    try:
        import h5py  # noqa: PLC0415 - an extra, needed for this format only
    except ImportError as error:
        raise Unsupported(
            f"{path}: an HDF5 file, and h5py, which reads it, is not installed; it comes with: pip install "
            "'milepost[keras]'; then try again with `milepost failures --retry`"
        ) from error
    return h5py


class _Walk:
    """Goes through a file's groups, each object once."""

    def __init__(self, h5: Any, window: Window) -> None:
        self._h5 = h5
        self._window = window
        self._path = window.file.path
        self._seen: set[int] = set()
        self.tree = Tree()

    def run(self, root: Any) -> None:
        group = self._h5.h5g.open(root, b"/")
        self._once(group, "/")
        waiting = [("", group)]
        while waiting:
            path, group = waiting.pop()
            self.tree.texts[path] = dict(self._texts(group, path or "/"))
            for name, item in self._members(group, path):
                if isinstance(item, self._h5.h5g.GroupID):
                    if name.count("/") >= _DEPTH:
                        raise Corrupt(f"{self._path}: groups are nested more than {_DEPTH} deep at {name[:80]!r}")
                    waiting.append((name, item))
                elif isinstance(item, self._h5.h5d.DatasetID):
                    self.tree.datasets[name] = self._dataset(item, name)
                else:
                    raise Corrupt(f"{self._path}: {name!r} is neither a group nor a dataset; Keras writes no such file")

    def _members(self, group: Any, path: str) -> Iterator[tuple[str, Any]]:
        if group.get_num_objs() > COUNT_LIMIT:
            raise Corrupt(f"{self._path}: group {path or '/'!r} declares more than {COUNT_LIMIT:,} members")
        names: list[bytes] = []
        group.links.iterate(names.append)
        for raw in sorted(names):
            name = f"{path}/{raw.decode('utf-8')}" if path else raw.decode("utf-8")
            kind = group.links.get_info(raw).type
            if kind != self._h5.h5l.TYPE_HARD:
                sort = {self._h5.h5l.TYPE_SOFT: "a soft", self._h5.h5l.TYPE_EXTERNAL: "an external"}
                raise Corrupt(
                    f"{self._path}: {name!r} is {sort.get(kind, 'an unknown')} link: it can lead anywhere, and "
                    "Keras never writes one; Milepost did not follow it"
                )
            item = self._h5.h5o.open(group, raw)
            self._once(item, name)
            yield name, item

    def _once(self, item: Any, name: str) -> None:
        address = self._h5.h5o.get_info(item).addr
        if address in self._seen:
            what = f"{name!r} is a second name of another object, as in a circle"
            raise Corrupt(f"{self._path}: {what}; Keras writes none")
        self._seen.add(address)
        if len(self._seen) > COUNT_LIMIT:
            raise Corrupt(f"{self._path}: more than {COUNT_LIMIT:,} groups and datasets")

    def _texts(self, item: Any, where: str) -> Iterator[tuple[str, list[str]]]:
        for raw in self._names(item, where):
            name = raw.decode("utf-8", "replace")
            if _READ.fullmatch(name) and (found := self._text(item, raw, where)) is not None:
                yield name, found

    def _names(self, item: Any, where: str) -> list[bytes]:
        if self._h5.h5a.get_num_attrs(item) > COUNT_LIMIT:
            raise Corrupt(f"{self._path}: {where!r} declares too many attributes")
        names: list[bytes] = []
        self._h5.h5a.iterate(item, names.append)
        return names

    def _text(self, item: Any, raw: bytes, where: str) -> list[str] | None:
        """Return an attribute of texts; None where it holds something else."""
        attribute = self._h5.h5a.open(item, raw)
        space, kind = attribute.get_space(), attribute.get_type()
        count = space.get_simple_extent_npoints()
        if count == 0:
            return []
        if kind.get_class() != self._h5.h5t.STRING:
            return None
        if count > COUNT_LIMIT or attribute.get_storage_size() > _TEXT_LIMIT or kind.get_size() * count > _TEXT_LIMIT:
            what = f"attribute {raw!r} of {where!r} declares {count:,} strings"
            raise Corrupt(f"{self._path}: {what}, more than a list of names can need")
        made = np.empty(attribute.shape, attribute.dtype)
        attribute.read(made)
        return [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in made.reshape(-1).tolist()]

    def _dataset(self, item: Any, name: str) -> Hdf5Dataset:
        """Check a dataset, its layout first: asking a virtual one for its shape may open its sources."""
        plan = item.get_create_plist()
        layout = plan.get_layout()
        if layout == self._h5.h5d.VIRTUAL:
            raise Corrupt(f"{self._path}: {name!r} is a virtual dataset, made of other files; they were not opened")
        if layout == self._h5.h5d.CONTIGUOUS and plan.get_external_count():
            what = f"{name!r} has external storage"
            raise Corrupt(f"{self._path}: {what}: its values would come from another file, which was not opened")
        address = self._h5.h5o.get_info(item).addr
        if item.get_space().get_simple_extent_type() == self._h5.h5s.NULL:
            return Hdf5Dataset(name, (), None, address, why="an empty dataspace")
        shape = tuple(int(size) for size in item.shape)
        dtype, bfloat16, why = self._type(item)
        held = Hdf5Dataset(name, shape, dtype, address, bfloat16, why=why)
        if dtype is None:
            return held
        if layout == self._h5.h5d.CONTIGUOUS:
            return self._contiguous(item, held)
        if layout == self._h5.h5d.COMPACT:
            return self._compact(item, held)
        return self._chunked(item, plan, held)

    def _type(self, item: Any) -> tuple[np.dtype[np.generic] | None, bool, str]:
        kind = item.get_type()
        types, sort = self._h5.h5t, kind.get_class()
        if sort == types.OPAQUE and kind.get_size() == 2 and self._says_bfloat16(item):  # noqa: PLR2004 - its bytes
            return np.dtype("<u2"), True, ""
        if sort not in (types.INTEGER, types.FLOAT, types.ENUM):
            return None, False, f"values of HDF5 class {sort}, which are no plain numbers"
        dtype = np.dtype(item.dtype)
        plain = dtype.kind in "biuf" and types.py_create(dtype, logical=True) == kind
        return (dtype, False, "") if plain else (None, False, "a number type that NumPy lacks")

    def _says_bfloat16(self, item: Any) -> bool:
        return b"dtype" in self._names(item, "a dataset") and self._text(item, b"dtype", "a dataset") == [_BFLOAT16]

    def _contiguous(self, item: Any, held: Hdf5Dataset) -> Hdf5Dataset:
        if held.nbytes == 0:
            return replace(held, offset=0)
        offset, stored = item.get_offset(), item.get_storage_size()
        if offset is None or stored != held.nbytes:
            raise Corrupt(f"{self._path}: {held.path!r} declares {held.nbytes:,} bytes, {stored:,} are stored")
        if offset + stored > self._window.size:
            end = f"byte {offset + stored:,} of {self._window.size:,}"
            raise Corrupt(f"{self._path}: {held.path!r} should end at {end}")
        return replace(held, offset=int(offset))

    def _compact(self, item: Any, held: Hdf5Dataset) -> Hdf5Dataset:
        if item.get_storage_size() != held.nbytes or held.nbytes > 1 << 16:
            raise Corrupt(f"{self._path}: {held.path!r} declares {held.nbytes:,} bytes within its header")
        made = np.empty(held.shape, held.dtype)
        item.read(self._h5.h5s.ALL, self._h5.h5s.ALL, made)
        return replace(held, compact=made.tobytes())

    def _chunked(self, item: Any, plan: Any, held: Hdf5Dataset) -> Hdf5Dataset:
        filters = tuple(int(plan.get_filter(number)[0]) for number in range(plan.get_nfilters()))
        odd = [str(code) for code in filters if code not in KNOWN]
        if odd:
            why = f"compressed by HDF5 filter {', '.join(odd)}: only deflate, shuffle and fletcher32 are read"
            return replace(held, why=why, dtype=None)
        assert held.dtype is not None  # noqa: S101 - datasets without one are returned before
        chunk = tuple(int(size) for size in plan.get_chunk())
        if not affordable(math.prod(chunk) * held.dtype.itemsize, self._window.file.size):
            raise Corrupt(f"{self._path}: {held.path!r} has chunks of shape {chunk}: a bomb, not read")
        if held.nbytes == 0:
            return replace(held, offset=0)
        found: list[Chunk] = []

        def note(info: Any) -> None:
            start = tuple(int(place) for place in info.chunk_offset)
            found.append(Chunk(start, int(info.byte_offset), int(info.size), int(info.filter_mask)))

        item.chunk_iter(note)
        chunks = Chunked(held.shape, held.dtype, chunk, filters, tuple(found))
        fault = misplaced(chunks)
        if fault:
            raise Corrupt(f"{self._path}: {held.path!r}: {fault}")
        return replace(held, chunks=chunks)
