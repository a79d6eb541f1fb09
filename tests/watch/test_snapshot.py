"""The snapshot: what is new and what is gone, by listings and times alone, and without looking at much."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from milepost.watch.snapshot import SWEEP_SECONDS, FolderChanges, Snapshot


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(changes: FolderChanges) -> tuple[list[str], list[str]]:
    """Return the names of what is new and of what is gone."""
    return sorted(Path(file.path).name for file in changes.new), sorted(Path(file.path).name for file in changes.gone)


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def settle(path: Path) -> None:
    """Date a folder back, so that its listing is trusted."""
    os.utime(path, (1, 1))


def test_folders_that_come_later_and_go_again(tmp_path: Path) -> None:
    snapshot = Snapshot([str(tmp_path / "run"), str(tmp_path / "more-*")])
    assert names(snapshot.scan()) == ([], [])
    write(tmp_path / "run" / "deep" / "step-1.npz")
    write(tmp_path / "more-1" / "step-2.npz")
    assert names(snapshot.scan()) == (["step-1.npz", "step-2.npz"], [])
    assert snapshot.roots == [str(tmp_path / "run"), str(tmp_path / "more-1")]
    write(tmp_path / "run" / "deep" / "step-3.npz")
    (tmp_path / "run" / "deep" / "step-1.npz").unlink()
    assert names(snapshot.scan()) == (["step-3.npz"], ["step-1.npz"])
    (tmp_path / "run" / "deep" / "step-3.npz").unlink()
    (tmp_path / "run" / "deep").rmdir()
    assert names(snapshot.scan()) == ([], ["step-3.npz"])
    assert names(snapshot.scan()) == ([], [])


def test_what_a_search_passes_over_is_passed_over(tmp_path: Path) -> None:
    for name in (".hidden/step-1.npz", ".tmp.npz", "optimizer.pt", "store/store.json", "store/pins/a/step-1.npz"):
        write(tmp_path / name)
    write(tmp_path / "step-1.npz")
    assert names(Snapshot([str(tmp_path)]).scan()) == (["step-1.npz"], [])
    write(tmp_path / "step-2.pt")
    assert names(Snapshot([str(tmp_path)], "*.pt").scan()) == (["step-2.pt"], [])


def test_a_folder_that_is_one_checkpoint_is_one(tmp_path: Path) -> None:
    write(tmp_path / "step-1" / "__0_0.distcp")
    assert names(Snapshot([str(tmp_path)]).scan()) == (["step-1"], [])


def test_links_are_followed_but_no_circle_is_walked(tmp_path: Path) -> None:
    write(tmp_path / "run" / "step-1.npz")
    (tmp_path / "run" / "again").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "last.npz").symlink_to("step-1.npz")
    snapshot = Snapshot([str(tmp_path / "run")])
    assert names(snapshot.scan()) == (["last.npz", "step-1.npz"], [])
    write(tmp_path / "run" / "step-2.npz", "yy")
    (tmp_path / "run" / "last.npz").unlink()
    (tmp_path / "run" / "last.npz").symlink_to("step-2.npz")
    assert names(snapshot.scan()) == (["last.npz", "step-2.npz"], [])


@pytest.mark.parametrize("atomic", [True, False])
def test_an_overwritten_name_without_a_step_is_new_at_once(tmp_path: Path, atomic: bool) -> None:
    write(tmp_path / "last.npz", "one")
    snapshot = Snapshot([str(tmp_path)])
    snapshot.scan()
    if atomic:
        os.replace(write(tmp_path / ".new", "three"), tmp_path / "last.npz")
    else:
        write(tmp_path / "last.npz", "three")
    assert names(snapshot.scan()) == (["last.npz"], [])
    assert names(snapshot.scan()) == ([], [])


def test_a_step_overwritten_in_place_is_new_when_it_is_pending_or_with_the_next_sweep(tmp_path: Path) -> None:
    clock = Clock()
    path = write(tmp_path / "step-1.npz", "one")
    settle(tmp_path)
    snapshot = Snapshot([str(tmp_path)], clock=clock)
    snapshot.scan()
    write(path, "three")
    assert names(snapshot.scan()) == ([], [])
    assert names(snapshot.scan([str(path)])) == (["step-1.npz"], [])
    write(path, "fifteen")
    clock.now = SWEEP_SECONDS
    assert names(snapshot.scan()) == (["step-1.npz"], [])
    write(path, "seventeen")
    assert names(snapshot.scan(full=True)) == (["step-1.npz"], [])


def test_a_hard_link_or_a_chmod_is_no_new_content(tmp_path: Path) -> None:
    path = write(tmp_path / "step-1.npz")
    snapshot = Snapshot([str(tmp_path)])
    snapshot.scan()
    os.link(path, tmp_path / ".pin")
    path.chmod(0o600)
    assert names(snapshot.scan(full=True)) == ([], [])


def test_ten_thousand_files_that_rest_cost_one_look_at_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(10_000):
        (tmp_path / f"step-{step}.npz").touch()
    settle(tmp_path)
    clock = Clock()
    snapshot = Snapshot([str(tmp_path)], clock=clock)
    assert len(snapshot.scan().new) == 10_000
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(*words: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*words, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("stat", "lstat", "scandir"):
        counted(name)
    assert names(snapshot.scan()) == ([], [])
    assert calls["scandir"] == 0
    assert sum(calls.values()) <= 5
    (tmp_path / "step-10000.npz").touch()
    assert names(snapshot.scan()) == (["step-10000.npz"], [])
    assert calls["scandir"] == 1
    assert sum(calls.values()) <= 15
