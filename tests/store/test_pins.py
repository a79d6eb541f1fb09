"""Pins: links that hold what training deletes, shared by all watchers of a store, swept when they are of no use."""

import os
import shutil
from pathlib import Path

import pytest

from milepost._internal.process import Owner
from milepost.store.pins import Pin, Pins
from milepost.store.store import Store


def key(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_dev, status.st_ino


def hold(pins: Pins, path: Path) -> Pin | None:
    (pin,) = pins.hold([key(path)])
    return pin


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "run" / "step-1.npz"
    made.parent.mkdir()
    made.write_bytes(b"weights")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_a_pin_is_a_link_in_the_store_and_outlives_the_file(file: Path, store: Store) -> None:
    pin = hold(store.pins, file)
    assert pin is not None
    assert os.path.samefile(pin.link, file)
    assert Path(pin.link).is_relative_to(store.path)
    assert os.listdir(file.parent) == ["step-1.npz"]
    file.unlink()
    assert list(Pins(store.path).left()) == [(pin, None)]  # whoever looks
    assert Path(pin.link).read_bytes() == b"weights"
    store.pins.release(pin)
    store.pins.release(pin)
    assert list(store.pins.left()) == []
    with store.pins:
        assert (store.path / "pins").is_dir()
    assert not (store.path / "pins").exists()


@pytest.mark.parametrize("after", [0, 1])
def test_what_a_kill_left_of_a_release_is_swept(
    after: int, file: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = store.pins
    pin = hold(pins, file)
    assert pin is not None
    file.unlink()

    def killed(folder: str, **_: object) -> None:
        for path in sorted(Path(folder).iterdir())[:after]:
            path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            pins.release(pin)
    assert list(pins.left()) == []
    monkeypatch.setattr(Owner, "alive", lambda _: False)
    assert pins.sweep() == 1
    assert not list(store.path.glob("pins/*"))


def test_two_watchers_share_a_pin(file: Path, store: Store) -> None:
    first = hold(Pins(store.path), file)
    assert first is not None
    assert hold(Pins(store.path), file) == first
    assert file.stat().st_nlink == 2


def test_a_link_is_followed_to_what_it_names(file: Path, store: Store) -> None:
    last = file.parent / "last.npz"
    last.symlink_to(file.name)
    pin = hold(store.pins, last)
    assert pin is not None
    file.unlink()
    assert not os.path.islink(pin.link)
    assert (os.path.basename(pin.link), Path(pin.link).read_bytes()) == ("last.npz", b"weights")


def test_what_was_replaced_since_it_was_seen_is_not_pinned_for_it(file: Path, store: Store) -> None:
    seen = key(file)
    other = file.parent / ".new"
    other.write_bytes(b"others")
    os.replace(other, file)
    pins = store.pins
    assert pins.hold([seen, (str(file.parent / "gone.npz"), 1, 2)]) == [None, None]
    assert pins.trouble is None
    assert list(pins.left()) == []


def test_where_links_fail_it_is_reported(file: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    pins = store.pins
    noted = hold(pins, file)
    assert noted is not None
    assert not noted.holds
    assert pins.trouble == f"{file}: Operation not permitted"
    file.unlink()
    ((pin, then),) = Pins(store.path).left()  # whoever looks knows what was there
    assert then is not None
    assert (pin, then.size) == (noted, len(b"weights"))
    pins.release(pin)
    assert list(pins.left()) == []


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("m.index", "m.data-0", "m.data-1"):
        (folder / name).write_text(name)
    return folder / "m.index"


def test_a_checkpoint_of_several_files_is_pinned_with_all_of_them_also_those_that_come_late(
    bundle: Path, store: Store
) -> None:
    first, late = (str(bundle.with_suffix(f".data-{number}")) for number in (0, 1))
    pins = store.pins
    (pin,) = pins.hold([key(bundle)], {str(bundle): [first]})
    assert pin is not None
    assert sorted(os.listdir(os.path.dirname(pin.link))) == ["@pin.json", "m.data-0", "m.index"]
    assert pins.hold([key(bundle)], {str(bundle): [first, late]}) == [pin]
    shutil.rmtree(bundle.parent)
    here = Path(pin.link).parent
    assert [(here / name).read_text() for name in ("m.index", "m.data-0", "m.data-1")] == [
        "m.index",
        "m.data-0",
        "m.data-1",
    ]


def test_a_folder_is_pinned_file_by_file(bundle: Path, store: Store) -> None:
    folder = bundle.parent
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_text("x")
    files = [str(folder / name) for name in ("deep/x", "m.data-0", "m.index")]
    _, device, inode = key(bundle)
    (pin,) = store.pins.hold([(str(folder), device, inode)], {str(folder): files})
    assert pin is not None
    shutil.rmtree(folder)
    assert (Path(pin.link) / "deep" / "x").read_text() == "x"
    assert list(store.pins.left()) == [(pin, None)]


def test_a_sweep_keeps_what_is_nowhere_else(file: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = file.parent / "step-2.npz"
    other.write_bytes(b"more")
    pins = store.pins
    kept, idle = hold(pins, file), hold(pins, other)
    assert kept is not None
    assert idle is not None
    (store.path / "pins" / f"new-{Owner.me().text()}-7").mkdir()
    file.unlink()
    assert pins.sweep() == 0  # their maker is alive
    monkeypatch.setattr(Owner, "alive", lambda _: False)
    assert pins.sweep() == 1  # the half-made one: a watch that was killed may come back
    for pin in (kept, idle):
        os.utime(Path(pin.link).parent / "@pin.json", (1, 1))
    assert pins.sweep() == 1
    assert list(pins.left()) == [(kept, None)]
