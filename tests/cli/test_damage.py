"""A file of a store that cannot be read is named, and never hides the others."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests._material import Ended, command
from tests.cli._runs import evaluated

from milepost.errors import StoreError
from milepost.store.store import Store

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda data: b"{\xff",
    "cut": lambda data: data[: len(data) // 2],
    "another file": lambda data: b'{"a": [1]}',
    "other values": lambda data: data.replace(b'"name":"step-2"', b'"name":null').replace(b"step-2.", b"step\xff2."),
}


def damaged(store: Path, pattern: str, how: str) -> str:
    """Damage one file of the checkpoint of step 2; return its name."""
    digest = next(row["digest"] for row in Store.open(store).listing().checkpoints() if row["step"] == 2)
    found = [path for path in store.glob(pattern) if digest.encode() in path.read_bytes()]
    assert found, pattern
    before = found[0].read_bytes()
    found[0].chmod(0o644)
    found[0].write_bytes(DAMAGE[how](before))
    assert found[0].read_bytes() != before
    return found[0].name


def asked(store: Path, *words: str) -> Ended:
    ended = command(*words, "--store", store)
    assert "Traceback" not in ended.stderr
    return ended


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.usefixtures("nothing_is_forced")
def test_a_damaged_record_of_a_checkpoint_is_left_out_and_named(tmp_path: Path, how: str) -> None:
    store = evaluated(tmp_path, 1, 2, 3)
    name = damaged(store, "runs/*/checkpoints/*.json", how)
    for words in (["ls"], ["show", "1"], ["best", "--metric", "top1"], ["failures"], ["export", "csv"], ["report"]):
        ended = asked(store, *words)
        assert ended.returncode == 3, (words, ended.stderr)
        assert f"left out: {store}" in ended.stderr
        assert name in ended.stderr, words
    listed = asked(store, "ls").stdout
    assert "step-1" in listed
    assert "step-3" in listed
    assert asked(store, "show", "2").returncode == 2


@pytest.mark.parametrize("how", ["garbage", "cut", "another file"])
@pytest.mark.usefixtures("nothing_is_forced")
def test_damaged_results_hide_no_others(tmp_path: Path, how: str) -> None:
    store = evaluated(tmp_path, 1, 2, 3)
    name = damaged(store, "evaluations/*/*/results.*", how)
    for words in (["ls", "--json"], ["best", "--metric", "top1"], ["compare", "1", "3"], ["score", "--all"]):
        ended = asked(store, *words, *(["--metric", "top_k(k=3)"] if words[0] == "score" else []))
        assert ended.returncode == (3 if name in ended.stderr else 0), (words, ended.stderr)
    assert name in asked(store, "ls").stderr
    lines = [json.loads(line) for line in asked(store, "ls", "--json").stdout.splitlines()]
    assert {line["checkpoint"]["step"] for line in lines} >= {1, 3}


@pytest.mark.usefixtures("nothing_is_forced")
def test_damaged_columns_leave_one_untested(tmp_path: Path) -> None:
    store = evaluated(tmp_path, 1, 2, 3)
    key = next(key for key in Store.open(store).evaluations() if store.joinpath("evaluations", key[0], key).exists())
    columns = next(store.joinpath("evaluations", key[0], key).glob("columns.*"))
    columns.chmod(0o644)
    columns.write_bytes(b"PK")
    for words in (["best", "--metric", "top1"], ["report"], ["show", "1"], ["show", "2"], ["show", "3"]):
        assert asked(store, *words).returncode in (0, 3), words
    assert asked(store, "best", "--metric", "top1").returncode == 3


@pytest.mark.usefixtures("nothing_is_forced")
def test_what_decides_on_files_or_evaluates_is_not_lenient(tmp_path: Path) -> None:
    store = evaluated(tmp_path, 1, 2, 3)
    name = damaged(store, "runs/*/checkpoints/*.json", "cut")
    ended = asked(store, "gc", str(tmp_path / "lenet"), "--metric", "top1", "--delete")
    assert ended.returncode == 2
    assert name in ended.stderr
    with pytest.raises(StoreError, match=name):
        Store.open(store).listing()
