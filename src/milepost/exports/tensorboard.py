"""TensorBoard: a folder of event files, one run each for exact values and for batch means, in the order of steps.

The format: TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`, framed as TFRecord with masked CRC-32C.
"""

import os
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from milepost._internal.folder_target import folder_target
from milepost.checkpoints._codecs.crc32c import crc32c, masked
from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.scoring.flat_record import flat_record

_FILE = "events.out.tfevents.0.milepost"
_VERSION = b"brain.Event:2"
_UNSAFE = re.compile(r"[^\w.,=+ -]")
_STRING = 7
"""DataType.DT_STRING of tensor.proto."""


class TensorBoardExport:
    """Writes the curves for TensorBoard: `tensorboard --logdir DIR`; a second export replaces the folder, at once.

    The runs are `RUN/exact` and `RUN/batch_mean`, with the variant behind the run's name unless it is raw; the tags are
    `eval/DATA/METRIC`, with the slice behind it.  TensorBoard keeps float32.  What has no step or no value, and what
    failed, stands in the text `not drawn` of its run.  All times are 0: the same records give the same bytes.
    """

    name: ClassVar[str] = "tensorboard"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        """Write every record below a folder; raise UsageError for standard output, which is no folder."""
        if target == "-":
            raise UsageError("tensorboard: expected a folder to write, such as: milepost export tensorboard tb")
        runs = _by_run(records)
        with folder_target(target, "tensorboard export of Milepost") as folder:
            for run, (values, texts) in sorted(runs.items()):
                os.makedirs(os.path.join(folder, run))
                with open(os.path.join(folder, run, _FILE), "wb") as file:
                    file.writelines(_framed(event) for event in _events(values, texts))


_Values = list[tuple[int, str, float]]


def _by_run(records: Iterable[Mapping[str, Json]]) -> dict[str, tuple[_Values, list[str]]]:
    """Return values (step, tag, number) and texts of each run's folder; the number of a folder keeps two runs apart."""
    held: dict[tuple[str, str, str], tuple[_Values, list[str]]] = defaultdict(lambda: ([], []))
    for record in records:
        row = flat_record(record)
        kind = str(row["estimator"] or "exact")
        values, texts = held[str(row["run"]), str(row["variant"] or "raw"), kind]
        tag = _tag(row)
        if row["step"] is None or row["value"] is None:
            about = f"{row['status']}, step {row['step']}, value {row['value']}"
            texts.append(f"{tag or row['path']}: {about} {row['note'] or ''}".rstrip())
        else:
            values.append((int(row["step"]), tag, float(row["value"])))
    found: dict[str, tuple[_Values, list[str]]] = {}
    for (run, variant, kind), parts in sorted(held.items()):
        name = _safe(run) + ("" if variant == "raw" else f" {_safe(variant)}")
        folder = os.path.join(name, _safe(kind))
        while folder in found:
            name += "_"
            folder = os.path.join(name, _safe(kind))
        found[folder] = parts
    return found


def _tag(row: Mapping[str, Any]) -> str:
    if not row["metric"]:
        return ""
    size = f", batches of {row['batch_size']}" if row["batch_size"] else ""
    part = "" if row["slice"] in (None, "all") else f"/{row['slice']}"
    return f"eval/{row['data']}/{row['metric']}{part}{size}"


def _safe(name: str) -> str:
    """Return a name that is one folder's, whatever it holds.

    >>> _safe("../a/b"), _safe("")
    ('.._a_b', '_')
    """
    return _UNSAFE.sub("_", name)[:120].strip() or "_"


def _events(values: _Values, texts: list[str]) -> Iterator[bytes]:
    """Yield the events of a file as bytes: version, values in the order of their steps, then what is not drawn."""
    yield _field(3, _VERSION)
    for step, tag, value in sorted(values, key=lambda one: one[:2]):
        one = _field(1, tag.encode()) + _key(2, 5) + struct.pack("<f", _float32(value))
        yield _number(2, step) + _field(5, _field(1, one))
    if texts:
        words = "\n".join(f"- {text}" for text in texts).encode()
        tensor = _number(1, _STRING) + _field(2, _field(2, _number(1, 1))) + _field(8, words)
        plugin = _field(1, _field(1, b"text"))
        yield _field(5, _field(1, _field(1, b"not drawn") + _field(8, tensor) + _field(9, plugin)))


def _float32(value: float) -> float:
    """Return a number that float32 holds: beyond its range an infinity, as a cast gives."""
    largest = 3.4028235677973366e38
    return value if abs(value) < largest else float("inf") if value > 0 else float("-inf") if value < 0 else value


def _framed(event: bytes) -> bytes:
    head = struct.pack("<Q", len(event))
    return head + _sum(head) + event + _sum(event)


def _sum(data: bytes) -> bytes:
    return struct.pack("<I", masked(crc32c(data)))


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _field(field: int, data: bytes) -> bytes:
    return _key(field, 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
