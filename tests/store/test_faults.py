"""Faults of the disk under the store: full, read-only, failing, and cut from power, at every single operation.

The store opens afterwards, what was finished stays as it was, nothing half is taken for whole, a second run ends as an
undisturbed one, and what the user reads says what happened.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store._disk import FAULTS, SYNCS, Disk, after_power_cut, always, once
from tests.store._work import KEY, check_whole, contents, made_part, made_record

from milepost._internal.atomic import PREFIX
from milepost.core.types import Identity
from milepost.errors import StoreError
from milepost.store._storage import FolderStorage
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

SEEN = CheckpointRecord("lenet", "/models/lenet/1", Identity(1, 1, 1, 1, 1), "1", failure=("torn", "7 bytes missing"))
_MENDED: set[str] = set()
Promise = tuple[int, str, bytes | None]


def work(folder: Path) -> None:
    """Do once, in little, each thing that is done to a store; what is there is left."""
    store = Store.create(folder)
    run = store.run_of("/models/lenet")
    store.add_checkpoint(SEEN)
    store.retry_requests.put(SEEN)
    store.add_checkpoint(replace(SEEN, failure=None, digest=f"{1:032}"))
    dataset, evaluation = store.dataset("d" * 32), store.evaluation(KEY)
    evaluation.describe({"weights": f"{1:032}", "run": run})
    evaluation.failures.publish(1, {"kind": "crashed", "message": "signal 9"})
    parts = evaluation.parts("kept")
    for start, stop in ((0, 256), (256, 400)):
        dataset.add(start, stop, {"labels": np.arange(start, stop) % 10})
        if not any(first <= start and stop <= last for first, last in parts.coverage()):
            parts.publish(made_part(start, stop))
    dataset.seal(400)
    parts.seal(400)
    evaluation.results.publish([(made_record(), {"confusion": np.eye(3)})])


@contextmanager
def promises(disk: Disk, folder: Path) -> Iterator[list[Promise]]:
    """Note what a put that came back, and so is finished, holds; None from the moment its deletion was begun."""
    made: list[Promise] = []
    put, delete = FolderStorage.put, FolderStorage.delete

    def noted_put(self: FolderStorage, name: str, data: Any, *, durable: bool = True) -> bool:
        won = put(self, name, data, durable=durable)
        with open(folder / name, "rb") as stream:  # unwatched, as the builtin is
            made.append((len(disk.log), name, stream.read()))
        return won

    def noted_delete(self: FolderStorage, name: str) -> None:
        made.append((len(disk.log), name, None))
        delete(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderStorage, "put", noted_put)
        patch.setattr(FolderStorage, "delete", noted_delete)
        yield made


def standing(made: list[Promise], until: int) -> dict[str, bytes]:
    """Return what was finished, and not deleted, by an operation."""
    found: dict[str, bytes] = {}
    for at, name, data in made:
        if at <= until and data:
            found[name] = data
        elif at <= until:
            found.pop(name, None)
    return found


def sound(folder: Path, finished: dict[str, bytes], calm: dict[str, bytes], where: str) -> None:
    """Check a folder after a fault: finished files unchanged, nothing half, and a second run mends the rest."""
    for name, data in finished.items():
        assert (folder / name).exists(), f"{where}: {name} is lost"
        assert (folder / name).read_bytes() == data, f"{where}: {name} has changed"
    if not _is_new(folder):
        return
    check_whole(folder)
    for path in folder.rglob("*"):
        if path.is_file() and not path.stat().st_size and not path.name.startswith("."):
            os.utime(path, (0, 0))  # an empty claim: taken over once it is old
    if (folder / "store.json").exists() and (folder / "store.json").stat().st_size:
        Store.open(folder).sweep()
    work(folder)
    check_whole(folder)
    # This process is alive, and so its rubbish is not swept yet.
    left = {name: data for name, data in contents(folder).items() if PREFIX not in name}
    assert left == calm, where


def _is_new(folder: Path) -> bool:
    """Return whether a folder like this one was not tried yet: many faults leave the very same."""
    held = {}
    for path in folder.rglob("*"):
        name = re.sub(r"-\d+-\d+-\d+$", "", path.relative_to(folder).as_posix())  # less the numbers of a temporary name
        data = path.read_bytes() if path.is_file() else None
        held[name] = len(data) if data is not None and b'"id":' in data else data  # a store's id is random
    state = str(sorted(held.items()))
    known = state in _MENDED
    _MENDED.add(state)
    return not known


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("calm") / "store"
    work(folder)
    return contents(folder)


@pytest.fixture(autouse=True)
def _nothing_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What matters is that it is asked for; in earnest it would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def operations(folder: Path) -> list[str]:
    folder.parent.mkdir()
    disk = Disk(folder.parent)
    with disk.watched():
        work(folder)
    return disk.kinds


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_disk_that_fails_at_any_operation(fault: str, stride: int, tmp_path: Path, calm: dict[str, bytes]) -> None:
    strikes, from_nth = FAULTS[fault]
    kinds = operations(tmp_path / "counted" / "store")
    chosen = [number for number, kind in enumerate(kinds, 1) if strikes is None or kind in strikes]
    assert len(chosen) > 50
    chosen = chosen[::stride]
    message: list[str] = []
    for at in chosen:
        place = tmp_path / str(at)
        folder = place / "store"
        place.mkdir()
        disk = Disk(place)
        disk.fault = from_nth(at)
        with disk.watched(), promises(disk, folder) as made:
            try:
                work(folder)
            except StoreError as error:
                message.append(str(error))
        sound(folder, standing(made, len(disk.log)), calm, f"{fault} at operation {at}, {kinds[at - 1]}")
    assert len(message) > len(chosen) // 3
    assert [
        text for text in message if not re.search(rf"{tmp_path}.*\(.*\); [a-z]", text)
    ] == []  # where, what, what to do


def test_what_the_user_reads(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    message = {
        errno.ENOSPC: "No space left on device.*free some.*run it again",
        errno.EROFS: "Read-only file system.*--store",
        errno.EIO: "Input/output error.*nothing that was finished is lost",
    }
    for code, words in message.items():
        disk = Disk(tmp_path)
        disk.fault = always(code, 1, {"create"})
        with disk.watched(), pytest.raises(StoreError, match=words):
            store.storage.put("a/b", b"1")


@pytest.mark.parametrize(("names", "content"), [("forced", "nothing"), ("all", "half"), ("worst", "nothing")])
def test_a_power_cut_after_any_operation(
    names: str, content: str, stride: int, tmp_path: Path, calm: dict[str, bytes]
) -> None:
    disk = Disk(tmp_path)
    folder = tmp_path / "store"
    with disk.watched(), promises(disk, folder) as made:
        work(folder)
    for cut in range(0, len(disk.log) + 1, stride):
        place = tmp_path / f"cut-{cut}"
        after_power_cut(disk.log[:cut], place, names=names, content=content)
        sound(place / "store", standing(made, cut), calm, f"cut after {cut} operations: {disk.log[cut - 1][:2]}")


def test_what_a_failed_run_left_is_forced_by_the_next(stride: int, tmp_path: Path, calm: dict[str, bytes]) -> None:
    kinds = operations(tmp_path / "counted" / "store")
    chosen = [number for number, kind in enumerate(kinds, 1) if kind in SYNCS]
    assert len(chosen) > 20
    for at in chosen[::stride]:
        place = tmp_path / str(at)
        place.mkdir()
        disk = Disk(place)
        disk.fault = once(errno.EIO, at)
        with disk.watched(), promises(disk, place / "store") as made:
            with suppress(StoreError):  # not where a seal was named and then asked for again
                work(place / "store")
            assert disk.count >= at
            disk.fault = once(errno.EIO, 0)
            work(place / "store")
        after_power_cut(disk.log, place / "cut", names="worst", content="nothing")
        left = Store.open(place / "cut" / "store").evaluation(KEY).parts("kept")
        assert left.coverage() == [(0, 400)], f"error at operation {at}: evaluated rows are lost"
        sound(place / "cut" / "store", standing(made, len(disk.log)), calm, f"error at operation {at}, then a cut")


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    work(tmp_path / "store")
    store = Store.open(tmp_path / "store")
    disk = Disk(tmp_path)
    disk.fault = always(errno.EIO, 1, {"listdir"})
    with disk.watched(), pytest.raises(StoreError, match=r"store/runs: cannot be read \(Input/output error\); look at"):
        store.listing()


def claim(folder: Path) -> None:
    """Open, sweep, claim, give back, list: what a run does besides."""
    store = Store.open(folder)
    store.sweep()
    with store.worker() as worker:
        lease = store.lease(KEY, "0-400", worker)
        assert lease.acquire()
        worker.touch()
        lease.release()
    list(store.checkpoints())
    assert store.evaluation(KEY).parts("kept").read().coverage == [(0, 400)]
    store.runs()


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faults_while_claiming_and_reading_are_store_errors(
    fault: str, stride: int, tmp_path: Path, calm: dict[str, bytes]
) -> None:
    folder = tmp_path / "store"
    work(folder)
    disk = Disk(tmp_path)
    with disk.watched():
        claim(folder)
    strikes, from_nth = FAULTS[fault]
    chosen = [number for number, kind in enumerate(disk.kinds, 1) if strikes is None or kind in strikes]
    assert len(chosen) > 5
    chosen = chosen[::stride]
    raised = 0
    for at in chosen:
        disk = Disk(tmp_path)
        disk.fault = from_nth(at)
        try:
            with disk.watched():
                claim(folder)
        except StoreError:
            raised += 1
        for name in ("workers", "leases"):
            shutil.rmtree(folder / name, ignore_errors=True)  # of this process, which is alive
        left = {name: data for name, data in contents(folder).items() if PREFIX not in name}
        assert left == calm, f"{fault} at operation {at}"
    assert raised > len(chosen) // 3
