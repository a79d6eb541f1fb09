"""Many tensors of a file need one open file, and each shows its own bytes for as long as it is held."""

import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from milepost.checkpoints.mapping import map_tensor
from milepost.core.types import Extent, Tensor
from milepost.errors import Torn

COUNT = 600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(np.arange(COUNT, dtype="<i4").tobytes())
    return path


def tensor(path: Path, number: int) -> Tensor:
    return Tensor(f"t{number}", "int32", (1,), Extent(str(path), 4 * number, 4))


def test_more_tensors_than_open_files_are_allowed(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, hard))
    try:
        held = [map_tensor(tensor(file, number)) for number in range(COUNT)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [int(one[0]) for one in held] == list(range(COUNT))


def test_a_map_ends_with_the_last_tensor_that_is_looked_at(file: Path) -> None:
    first, second = map_tensor(tensor(file, 1)), map_tensor(tensor(file, 2))
    del first
    gc.collect()
    assert second.tolist() == [2]
    assert str(file) in Path("/proc/self/maps").read_text()
    del second
    gc.collect()
    assert str(file) not in Path("/proc/self/maps").read_text()


def test_another_file_under_the_name_is_another_map(file: Path, tmp_path: Path) -> None:
    before = map_tensor(tensor(file, 5))
    (tmp_path / "b.bin").write_bytes(np.arange(COUNT, dtype="<i4")[::-1].tobytes())
    os.replace(tmp_path / "b.bin", file)
    assert (before.tolist(), map_tensor(tensor(file, 5)).tolist()) == ([5], [COUNT - 6])


def test_a_file_that_grew_or_was_cut_is_looked_at_again(file: Path) -> None:
    before = map_tensor(tensor(file, 5))
    with open(file, "ab") as stream:
        stream.write(np.array([77], "<i4").tobytes())
    assert map_tensor(tensor(file, COUNT)).tolist() == [77]
    os.truncate(file, 8 * 5)
    with pytest.raises(Torn):
        map_tensor(tensor(file, 50))
    assert before.tolist() == [5]
