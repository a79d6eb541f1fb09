"""A store that is deleted, renamed or replaced under a run or a watch: it is said, and nothing more is written."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests._material import (
    ENVIRONMENT,
    MILEPOST,
    Events,
    checkpoints,
    contents,
    evaluation_of,
    files_of,
    go,
    request_of,
)
from tests.watch._watching import FAST

from milepost.errors import StoreError
from milepost.run.run import run
from milepost.store._storage import FolderStorage
from milepost.store.pins import Pins
from milepost.store.store import Store
from milepost.watch.watch import watch

Change = Callable[[Path], Path | None]
"""Does something to a store; returns what then lies at its path, and is to stay as it is."""


def deleted(store: Path) -> None:
    shutil.rmtree(store)


def renamed(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))


def another(store: Path) -> Path:
    store.rename(store.with_name("elsewhere"))
    Store.create(store)
    return store


def copied(store: Path) -> Path:
    store.rename(store.with_name("elsewhere"))
    shutil.copytree(store.with_name("elsewhere"), store)
    return store


def a_link(store: Path) -> Path:
    other = store.with_name("other")
    shutil.copytree(store, other)
    store.rename(store.with_name("elsewhere"))
    store.symlink_to(other)
    return other


def a_file(store: Path) -> Path:
    shutil.rmtree(store)
    store.write_text("a file")
    return store


def held(place: Path | None) -> dict[str, bytes]:
    if place is None or place.is_file():
        return {} if place is None else {"": place.read_bytes()}
    return {name: Path(name).read_bytes() for name in files_of(place)}


CHANGES = (deleted, renamed, another, copied, a_link, a_file)


@pytest.mark.parametrize("verb", ["run", "watch"])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_written_into_what_is_not_the_store(verb: str, change: Change, folder: Path, store: Path) -> None:
    events, before = Events(), dict[str, bytes]()
    here: Path | None = None

    def listen(event: dict[str, Any]) -> None:
        nonlocal here, before
        events.append(event)
        if event["event"] == "record" and not before:
            here = change(store)
            before = held(here) or {"nothing": b""}

    (folder / "DONE").touch()
    request = request_of(evaluation_of(), folder, store=store, per_pass=1)
    with pytest.raises(StoreError, match=r"expected the folder of the store as it was opened, but .*start it again"):
        run(request, listen) if verb == "run" else watch(request, FAST, listen)
    assert before == (held(here) or {"nothing": b""})
    assert here is not None or not os.path.lexists(store)


def test_a_watch_that_waits_notices_it(folder: Path, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "ev.py"
    file.write_text("from tests._material import evaluation_of\nevaluation = evaluation_of()\n")
    words = [*MILEPOST, "watch", str(file), str(folder), "--store", str(store), "--json", "--engine", "inprocess"]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), os.getcwd()])}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ends = 0
            while ends < 3:
                ends += '"state": "done"' in process.stdout.readline()
            renamed(store)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 2, err
    assert "milepost: error: " in err
    assert "it is gone" in err
    assert "Traceback" not in err
    assert not store.exists()
    again = go(evaluation_of(), folder, store=store.with_name("elsewhere"))
    assert again.done == (0, 3, 0)


def test_what_was_finished_is_taken_up_in_the_store_that_was_opened(folder: Path, store: Path, tmp_path: Path) -> None:
    calm = tmp_path / "calm"
    go(evaluation_of(), folder, store=calm)

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "record" and store.exists():
            renamed(store)

    with pytest.raises(StoreError, match="it is gone"):
        run(request_of(evaluation_of(), folder, store=store, per_pass=1), listen)
    store.with_name("elsewhere").rename(store)
    assert go(evaluation_of(), folder, store=store).done == (2, 1, 0)
    mine = ("leases/", "workers/")  # those of this process, which lives: they are swept later
    left = {name: held for name, held in contents(store).items() if not any(mark in name for mark in mine)}
    assert left == contents(calm)


def test_no_operation_makes_a_store_again(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    model = checkpoints(tmp_path / "run", 1) / "step-1.npz"
    status = model.stat()
    wanted = [(str(model), status.st_dev, status.st_ino)]
    with store.pins as pins, store.worker() as worker:
        (pin,) = pins.hold(wanted)
        assert pin is not None
        renamed(store.path)
        for attempt in (
            lambda: store.storage.put("a/b", b"1"),
            lambda: store.storage.put("a/b", b"1", durable=False),
            lambda: store.storage.delete("store.json"),
            lambda: store.lease("0" * 32, "0-1", worker).acquire(),
            worker.touch,
            lambda: store.run_of(tmp_path),
            lambda: pins.hold(wanted),
            lambda: pins.add(pin, [str(model)]),
            lambda: pins.release(pin),
        ):
            with pytest.raises(StoreError, match="it is gone"):
                attempt()
    assert not store.path.exists()


def test_a_folder_that_goes_between_the_look_and_the_write_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(tmp_path / "store")
    monkeypatch.setattr(FolderStorage, "check", lambda self: None)
    renamed(store.path)
    for durable in (True, False):
        with pytest.raises(StoreError):
            store.storage.put("a/b", b"1", durable=durable)
    assert Pins(store.path).hold([(__file__, 1, 1)]) == [None]
    assert not store.path.exists()


def test_another_file_system_in_its_place(folder: Path, store: Path, tmp_path: Path) -> None:
    store.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(store)], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mount.stderr.decode().strip()}")
    try:

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "record" and os.path.ismount(store):
                subprocess.run(["umount", "-l", str(store)], check=True)

        with pytest.raises(StoreError, match="another folder is in its place"):
            run(request_of(evaluation_of(), folder, store=store, per_pass=1), listen)
        assert list(store.iterdir()) == []
    finally:
        while os.path.ismount(store):
            subprocess.run(["umount", "-l", str(store)], check=True)
