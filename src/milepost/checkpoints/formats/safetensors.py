"""safetensors: a length, a JSON header, then the tensors' bytes without gaps; mapped where they lie.

Own parser, by the published layout: u64 little-endian header length (at most 100,000,000), header
{name: {dtype, shape, data_offsets}}, and offsets that cover the rest of the file exactly.  The format has no checksum.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from milepost.checkpoints._files.bounded import AGAIN, COUNT_LIMIT, CUT, HEADER_LIMIT, OpenFile, identity_of, opened
from milepost.checkpoints._files.layout import checked_shape, dtype_of, missing, refused, total
from milepost.checkpoints._files.roles import STEP_LIMIT, STEP_NAMES, role_of, scalars_beside
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Json, Table, Tensor
from milepost.errors import Corrupt, Torn

_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_PACKED_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_METADATA = "__metadata__"
_LONGEST = 4096


class Safetensors:
    """Reads safetensors files.

    >>> Safetensors().name
    'safetensors'
    """

    name = "safetensors"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim files that begin with a plausible length and a JSON object; shorter than declared means "writing"."""
        for entry in entries:
            if entry.is_dir or not _plausible(entry.head):
                continue
            identity = identity_of(entry.path)
            length = 8 + int.from_bytes(entry.head[:8], "little")
            complete = length <= identity.size
            if complete:
                complete = _declared(entry.path, identity.size, length)
            yield CheckpointFiles(entry.path, self.name, (entry.path,), identity, "complete" if complete else "writing")

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table; `Torn` where bytes are missing, `Corrupt` where header and file disagree."""
        with opened(files.path) as file:
            header, begin = _header(file)
            metadata = header.pop(_METADATA, {})
            tensors = [_tensor(file, name, item, begin) for name, item in header.items()]
            _cover(file, tensors, header, begin)
            step, source = _step(file, metadata, tensors)
        return Table(self.name, scalars_beside(tensors), step, source, notes=("the format holds no checksums",))

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in this format is compressed, and number types of less than a byte are not read."""
        raise refused(tensor)


def _plausible(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and 2 <= length <= HEADER_LIMIT and head[8:].lstrip()[:1] == b"{" and head[8:9] == b"{"  # noqa: PLR2004


def _declared(path: str, size: int, begin: int) -> bool:
    """Tell whether the file is as long as its header says; a header that does not parse is left to `read` to name."""
    try:
        with opened(path) as file:
            header, begin = _header(file)
        ends = [item["data_offsets"][1] for name, item in header.items() if name != _METADATA]
        return size >= begin + max(ends, default=0)
    except Torn:
        return False
    except (Corrupt, KeyError, TypeError, IndexError):
        return True


def _header(file: OpenFile) -> tuple[dict[str, Json], int]:
    if file.size < 8:  # noqa: PLR2004 - the length itself
        raise Torn(f"{file.path}: {file.size} bytes: the length of a safetensors header takes 8")
    length = int.from_bytes(file.at(0, 8, "the header's length"), "little")
    if length > HEADER_LIMIT:
        raise Corrupt(
            f"{file.path}: the safetensors header declares {length:,} bytes, at most {HEADER_LIMIT:,} are allowed"
        )
    if 8 + length > file.size:
        raise Torn(
            f"{file.path}: {CUT}: the safetensors header declares {length:,} bytes, {file.size - 8:,} are there{AGAIN}"
        )
    raw = file.at(8, length, "the header")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise Corrupt(f"{file.path}: the safetensors header is not proper JSON: it is nested too deeply") from error
    except ValueError as error:
        raise Corrupt(f"{file.path}: the safetensors header is not proper JSON: {str(error)[:120]}") from error
    if not isinstance(header, dict) or len(header) > COUNT_LIMIT:
        raise Corrupt(f"{file.path}: the safetensors header must be one JSON object of at most {COUNT_LIMIT:,} tensors")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _tensor(file: OpenFile, name: str, item: Json, begin: int) -> Tensor:
    where = f"{file.path}: tensor {name[:200]!r}"
    if len(name) > _LONGEST or any("\ud800" <= sign <= "\udfff" for sign in name):
        raise Corrupt(f"{where}: the name is no Unicode text of at most {_LONGEST:,} characters")
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise Corrupt(f"{where}: the header must give exactly dtype, shape and data_offsets")
    shape = checked_shape(item["shape"], where)
    offsets = checked_shape(item["data_offsets"], where, "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004 - begin and end
        raise Corrupt(f"{where}: data_offsets must be two integers, the first not above the second")
    kind, declared = item["dtype"], offsets[1] - offsets[0]
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    role = role_of("", name)
    if dtype is None:
        bits = _PACKED_BITS.get(kind, 0) if isinstance(kind, str) else 0
        if bits and -(-total(shape) * bits // 8) != declared:
            raise Corrupt(f"{where}: shape and type {kind} do not need the {declared:,} bytes that it has")
        return Tensor(name, "void", shape, missing(f"number type {str(kind)[:40]}", file.path), role)
    needed = total(shape) * dtype_of(dtype).itemsize
    if needed != declared:
        raise Corrupt(f"{where}: shape {list(shape)} of {kind} needs {needed:,} bytes, its offsets give {declared:,}")
    return Tensor(name, dtype, shape, Extent(file.path, begin + offsets[0], declared), role)


def _cover(file: OpenFile, tensors: Sequence[Tensor], header: dict[str, Json], begin: int) -> None:
    position = 0
    for name, item in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        start, end = item["data_offsets"]
        if start != position:
            raise Corrupt(
                f"{file.path}: tensor {name[:200]!r} begins at byte {start:,} of the data, expected {position:,}"
            )
        position = end
    if begin + position > file.size:
        raise Torn(
            f"{file.path}: {CUT}: it has {file.size:,} of {begin + position:,} bytes that its {len(tensors):,} tensors "
            f"need, {begin + position - file.size:,} missing{AGAIN}"
        )
    if begin + position < file.size:
        raise Corrupt(f"{file.path}: {file.size - begin - position:,} bytes after the last tensor belong to none")


def _step(file: OpenFile, metadata: Json, tensors: Sequence[Tensor]) -> tuple[int | None, str | None]:
    if not isinstance(metadata, dict):
        raise Corrupt(f"{file.path}: {_METADATA} must be a JSON object")
    by_name = {item.name: item for item in tensors}
    for name in STEP_NAMES:
        text = metadata.get(name)
        if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19:  # noqa: PLR2004 - below 2**63
            return int(text), f"content: {_METADATA}.{name}"
        item = by_name.get(name)
        if item is not None and total(item.shape) == 1 and item.dtype.lstrip("u").startswith("int"):
            raw = file.at(item.where.offset, item.where.nbytes, name)
            value = int.from_bytes(raw, "little", signed=item.dtype.startswith("int"))
            if 0 <= value < STEP_LIMIT:
                return value, f"content: {name}"
    return None, None
