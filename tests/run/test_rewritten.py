"""A checkpoint that is rewritten in place, its size and times restored, is another one; one that was touched is not."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from tests._material import (
    Counted,
    Events,
    checkpoints,
    command,
    evaluation_of,
    examples,
    go,
    linear,
    planned,
    save,
    weights_of,
)
from tests.checkpoints._tf_writer import write_bundle
from tests.watch import _watching

from milepost.core.types import Array
from milepost.report.best import best_of
from milepost.store.store import Store

Write = Callable[[Path, Mapping[str, Array]], object]
ROWS = 700


def torch_zip(path: Path, arrays: Mapping[str, Array]) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def torch_legacy(path: Path, arrays: Mapping[str, Array]) -> None:
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def bundle(path: Path, arrays: Mapping[str, Array]) -> None:
    write_bundle(path, arrays, shards=2)


def safe(path: Path, arrays: Mapping[str, Array]) -> None:
    safetensors.numpy.save_file(dict(arrays), path)


WRITERS: dict[str, Write] = {
    "step-1.npz": save,
    "step-1.safetensors": safe,
    "step-1.pt": torch_zip,
    "step-1.pth": torch_legacy,
    "model.ckpt-1.index": bundle,
}


def rewrite(folder: Path, change: Callable[[Path], object]) -> None:
    """Write all files of a folder again, each in place, of the same size, with the times that it had."""
    fresh = folder.parent / "fresh"
    fresh.mkdir(exist_ok=True)
    change(fresh)
    for file in fresh.iterdir():
        mine = folder / file.name
        before, content = mine.stat(), file.read_bytes()
        assert len(content) == before.st_size
        assert content != mine.read_bytes() or len(list(fresh.iterdir())) > 1
        with mine.open("r+b") as stream:
            stream.write(content)
        restored(mine, before)


def restored(path: Path, before: os.stat_result) -> None:
    """Give a file the times that it had; its ctime is another, as no program can set it."""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while (now := path.stat()).st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks every few ms
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def right(seed: int) -> float:
    inputs, labels = examples(ROWS)
    return float((linear(weights_of(seed), inputs).argmax(axis=1) == labels).mean())


def shown(store: Path) -> dict[str, float]:
    """Return top1 by the digest of the weights, of what paths hold now."""
    listing = Store.open(store).listing()
    digests = {row["digest"] for row in listing.checkpoints() if row["checkpoints"][0]["current"]}
    records = [item for item in listing.records(metric="top1") if item["estimator"] == "exact"]
    return {item["checkpoint"]["digest"]: item["value"] for item in records if item["checkpoint"]["digest"] in digests}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_rewritten_with_size_and_time_restored_is_evaluated(name: str, tmp_path: Path) -> None:
    folder, store = tmp_path / "run", tmp_path / "store"
    folder.mkdir()
    WRITERS[name](folder / name, weights_of(1))
    assert go(evaluation_of(ROWS), folder, store=store).value("top1") == right(1)
    rewrite(folder, lambda fresh: WRITERS[name](fresh / name, weights_of(2)))
    (decided,) = planned(evaluation_of(ROWS), folder, store=store).values()
    assert decided.startswith("evaluate: no result on this data yet")
    again = go(evaluation_of(ROWS), folder, store=store)
    assert (again.done, again.value("top1")) == ((1, 0, 0), right(2))
    assert list(shown(store).values()) == [right(2)]  # the older number stays on record, as superseded
    assert "overwritten: its file held other weights" in command("ls", "--store", store).stdout
    assert go(evaluation_of(ROWS), folder, store=store).done == (0, 1, 0)


def test_best_names_no_file_that_was_rewritten_with_size_and_time_restored(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    go(evaluation_of(ROWS), folder, store=store)
    assert best_of(Store.open(store), "top1").file.state == "holds these weights"
    rewrite(folder, lambda fresh: save(fresh / "step-1.npz", weights_of(2) if right(2) < right(1) else weights_of(3)))
    assert best_of(Store.open(store), "top1").file.state.startswith("touched since")
    go(evaluation_of(ROWS), folder, store=store)
    found = best_of(Store.open(store), "top1")
    assert (found.file.state, found.ranking.ranked[0]["value"]) == ("overwritten since", right(1))
    assert found.there_file is not None
    assert found.there_file.state == "holds these weights"


def test_one_shard_of_several_that_was_rewritten_is_noticed(tmp_path: Path) -> None:
    folder, store = tmp_path / "run", tmp_path / "store"
    folder.mkdir()
    bundle(folder / "model.ckpt-1.index", weights_of(1))
    go(evaluation_of(ROWS), folder, store=store)
    shard = folder / "model.ckpt-1.data-00001-of-00002"
    before, content = shard.stat(), bytearray(shard.read_bytes())
    content[0] ^= 1
    with shard.open("r+b") as stream:
        stream.write(content)
    restored(shard, before)
    again = go(evaluation_of(ROWS), folder, store=store)
    assert again.done == (0, 0, 1)
    assert "corrupt" in again.failures["model.ckpt-1.index"]  # the index holds the CRC of every tensor


def test_a_file_that_was_only_touched_is_digested_once_and_not_evaluated(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1, 2), tmp_path / "store"
    evaluation = evaluation_of(ROWS, predict=(predict := Counted()))
    go(evaluation, folder, store=store)
    records, calls = len(list(Store.open(store).checkpoints())), predict.calls
    os.link(folder / "step-1.npz", tmp_path / "copy.npz")
    (folder / "step-2.npz").chmod(0o600)
    for _ in range(2):
        assert go(evaluation, folder, store=store).done == (0, 2, 0)
    assert (predict.calls, len(list(Store.open(store).checkpoints()))) == (calls, records)
    assert len(list(store.glob("runs/*/verified/*"))) == 2  # the second run found the cache corrected


def test_a_plan_writes_nothing_of_what_it_digested(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "run", 1), tmp_path / "store"
    go(evaluation_of(ROWS), folder, store=store)
    os.link(folder / "step-1.npz", tmp_path / "copy.npz")
    before = sorted(store.rglob("*"))
    assert set(planned(evaluation_of(ROWS), folder, store=store).values()) == {"skip: nothing is missing"}
    assert sorted(store.rglob("*")) == before


def test_pins_and_releases_of_a_watch_do_not_have_weights_digested_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = checkpoints(tmp_path / "run", 1, 2), tmp_path / "store"
    (run / "DONE").touch()
    before = (run / "step-1.npz").stat().st_ctime_ns
    assert _watching.counts(_watching.go(tmp_path, run)) == {"evaluated": 2}
    assert (run / "step-1.npz").stat().st_ctime_ns != before  # it was pinned

    def refused(*_: object) -> None:
        raise AssertionError("the weights were digested again")

    monkeypatch.setattr("milepost.evaluator.Evaluator.identify", refused)
    assert go(evaluation_of(_watching.ROWS), run, store=store).done == (0, 2, 0)


def test_a_watch_that_is_started_later_notices_what_was_rewritten(tmp_path: Path) -> None:
    run = checkpoints(tmp_path / "run", 1)
    (run / "DONE").touch()
    _watching.go(tmp_path, run)
    os.remove(run / "DONE")
    rewrite(run, lambda fresh: save(fresh / "step-1.npz", weights_of(2)))
    (run / "DONE").touch()
    events: Events = _watching.go(tmp_path, run)
    inputs, labels = examples(_watching.ROWS)
    assert _watching.counts(events) == {"evaluated": 1}
    assert events.value("top1") == np.mean(linear(weights_of(2), inputs).argmax(axis=1) == labels)
