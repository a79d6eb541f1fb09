"""What the reader checks in every table, so that no format has to: a toy format that believes what it is given."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from milepost._internal.fileid import identity_of
from milepost.checkpoints._files import checks
from milepost.checkpoints._files.layout import missing
from milepost.checkpoints.reader import read_table
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn, Vanished


class Believing:
    """Gives the tensors that it was made with."""

    name = "believing"

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def find(self, entries: Sequence[Entry]) -> list[CheckpointFiles]:
        return [CheckpointFiles(one.path, self.name, (one.path,), identity_of(one.path)) for one in entries]

    def read(self, files: CheckpointFiles) -> Table:
        here = (replace(one, where=replace(one.where, file=one.where.file or files.path)) for one in self.tensors)
        return Table(self.name, tuple(here))

    def fetch(self, tensor: Tensor) -> bytes:
        return bytes(tensor.where.nbytes)


def table_of(folder: Path, *tensors: Tensor) -> Table:
    path = folder / "a.bin"
    path.write_bytes(bytes([7, 0, 0, 0]) * 4)
    return read_table(
        Believing(*tensors), CheckpointFiles(str(path), "believing", (str(path),), identity_of(str(path)))
    )


def one(
    shape: tuple[int, ...] = (2, 2),
    where: Extent = Extent("", 0, 16),  # noqa: B008 - frozen
    name: str = "w",
    dtype: str = "float32",
) -> Tensor:
    return Tensor(name, dtype, shape, where)


@pytest.mark.parametrize(
    ("tensor", "kind", "message"),
    [
        (one((3, 2)), Corrupt, r"shape \[3, 2\] of float32 needs 24 bytes, 16 are there"),
        (one((-2, -2)), Corrupt, "other items than integers from 0"),
        (one((2.0, 2)), Corrupt, "other items than integers from 0"),  # type: ignore[arg-type] # what a format let by
        (one((1,) * 65), Corrupt, "not a list of at most 64 integers"),
        (one(where=Extent("", 4, 16)), Torn, "ends at byte 20, the file has 16"),
        (one(where=Extent("", -4, 16)), Corrupt, "no place in a file"),
        (one(where=Extent("", 1 << 62, 16)), Corrupt, "no place in a file"),
        (one(where=Extent("", 0, 16, "raw", (16, 4))), Corrupt, "reach 24 bytes, 16 are there"),
        (one(where=Extent("", 0, 16, "raw", (4, 4))), Corrupt, "reach 12 bytes, 16 are there"),
        (one(where=Extent("", 0, 16, "raw", (-8, 4))), Corrupt, "do not fit each other"),
        (one(where=Extent("", 0, 16, "raw", (4,))), Corrupt, "do not fit each other"),
        (one((1 << 40,), Extent("", 0, 4, "raw", (0,))), Corrupt, "a bomb, not read"),
        (one((1 << 40,), Extent("", 0, 4 << 40, "packed")), Corrupt, "a bomb, not read"),
        (one(where=Extent("/etc/hostname", 0, 16)), Corrupt, "none of the checkpoint's; it was not opened"),
        (one(where=missing("odd", "/etc/hostname")), Corrupt, "none of the checkpoint's"),
        (one(name="n" * 5000), Corrupt, "no Unicode text of at most 4,096 characters"),
        (one(name="\ud800"), Corrupt, "no Unicode text"),
    ],
)
def test_a_table_that_cannot_be_true_is_refused(
    tensor: Tensor, kind: type[CheckpointError], message: str, tmp_path: Path
) -> None:
    assert table_of(tmp_path, one()).tensors[0].shape == (2, 2)
    with pytest.raises(kind, match=message) as caught:
        table_of(tmp_path, one(), tensor)
    assert str(tmp_path) in str(caught.value) or "/etc/hostname" in str(caught.value)


def test_tensors_without_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "COUNT_LIMIT", 2)
    assert len(table_of(tmp_path, one(), one()).tensors) == 2
    with pytest.raises(Corrupt, match="3 tensors, at most 2 are read"):
        table_of(tmp_path, one(), one(), one())


def test_many_small_bombs_are_one(tmp_path: Path) -> None:
    packed = one((100 << 20,), Extent("", 0, 100 << 20, "packed"), dtype="int8")
    assert len(table_of(tmp_path, packed, packed).tensors) == 2
    with pytest.raises(Corrupt, match="16 bytes would unpack to 314,572,800: a bomb"):
        table_of(tmp_path, packed, packed, packed)


def test_a_file_that_went_meanwhile_is_vanished(tmp_path: Path) -> None:
    files = CheckpointFiles(str(tmp_path / "gone"), "believing", (str(tmp_path / "gone"),), identity_of(str(tmp_path)))
    with pytest.raises(Vanished, match="gone: no longer there"):
        read_table(Believing(one()), files)
    assert read_table(Believing(one(where=missing("odd", ""))), files).notes


def test_what_holds_for_every_format_is_added(tmp_path: Path) -> None:
    rows = one(), one((), Extent("", 0, 4), "iteration", "int32"), one((2,), missing("odd", ""), "odd", "void")
    table = table_of(tmp_path, *rows)
    assert (table.step, table.step_source) == (7, "content: iteration")
    assert table.notes[0] == "cannot be read, and is refused where the model needs it: odd (odd)"
    assert table.notes[1].startswith("no checksum: ")
    wrapped = table_of(tmp_path, replace(rows[0], group="model"), one((), Extent("", 0, 4), "best", "int32"))
    assert [item.role for item in wrapped.tensors] == ["weights", "bookkeeping"]
    assert table_of(tmp_path).notes == ("holds no tensors",)
    assert os.listdir(tmp_path) == ["a.bin"]
