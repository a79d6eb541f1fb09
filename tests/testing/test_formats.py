"""The format contract judges a toy format of one file, and finds each of its faults."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost._internal.fileid import identity_of
from milepost.core.protocols import Entry
from milepost.core.types import Array, CheckpointFiles, Extent, Table, Tensor
from milepost.errors import Corrupt, Torn
from milepost.testing import formats
from milepost.testing.formats import FormatCase, Law, check_format

MAGIC = b"TOY1"


class Toy:
    """A magic, the CRC-32 and length of what follows, one line of JSON, the arrays' bytes."""

    name = "toy"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        for entry in entries:
            if entry.head.startswith(MAGIC):
                yield CheckpointFiles(entry.path, self.name, (entry.path,), identity_of(entry.path))

    def read(self, found: CheckpointFiles) -> Table:
        data = Path(found.path).read_bytes()
        if len(data) < 12 or len(data) < 12 + int.from_bytes(data[8:12], "little"):
            raise Torn(f"{found.path}: cut off")
        if not self.sound(data):
            raise Corrupt(f"{found.path}: damaged")
        begin = data.index(b"\n", 12) + 1
        tensors = []
        for name, dtype, shape, nbytes in json.loads(data[12:begin]):
            tensors.append(Tensor(name, dtype, tuple(shape), Extent(found.path, begin, nbytes)))
            begin += nbytes
        return Table(self.name, tuple(tensors), checksum=True)

    def sound(self, data: bytes) -> bool:
        return data[4:8] == zlib.crc32(data[8:]).to_bytes(4, "little")

    def fetch(self, tensor: Tensor) -> bytes:
        raise Corrupt(tensor.name)


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    head = json.dumps([(name, array.dtype.name, array.shape, array.nbytes) for name, array in arrays.items()])
    body = head.encode() + b"\n" + b"".join(array.tobytes() for array in arrays.values())
    rest = len(body).to_bytes(4, "little") + body
    path.write_bytes(MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest)


def case(form: Toy, **changes: Any) -> FormatCase:
    settings: dict[str, Any] = {"checksummed": True, "hostile": (MAGIC, MAGIC + bytes(9)), **changes}
    return FormatCase(form, write, **settings)


def test_a_sound_toy_format_passes(tmp_path: Path) -> None:
    check_format(case(Toy()), tmp_path)


class TrustsLengths(Toy):
    """Fails on a cut file with an error that is not of the tree."""

    def read(self, found: CheckpointFiles) -> Table:
        data = Path(found.path).read_bytes()
        json.loads(data[12 : data.index(b"\n", 12)])
        return super().read(found)


class TrustsBytes(Toy):
    """Does not compare the checksum."""

    def read(self, found: CheckpointFiles) -> Table:
        try:
            return super().read(found)
        except (ValueError, TypeError) as error:
            raise Corrupt("no header") from error

    def sound(self, data: bytes) -> bool:
        return bool(data)


class TrustsNames(Toy):
    """Claims by the file's name."""

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        return (
            CheckpointFiles(one.path, "toy", (one.path,), identity_of(one.path))
            for one in entries
            if one.path.endswith(".ckpt")
        )


class Transposes(Toy):
    """Returns arrays the wrong way round."""

    def read(self, found: CheckpointFiles) -> Table:
        table = super().read(found)
        return Table("toy", tuple(Tensor(t.name, t.dtype, t.shape[::-1], t.where) for t in table.tensors))


class Touches(Toy):
    """Leaves a file beside the checkpoint."""

    def read(self, found: CheckpointFiles) -> Table:
        Path(found.path + ".cache").write_bytes(b"")
        return super().read(found)


class Runs(Toy):
    """Runs a program when it meets a hostile file."""

    def read(self, found: CheckpointFiles) -> Table:
        if Path(found.path).stat().st_size < 20:
            import subprocess  # noqa: PLC0415

            subprocess.run(["true"], check=True)
        return super().read(found)


@pytest.mark.parametrize(
    ("form", "law"),
    [
        (TrustsLengths, formats.law_cut_files),
        (TrustsBytes, formats.law_flipped_bits),
        (TrustsNames, formats.law_content_decides),
        (Transposes, formats.law_round_trip),
        (Touches, formats.law_reading_changes_nothing),
        (Runs, formats.law_hostile_files),
    ],
)
def test_each_fault_is_found(form: type[Toy], law: Law, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law(case(form()), tmp_path)


def test_examples_hold_every_dtype_and_odd_shapes() -> None:
    made = formats.examples(("float32", "bool"))
    assert {array.dtype.name for array in made.values()} == {"float32", "bool"}
    assert {(), (0, 3)} <= {array.shape for array in made.values()}
    assert not made["block.gaps"].flags.c_contiguous
    assert made["block.fortran"].flags.f_contiguous
    assert np.array_equal(made["block.transposed"].T, made["block.fortran"])
