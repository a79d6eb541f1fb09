"""safetensors: a length, a JSON header, then the tensors' bytes without gaps; mapped where they lie.

Own parser, by the published layout: u64 little-endian header length (at most 100,000,000), header
{name: {dtype, shape, data_offsets}}, and offsets that cover the rest of the file exactly.  The format has no checksum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT, HEADER_LIMIT, OpenFile, opened
from milepost._internal.json_text import parsed
from milepost.checkpoints._files.checks import about
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints._files.layout import checked_shape, missing, refused, total
from milepost.checkpoints._files.roles import role_of, step_of
from milepost.checkpoints.formats._claims import claim
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Json, Table, Tensor
from milepost.errors import Corrupt, Torn

_TYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_PACKED_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_METADATA = "__metadata__"


class Safetensors:
    """Reads safetensors files."""

    name = "safetensors"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim files that begin with a plausible length and a JSON object; shorter than declared means "writing"."""
        for entry in entries:
            if _plausible(entry.head):
                yield claim(self.name, entry.path, _contents)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table; `Torn` where bytes are missing, `Corrupt` where header and file disagree."""
        with opened(files.path) as file:
            tensors, metadata = _contents(file)
        step, source = step_of(_numbers(metadata, files.path), tensors, f"{_METADATA}.")
        return Table(self.name, tensors, step, source)

    def facts(self, files: CheckpointFiles) -> dict[str, Json]:
        """Return the texts of the header's metadata."""
        with opened(files.path) as file:
            return flat(_contents(file)[1])

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in this format is compressed, and number types of less than a byte are not read."""
        raise refused(tensor)


def _plausible(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and 2 <= length <= HEADER_LIMIT and head[8:9] == b"{"  # noqa: PLR2004


def _contents(file: OpenFile) -> tuple[tuple[Tensor, ...], Json]:
    """Return the tensors in the file's order, which cover it exactly, and the metadata."""
    header, begin = _header(file)
    metadata = header.pop(_METADATA, {})
    tensors = tuple(_tensor(file, name, item, begin) for name, item in header.items())
    end = begin
    for one in sorted(tensors, key=lambda one: (one.where.offset, one.where.nbytes)):
        if one.where.offset != end:
            at, expected = one.where.offset - begin, end - begin
            raise Corrupt(f"{about(one)} begins at byte {at:,} of the data, expected {expected:,}")
        end += one.where.nbytes
    if end > file.size:
        has = f"it has {file.size:,} of {end:,} bytes that its {len(tensors):,} tensors need"
        raise Torn(f"{file.path}: {CUT}: {has}, {end - file.size:,} missing{AGAIN}")
    if end < file.size:
        raise Corrupt(f"{file.path}: {file.size - end:,} bytes after the last tensor belong to none")
    return tensors, metadata


def _header(file: OpenFile) -> tuple[dict[str, Json], int]:
    length = int.from_bytes(file.at(0, 8, "the header's length"), "little")
    declared = f"the safetensors header declares {length:,} bytes"
    if length > HEADER_LIMIT:
        raise Corrupt(f"{file.path}: {declared}, at most {HEADER_LIMIT:,} are allowed")
    if 8 + length > file.size:
        raise Torn(f"{file.path}: {CUT}: {declared}, {file.size - 8:,} are there{AGAIN}")
    raw = file.at(8, length, "the header")
    try:
        header = parsed(raw, _once)
    except (ValueError, RecursionError) as error:
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
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise Corrupt(f"{where}: the header must give exactly dtype, shape and data_offsets")
    shape = checked_shape(item["shape"], where)
    offsets = checked_shape(item["data_offsets"], where, "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004 - begin and end
        raise Corrupt(f"{where}: data_offsets must be two integers, the first not above the second")
    extent = Extent(file.path, begin + offsets[0], offsets[1] - offsets[0])
    kind = str(item["dtype"])[:40]
    if kind in _PACKED_BITS and -(-total(shape) * _PACKED_BITS[kind] // 8) != extent.nbytes:
        raise Corrupt(f"{where}: shape and type {kind} do not need the {extent.nbytes:,} bytes that it has")
    if kind not in _TYPES:
        extent = replace(extent, encoding=missing(f"number type {kind}", file.path).encoding)
    return Tensor(name, _TYPES.get(kind, "void"), shape, extent, role_of("", name))


def _numbers(metadata: Json, path: str) -> dict[object, object]:
    if not isinstance(metadata, dict):
        raise Corrupt(f"{path}: {_METADATA} must be a JSON object")
    texts = ((name, text) for name, text in metadata.items() if isinstance(text, str) and text.isascii())
    return {name: int(text) for name, text in texts if text.isdigit() and len(text) < 19}  # noqa: PLR2004 - below 2**63
