import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.store.make_store import METRICS, digest_of, make_store, payload

from milepost.core.types import Identity
from milepost.errors import StoreError
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.index import Index
from milepost.store.store import Store

DIGEST = "ab" * 16
SEEN = "2026-01-01T00:00:0{}Z"


def see(store: Store, name: str, second: int = 0, **changes: Any) -> CheckpointRecord:
    described = {"digest": DIGEST} if "failure" not in changes else {}
    checkpoint = CheckpointRecord(
        store.run_of("/models/lenet"),
        f"/models/lenet/{name}.pt",
        Identity(1, second, 1, 1, 1),
        name,
        **{"signature": "sig", "seen": SEEN.format(second), **described, **changes},
    )
    assert store.add_checkpoint(checkpoint)
    return checkpoint


def snapshot(store: Store) -> tuple[Any, ...]:
    with store.index() as index:
        return index.records(), index.checkpoints(), [json.loads(line) for line in index.lines()]


def test_a_rebuilt_index_answers_as_the_one_that_grew(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    for number in range(3):
        see(store, f"step-{number}", step=number, digest=f"{number:032}")
        evaluation = store.evaluation(f"{number:032}")
        evaluation.write_spec({"weights": f"{number:032}"})
        for rows in (100, 10_000):
            evaluation.records.publish(payload("top1", number, rows=rows))
            snapshot(store)
    store.storage.delete("evaluations/00/00000000000000000000000000000002/records/top1-x.json")
    see(store, "bad", failure=("corrupt", "checksum"))
    grown = snapshot(store)
    (tmp_path / "s" / "index.sqlite").unlink()
    assert snapshot(store) == grown
    records, checkpoints, lines = grown
    assert records == lines
    assert [row["n"] for row in records] == [10_000] * 3
    assert [(row["name"], row["state"]) for row in checkpoints] == [
        *((f"step-{number}", "done") for number in range(3)),
        ("bad", "failed"),
    ]


def test_record_form_is_the_published_one(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 1, ["top1"])
    exact, mean = snapshot(store)[0]
    keys = ["event", "run", "checkpoint", "data", "slice", "metric", "estimator", "value", "numerator", "denominator"]
    keys += ["n", "intervals", "tied", "nonfinite", "status"]
    assert list(exact) == keys
    assert list(mean) == [*keys[:7], "batch_size", *keys[7:]]
    run = store.run_of(tmp_path / "lenet")
    where = {"path": "/models/lenet/step-100.pt", "step": 100, "digest": digest_of(run, 100), "variant": "raw"}
    assert exact["checkpoint"] == where
    assert (exact["event"], exact["run"], exact["status"]) == ("record", run, "ok")


def test_larger_coverage_supersedes_then_the_newer_evaluation(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "step-1", step=1)
    for age, key in ((300, "aa" * 16), (100, "bb" * 16), (200, "cc" * 16)):
        evaluation = store.evaluation(key)
        evaluation.write_spec({"weights": DIGEST})
        record = payload("top1", 1, rows=500)
        record["values"][0]["value"] = age / 1000
        evaluation.records.publish(record)
        moment = time.time() - age
        os.utime(tmp_path / "s" / evaluation.folder / "spec.json", (moment, moment))
    assert [row["value"] for row in snapshot(store)[0]] == [0.1]
    full = payload("top1", 1)
    store.evaluation("aa" * 16).records.publish(full)
    assert [row["n"] for row in snapshot(store)[0]] == [10_000]


def test_three_names_of_one_content_are_one_row(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    for name, step in (("best", None), ("last", 900), ("step-900", 900)):
        see(store, name, step=step)
    see(store, "last", second=5, step=1000, digest="cd" * 16)
    first, second = snapshot(store)[1]
    assert first["name"] == "step-900"
    assert [item["name"] for item in first["checkpoints"]] == ["step-900", "last", "best"]
    assert [item["current"] for item in first["checkpoints"]] == [True, False, True]
    assert (second["name"], second["state"]) == ("last", "seen")


def test_a_failure_is_shown_until_a_newer_success(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "a", second=1, failure=("torn", "12 bytes missing"), signature="")
    see(store, "a", second=1, failure=("torn", "8 bytes missing"), signature="", attempt=2)
    failed = snapshot(store)[1]
    assert [(row["digest"], row["failure"]) for row in failed] == [
        (None, {"kind": "torn", "message": "8 bytes missing"})
    ]
    see(store, "a", second=2)
    assert [row["digest"] for row in snapshot(store)[1]] == [DIGEST]
    see(store, "a", second=3, failure=("corrupt", "checksum"), signature="")
    assert [row["digest"] for row in snapshot(store)[1]] == [DIGEST, None]


def test_an_evaluation_that_failed_says_so(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "a")
    evaluation = store.evaluation("aa" * 16)
    evaluation.write_spec({"weights": DIGEST})
    evaluation.failures.publish(1, {"kind": "crashed", "message": "signal 9"})
    (row,) = snapshot(store)[1]
    assert (row["state"], row["failure"]) == ("failed", {"kind": "crashed", "message": "signal 9"})
    evaluation.records.publish(payload("top1", 1))
    (row,) = snapshot(store)[1]
    assert (row["state"], row["failure"]) == ("done", None)


@pytest.mark.parametrize("damage", ["garbage", "version", "tables", "body"])
def test_a_damaged_or_foreign_index_is_rebuilt(tmp_path: Path, damage: str) -> None:
    store = make_store(tmp_path / "s", 30)
    before = snapshot(store)
    place = tmp_path / "s" / "index.sqlite"
    if damage == "garbage":
        place.write_bytes(b"not a database at all" * 500)
    elif damage == "body":
        data = bytearray(place.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        place.write_bytes(data)
    else:
        connection = sqlite3.connect(place)
        connection.execute("PRAGMA user_version=99" if damage == "version" else "DROP TABLE value")
        connection.commit()
        connection.close()
    assert snapshot(store) == before


def test_a_young_folder_is_not_trusted_and_an_old_one_is(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 2)
    with store.index() as index:
        assert index.refresh() > 0
        for path in (tmp_path / "s").rglob("*"):
            if path.is_dir():
                os.utime(path, (time.time() - 10,) * 2)
        assert index.refresh() > 0
        assert index.refresh() == 0


def test_queries_narrow(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 3)
    run = store.run_of(tmp_path / "lenet")
    with store.index() as index:
        assert len(index.records()) == 3 * len(METRICS) * 2
        assert len(index.records(run=run)) == 3 * len(METRICS) * 2
        assert index.records(run="other") == []
        assert {row["checkpoint"]["step"] for row in index.records(digest=digest_of(run, 200)[:8])} == {200}
        assert {row["metric"] for row in index.records(metric="top5", data="test")} == {"top5"}
        assert len(list(index.lines(digests=[digest_of(run, 100), "nothing"]))) == len(METRICS) * 2
        assert [row["step"] for row in index.checkpoints()] == [100, 200, 300]


def test_a_removed_evaluation_leaves_the_index(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 2, ["top1"])
    assert len(snapshot(store)[0]) == 4
    gone = store.evaluations()[0]
    for path in sorted((tmp_path / "s" / "evaluations" / gone[:2] / gone).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert len(snapshot(store)[0]) == 2


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 1, ["top1"])
    (path,) = (tmp_path / "s").rglob("*exact*.json")
    path.write_text("{", encoding="ascii")
    with pytest.raises(StoreError, match=r"exact@0-10000\.json: expected what Milepost writes"):
        store.index()
    path.unlink()
    assert len(snapshot(store)[0]) == 1


def test_a_store_that_cannot_be_written_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s", 1, ["top1"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("milepost.store._index_location.on_network", lambda _: True)
    with Index(store.path, store.id) as index:
        assert index.place == str(tmp_path / "cache" / "milepost" / f"{store.id}.sqlite")
        index.refresh()
        assert len(index.records()) == 2
    assert not (tmp_path / "s" / "index.sqlite").exists()


def test_listing_needs_no_numpy(tmp_path: Path) -> None:
    make_store(tmp_path / "s", 2)
    code = (
        "import sys; from milepost.store.store import Store; index = Store.open(sys.argv[1]).index(); "
        "print(len(index.records()), len(index.checkpoints()), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16", "2", "False"]
