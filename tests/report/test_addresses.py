"""Paths as addresses, and the checkpoints that are named where nothing is at an address."""

import re
from pathlib import Path
from typing import Any

import pytest

from milepost.errors import UsageError
from milepost.report.addresses import find


def row(path: str, step: int | None = None, **changes: Any) -> dict[str, Any]:
    name = Path(path).name.partition(".")[0]
    return {"run": "a-01234567", "path": path, "name": name, "step": step, "digest": path.encode().hex(), **changes}


def error_of(rows: list[dict[str, Any]], address: str) -> str:
    with pytest.raises(UsageError) as raised:
        find(rows, address)
    return str(raised.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path.cwd()


@pytest.mark.parametrize(
    ("stored", "address"),
    [
        ("ckpts/x.weights.h5", "ckpts/x.weights.h5"),
        ("ckpts/x.weights.h5", "./ckpts/x.weights.h5"),
        ("ckpts/x.weights.h5", "ckpts/../ckpts//x.weights.h5"),
        ("logs/run1/model.ckpt-120.index", "logs/run1/model.ckpt-120"),
        ("logs/run1/model.ckpt-120.index", "logs/run1/model.ckpt-120.index"),
        ("logs/export/.index", "logs/export/"),
        ("runs/bert/checkpoint-500/model.safetensors", "runs/bert/checkpoint-500"),
        ("runs/bert/checkpoint-500/model.safetensors", "runs/bert/checkpoint-500/"),
        ("runs/bert/checkpoint-500/unet/model.safetensors", "runs/bert/checkpoint-500/unet"),
        ("runs/saved/5", "runs/saved/5/"),
    ],
)
def test_a_path_is_an_address_from_the_working_directory_and_whole(here: Path, stored: str, address: str) -> None:
    meant, other = row(f"{here}/{stored}"), row(f"{here}/else/step-7.pt", 7)
    for given in (address, f"{here}/{address}", f"{address.rstrip('/')}:raw"):
        assert find([other, meant], given) is meant
    average = {**meant, "variant": "ema", "digest": "e" * 32}
    assert find([other, meant, average], address) is meant
    assert find([other, meant, average], f"{address.rstrip('/')}:ema") is average


def test_a_folder_that_is_not_a_checkpoints_own_is_no_address(here: Path) -> None:
    rows = [row(f"{here}/runs/bert/checkpoint-500/model.safetensors"), row(f"{here}/runs/bert/step-7.pt", 7)]
    for address in ("runs", "runs/bert", ".", "", f"{here}"):
        assert "no checkpoint is at" in error_of(rows, address)


def test_another_folder_with_a_file_of_the_same_name_is_not_meant(here: Path) -> None:
    assert "no checkpoint is at" in error_of([row(f"{here}/x/step-7.pt", 7)], "./y/step-7.pt")


def test_a_name_goes_before_a_path_and_a_path_before_a_digest(here: Path) -> None:
    path = row(f"{here}/beef", digest="1" * 32, name="other")
    assert find([path, row("/x/step-1.pt", digest="beef" * 8)], f"{here}/beef") is path
    assert find([path, row("/x/step-1.pt", digest="beef" * 8)], "./beef") is path
    named = row("/x/step-2.pt", name="./beef")
    assert find([path, named], "./beef") is named


def test_what_is_expected_names_a_path() -> None:
    assert "expected a step, run:step, a name, a path, or at least 4 digits of a digest" in error_of([], "x")


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("3", ["ckpt-3 is at step 69"]),
        ("5", ["epoch_05 is at step 115"]),
        ("a:3", ["ckpt-3 is at step 69"]),
        ("zzz:ckpt-3", ["ckpt-3 is at step 69"]),
        ("ckpt-3:swa", ["ckpt-3 is at step 69"]),
        ("else/ckpt-3.pt", ["ckpt-3 is at step 69"]),
        ("bset", ["best"]),
        ("qqqq", []),
        ("", []),
    ],
)
def test_the_nearest_are_named_with_a_command_that_shows_them(address: str, near: list[str]) -> None:
    rows = [
        *(row("/r/ckpt-3.pt", 69), row("/r/epoch_05.pt", 115), row("/r/best.pt")),
        row("/r/unlike.pt", 1000),
    ]
    first, *lines = error_of(rows, address).splitlines()
    assert first.startswith(f"no checkpoint is at {address!r}")
    assert [line.partition(":")[0].strip() for line in lines][: len(near) or None] == near
    for line in lines:
        shown = re.search(r"`milepost show (\S+)`", line)
        assert shown
        assert find(rows, shown[1])["name"] == line.split()[0].rstrip(":")


def test_at_most_three_are_named() -> None:
    assert len(error_of([row(f"/r/step-{n}.pt", n) for n in range(100, 120)], "step-99").splitlines()) == 4
