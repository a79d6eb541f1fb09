import json
import os
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
from milepost.store.listing import Listing
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
    listing = store.listing()
    return listing.records(), listing.checkpoints(), [json.loads(line) for line in listing.lines()]


def test_a_listing_that_grew_answers_as_a_new_one(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    listing = store.listing()
    for number in range(4):
        see(store, f"step-{number}", step=number, digest=f"{number:032}")
        evaluation = store.evaluation(f"{number:032}")
        evaluation.describe({"weights": f"{number:032}"})
        for rows in (100, 10_000):
            evaluation.results.publish([(payload("top1", number, rows=rows), {})])
            listing.refresh()
    store.evaluation(f"{5:032}").failures.publish(1, {"kind": "crashed", "message": "signal 9"})
    listing.refresh()
    for path in (tmp_path / "s").glob("evaluations/*/*3/*"):
        path.unlink()
    see(store, "bad", failure=("corrupt", "checksum"))
    listing.refresh()
    grown = (listing.records(), listing.checkpoints(), [json.loads(line) for line in listing.lines()])
    assert snapshot(store) == grown
    records, checkpoints, lines = grown
    assert records == lines
    assert [row["n"] for row in records] == [10_000] * 3
    assert [(row["name"], row["state"]) for row in checkpoints] == [
        *((f"step-{number}", "done") for number in range(3)),
        ("step-3", "seen"),
        ("bad", "failed"),
    ]


def test_record_form_is_the_published_one(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 1, ["top1"])
    exact, mean = snapshot(store)[0]
    keys = ["event", "run", "checkpoint", "also", "data", "slice", "metric", "estimator", "value", "numerator"]
    keys += ["denominator", "n", "intervals", "tied", "nonfinite", "status"]
    assert list(exact) == keys
    assert list(mean) == [*keys[:8], "batch_size", *keys[8:]]
    run = store.run_of(tmp_path / "lenet")
    where = {"path": "/models/lenet/step-100.pt", "step": 100, "digest": digest_of(run, 100), "variant": "raw"}
    assert exact["checkpoint"] == where
    assert (exact["event"], exact["run"], exact["status"]) == ("record", run, "ok")


def test_larger_coverage_supersedes_then_the_newer_evaluation(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "step-1", step=1)
    for age, key in ((300, "aa" * 16), (100, "bb" * 16), (200, "cc" * 16)):
        evaluation = store.evaluation(key)
        evaluation.describe({"weights": DIGEST, "created": f"2026-01-01T00:00:00.{1000 - age}+00:00"})
        record = payload("top1", 1, rows=500)
        record["values"][0]["value"] = age / 1000
        evaluation.results.publish([(record, {})])
    assert [row["value"] for row in snapshot(store)[0]] == [0.1]
    full = payload("top1", 1)
    store.evaluation("aa" * 16).results.publish([(full, {})])
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


def test_a_file_that_another_model_read_otherwise_was_not_overwritten(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "last", step=9)
    see(store, "last", step=9, signature="other", digest="cd" * 16, seen=SEEN.format(7))
    see(store, "best", step=8)
    see(store, "best", second=5, step=9, digest="ef" * 16)
    first = [item for row in snapshot(store)[1] if row["digest"] == DIGEST for item in row["checkpoints"]]
    assert sorted((item["name"], item["current"], item["overwritten"]) for item in first) == [
        ("best", False, True),
        ("last", False, False),
    ]


def test_each_run_step_and_variant_has_a_row_and_a_record_with_the_other_names(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "step-0", step=0)
    see(store, "step-0", step=0, variant="ema")
    see(store, "best", second=1)
    see(store, "step-1", second=2, step=1)
    evaluation = store.evaluation("aa" * 16)
    evaluation.describe({"weights": DIGEST})
    evaluation.results.publish([(payload("top1", 1), {})])
    records, rows, _ = snapshot(store)
    expected = [("step-0", "raw"), ("step-0", "ema"), ("step-1", "raw")]
    assert [(row["name"], row["variant"]) for row in rows] == expected
    assert [(Path(row["checkpoint"]["path"]).stem, row["checkpoint"]["variant"]) for row in records] == expected
    assert {row["value"] for row in records} == {records[0]["value"]}
    also = [[(item["name"], item["variant"]) for item in record["also"]] for record in records]
    assert also[0] == [("step-1", "raw"), ("best", "raw"), ("step-0", "ema")]
    assert also[1] == [("step-0", "raw"), ("step-1", "raw"), ("best", "raw")]
    (once,) = store.listing().records_by_weights()
    assert (once["checkpoint"]["variant"], once["checkpoint"]["step"]) == ("raw", 0)
    assert [row["checkpoint"]["variant"] for row in store.listing().records(variant="ema")] == ["ema"]


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
    evaluation.describe({"weights": DIGEST})
    evaluation.failures.publish(1, {"kind": "crashed", "message": "signal 9"})
    (row,) = snapshot(store)[1]
    assert (row["state"], row["failure"]) == ("failed", {"kind": "crashed", "message": "signal 9"})
    evaluation.results.publish([(payload("top1", 1), {})])
    (row,) = snapshot(store)[1]
    assert (row["state"], row["failure"]) == ("done", None)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, False),
        ({"created": "2026-01-01T00:00:03+00:00"}, True),  # before it failed
        ({"weights": "cd" * 16}, True),
        ({"data_name": "val"}, True),
        ({"file": "other.py"}, True),
        ({"code": "v0"}, True),  # of earlier code itself
    ],
)
def test_a_failure_of_other_data_or_code_ends_with_later_results(
    changed: dict[str, str], shown: bool, tmp_path: Path
) -> None:
    store = Store.create(tmp_path / "s")
    see(store, "a")
    store.codes.use("p/ev.py", None, "v1")
    spec = {
        "weights": DIGEST,
        "data": "d1",
        "data_name": "test",
        "file": "p/ev.py",
        "code": "v0",
        "task": {"name": "t"},
    }
    failed, done = store.evaluation("aa" * 16), store.evaluation("bb" * 16)
    failed.describe(spec)
    failed.failures.publish(1, {"kind": "model error", "message": "no", "at": "2026-01-01T00:00:04+00:00"})
    done.describe({**spec, "data": "d2", "code": "v1", "created": "2026-01-01T00:00:05+00:00", **changed})
    done.results.publish([(payload("top1", 1), {})])
    (row,) = store.listing().checkpoints()
    assert (row["failure"] is not None) == shown


def test_a_young_folder_is_listed_again_and_an_old_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "s", 2)
    listing = store.listing()
    listed: list[str] = []
    real = os.listdir

    def noted(path: str) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", noted)
    for path in (tmp_path / "s").rglob("*"):
        if path.is_dir():
            os.utime(path, (time.time() - 10,) * 2)
    counts = []
    for _ in range(3):
        listed.clear()
        listing.refresh()
        counts.append(len(listed))
    assert counts[0] > counts[1] == counts[2] == 2  # the runs and the shelves


def test_queries_narrow(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 3)
    run = store.run_of(tmp_path / "lenet")
    listing = store.listing()
    assert len(listing.records()) == 3 * len(METRICS) * 2
    assert len(listing.records(run=run)) == 3 * len(METRICS) * 2
    assert listing.records(run="other") == []
    assert {row["checkpoint"]["step"] for row in listing.records(digest=digest_of(run, 200)[:8])} == {200}
    assert {row["metric"] for row in listing.records(metric="top5", data="test")} == {"top5"}
    assert len(list(listing.lines(digests={digest_of(run, 100), "nothing"}))) == len(METRICS) * 2
    assert [row["step"] for row in listing.checkpoints()] == [100, 200, 300]


def test_a_removed_evaluation_is_listed_no_more(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", 2, ["top1"])
    assert len(snapshot(store)[0]) == 4
    gone = store.evaluations()[0]
    for path in sorted((tmp_path / "s" / "evaluations" / gone[0] / gone).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert len(snapshot(store)[0]) == 2


@pytest.mark.parametrize("damage", ["short", "flipped", "other"])
def test_damaged_results_are_named(tmp_path: Path, damage: str) -> None:
    store = make_store(tmp_path / "s", 1, ["top1"])
    (path,) = (tmp_path / "s").rglob("results.*.npz")
    data = bytearray(path.read_bytes())
    at = data.index(b'"numerator"')
    data[at : at + 3] = b'"nu' if damage != "flipped" else b'"ny'
    path.write_bytes(bytes({"short": data[:50], "flipped": data, "other": b"{}"}[damage]))
    with pytest.raises(
        StoreError, match=r"results\.0-10000\.[0-9a-f]{12}\.npz: expected what Milepost writes, found damage"
    ):
        store.listing().records()
    path.unlink()
    assert snapshot(store)[0] == []


def test_values_that_fill_more_than_is_read_at_once(tmp_path: Path) -> None:
    names = [f"metric_{number}" for number in range(150)]
    store = make_store(tmp_path / "s", 1, names)
    assert sorted({row["metric"] for row in store.listing().records()}) == sorted(names)


def test_listing_needs_no_numpy(tmp_path: Path) -> None:
    make_store(tmp_path / "s", 2)
    code = (
        "import sys; from milepost.store.store import Store; listing = Store.open(sys.argv[1]).listing(); "
        "print(len(listing.records()), len(listing.checkpoints()), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16", "2", "False"]


@pytest.mark.parametrize("found", ["damage", "a folder"])
def test_a_checkpoint_record_that_cannot_be_read_is_named(tmp_path: Path, found: str) -> None:
    store = make_store(tmp_path / "evals", 2)
    record = next((tmp_path / "evals" / "runs").glob("*/checkpoints/*.json"))
    record.unlink()
    if found == "damage":
        record.write_bytes(b"{")
    else:
        record.mkdir()
    with pytest.raises(StoreError, match=record.name):
        store.listing().checkpoints()
    with pytest.raises(StoreError, match=record.name):
        list(store.checkpoints())


def test_a_damaged_file_is_named_again_at_every_look(tmp_path: Path) -> None:
    make_store(tmp_path / "evals", 2)
    path = next((tmp_path / "evals" / "evaluations").glob("*/*/results.*"))
    path.chmod(0o644)
    path.write_bytes(b"PK")
    os.utime(path.parent, (1, 1))  # long ago, so that the folder's time counts
    listing = Listing(str(tmp_path / "evals"))
    for _ in range(2):
        with pytest.raises(StoreError, match=path.name):
            listing.refresh()
