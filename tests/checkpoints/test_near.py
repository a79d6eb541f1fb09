"""What is named where nothing is at a path."""

from pathlib import Path

import pytest
from tests._material import command

from milepost.checkpoints.discovery import find
from milepost.errors import UsageError


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for step in (80, 100, 120):
        for end in (".index", ".meta", ".data-00000-of-00001"):
            (tmp_path / f"model.ckpt-{step}{end}").touch()
    (tmp_path / ".model.ckpt-119").touch()
    (tmp_path / "model.log").touch()
    return tmp_path


def error_of(path: Path) -> str:
    with pytest.raises(UsageError, match="no such file or folder") as raised:
        find([str(path)])
    return str(raised.value)


def test_the_checkpoints_of_names_like_it_are_named_by_their_prefix(logs: Path) -> None:
    assert error_of(logs / "model.ckpt").endswith("; near it: model.ckpt-80, model.ckpt-100, model.ckpt-120")
    assert set(error_of(logs / "model.ckpt-119").partition("near it: ")[2].split(", ")) == {
        *("model.ckpt-80", "model.ckpt-100", "model.ckpt-120"),
    }


def test_nothing_is_named_that_is_unlike_or_in_a_large_folder(logs: Path) -> None:
    for path in (logs / "zzz", logs / "gone" / "model.ckpt"):
        assert error_of(path).endswith("no such file or folder")
    for number in range(1000):
        (logs / f"other-{number}").touch()
    assert error_of(logs / "model.ckpt").endswith("no such file or folder")


def test_a_folder_is_named(logs: Path) -> None:
    (logs / "checkpoints").mkdir()
    assert error_of(logs / "checkpoint").endswith("near it: checkpoints")


def test_inspect_names_them(logs: Path) -> None:
    ended = command("inspect", logs / "model.ckpt-119")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "model.ckpt-119: no such file or folder; near it: " in ended.stderr
    assert "model.ckpt-120" in ended.stderr
