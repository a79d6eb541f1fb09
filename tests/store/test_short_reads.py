"""A system that reads and writes less at once than asked, or fails at reading: nothing is called damaged."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests._material import checkpoints, columns_of, command, contents, evaluation_of, go, same_columns

from milepost.errors import StoreError
from milepost.store.store import Store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], int]], None]:
    """Return what sets how many bytes a call gives that asks for so many."""

    def limit(most: Callable[[int], int]) -> None:
        pread, preadv, read, write = os.pread, os.preadv, os.read, os.write
        monkeypatch.setattr(os, "pread", lambda handle, size, at: pread(handle, most(size), at))
        monkeypatch.setattr(os, "read", lambda handle, size: read(handle, most(size)))
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, memoryview(data)[: most(len(data))]))

        def some(handle: int, buffers: list[Any], at: int) -> int:
            return preadv(handle, [memoryview(buffers[0])[: most(len(buffers[0]))]], at)

        monkeypatch.setattr(os, "preadv", some)

    return limit


def test_short_reads_and_writes(tmp_path: Path, reads: Callable[[Callable[[int], int]], None]) -> None:
    folder, calm, store = checkpoints(tmp_path / "lenet", 1, 2), tmp_path / "calm", tmp_path / "evals"
    go(evaluation_of(700), folder, store=calm)
    reads(lambda size: max(1, size // 3))
    assert go(evaluation_of(700), folder, store=store).done == (2, 0, 0)
    assert go(evaluation_of(700), folder, store=store).done == (0, 2, 0)
    same_columns(columns_of(store), columns_of(calm))
    for verb in (["ls", "--json"], ["show", "1"], ["compare", "1", "2"], ["export", "jsonl"]):
        short, whole = (command(*verb, "--store", place) for place in (store, calm))
        assert short.returncode == whole.returncode == 0, short.stderr
    assert contents(store) == contents(calm)


def test_a_read_that_fails_is_an_error_of_the_disk_and_not_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 1, 2), tmp_path / "evals"
    go(evaluation_of(700), folder, store=store)
    before = contents(store)

    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        with pytest.raises(StoreError, match=r"cannot be read \(Input/output error\); look at the disk"):
            Store.open(store).listing()
        ended = command("ls", "--store", store)
    assert ended.returncode == 3  # what cannot be read is named and left out
    assert "look at the disk or network" in ended.stderr
    assert contents(store) == before
    assert go(evaluation_of(700), folder, store=store).done == (0, 2, 0)
