import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store._work import KEY, made_part, made_record

from milepost.core.types import Identity
from milepost.errors import StoreError
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import EvaluationFolder
from milepost.store.records import number, record_key
from milepost.store.store import Store

IDENTITY = Identity(1, 2, 3, 4, 5)


def test_opening_what_is_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"found no store\.json.*milepost run"):
        Store.open(tmp_path / "nothing")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"found 'thesis\.tex'"):
        Store.create(tmp_path)
    with pytest.raises(StoreError, match="no store can be made here"):
        Store.create(tmp_path / "thesis.tex" / "store")


@pytest.mark.parametrize(
    "text", ['{"format":2,"id":"x"}', '{"format":4,"id":"x"}', '{"id":"x"}', "[]", "{", '{"format":3}']
)
def test_a_store_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text, encoding="ascii")
    for door in (Store.open, Store.create):
        with pytest.raises(StoreError, match="expected"):
            door(tmp_path)


def test_a_rest_of_a_killed_creation_is_no_foreign_thing(tmp_path: Path) -> None:
    (tmp_path / ".tmp-host-boot.1-1-1-0").touch()
    assert Store.create(tmp_path).id == Store.create(tmp_path).id


def test_run_names(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    (tmp_path / "lenet").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lenet")
    run = store.run_of(tmp_path / "lenet")
    assert run == "lenet"
    assert store.run_of(tmp_path / "link") == run
    assert store.run_of("/odd name/ü") == "_"
    assert store.run_of("/") == "run"
    assert store.run_of("/elsewhere/lenet", note=False) == "elsewhere-lenet"
    assert len(store.runs()) == 3
    second = store.run_of("/elsewhere/lenet")
    assert second == "elsewhere-lenet"
    third = store.run_of("/further/elsewhere/lenet")
    assert re.fullmatch(r"lenet-[0-9a-f]{8}", third)
    again = Store.open(tmp_path / "s")
    assert [again.run_of(path) for path in ("/elsewhere/lenet", "/further/elsewhere/lenet")] == [second, third]
    assert {item["id"]: item["path"] for item in store.runs()}[run] == str(tmp_path / "lenet")


def test_runs_of_one_name_have_the_name_above_that_differs_before_it(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    folders = [f"/{project}/logs/version_0" for project in ("a", "b", "c d")]
    assert [store.run_of(folder) for folder in folders] == ["version_0", "b-version_0", "c_d-version_0"]


def test_a_checkpoints_success_supersedes_failures(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    where = ("r", "/c/a.pt", IDENTITY, "raw", "sig")

    def made(**changes: object) -> CheckpointRecord:
        return CheckpointRecord("r", "/c/a.pt", IDENTITY, "a", "raw", "sig", **changes)  # type: ignore[arg-type]

    assert store.checkpoint(*where) is None
    for attempt in (1, 2):
        assert store.add_checkpoint(made(failure=("torn", f"try {attempt}"), attempt=attempt))
    found = store.checkpoint(*where)
    assert found == made(failure=("torn", "try 2"), attempt=2)
    success = made(digest="ab", notes={"mapping": {"a": "b"}}, step=3, step_source="name")
    assert store.add_checkpoint(success)
    assert not store.add_checkpoint(success)
    assert store.checkpoint(*where) == success
    assert store.checkpoint("r", "/c/a.pt", Identity(1, 2, 3, 5, 5), "raw", "sig") is None
    assert store.checkpoint("r", "/c/a.pt", IDENTITY, "raw", "other model") is None
    assert len(list(store.checkpoints("r"))) == len(list(store.checkpoints())) == 3


def test_a_checkpoint_is_success_or_failure() -> None:
    wrong: list[dict[str, Any]] = [{}, {"digest": "a", "failure": ("torn", "x")}, {"digest": "a", "attempt": 0}]
    for changes in wrong:
        with pytest.raises(StoreError, match="expected a digest or a failure"):
            CheckpointRecord("r", "/c/a.pt", IDENTITY, "a", **changes)


def test_records_are_put_once_and_hold_nonfinite_numbers(tmp_path: Path) -> None:
    results = Store.create(tmp_path / "s").evaluation(KEY).results
    record = made_record()
    record["values"][0].update(value=-math.inf, numerator=np.float64("nan"), n=np.int64(7))
    assert results.keys() == set()
    assert results.publish([(record, {"confusion": np.eye(2)})]) == 1
    assert results.publish([({**record, "status": "other"}, {})]) == 0
    assert results.keys() == {record_key(record)}
    (found,) = results.read()
    value = found["values"][0]
    assert (value["value"], value["numerator"], value["n"]) == ("-inf", "nan", 7)
    assert number(value["value"]) == -math.inf
    assert np.array_equal(results.tables(record)["confusion"], np.eye(2))
    (path,) = (tmp_path / "s").rglob("results.*.npz")
    with np.load(path) as archive:
        assert len([name for name in archive.files if name.endswith("/confusion")]) == 1


def test_an_act_of_scoring_is_one_file_that_gives_back_what_was_put(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    evaluation = store.evaluation(KEY)
    evaluation.describe({"weights": "w", "size": 1000})
    exact = {**made_record(), "direction": "higher"}
    mean = {**exact, "estimator": "batch_mean", "batch_size": 64}
    values = exact["values"]
    second = [{**values[0], "metric": "top1_count", "note": "few"}]
    day = {**exact, "slice": "day", "values": [], "slices": {"day=mo": [*values, *second], "day=tu": values}}
    assert evaluation.results.publish([(exact, {"t": np.arange(3)}), (mean, {}), (day, {})]) == 3
    assert len(list((tmp_path / "s").rglob("results.*"))) == 1
    fresh = Store.open(tmp_path / "s").evaluation(KEY)
    found = {record_key(payload): payload for payload in fresh.results.read()}
    assert found == {record_key(payload): payload for payload in (exact, mean, day)}
    assert fresh.results.tables(exact)["t"].tolist() == [0, 1, 2]
    assert fresh.results.tables(mean) == fresh.results.tables(day) == {}
    assert fresh.spec() == {"weights": "w", "size": 1000}
    other = {**exact, "metric": {"name": "other"}}
    assert fresh.results.publish([(exact, {}), (other, {}), (other, {})]) == 1  # a further act is one file more
    assert len(list((tmp_path / "s").rglob("results.*"))) == 2
    assert len(fresh.results.read()) == 4


def test_the_spec_of_an_evaluation_is_in_whatever_was_put_first(tmp_path: Path) -> None:
    spec = {"weights": "w", "data": "d"}
    puts: dict[str, Callable[[EvaluationFolder], object]] = {
        "part": lambda evaluation: evaluation.parts("kept").publish(made_part(0, 256), 1000),
        "whole": lambda evaluation: evaluation.parts("kept").publish(made_part(0, 256), 256),
        "failure": lambda evaluation: evaluation.failures.publish(1, {"kind": "torn", "message": "half"}),
        "results": lambda evaluation: evaluation.results.publish([(made_record(), {})]),
    }
    for name, put in puts.items():
        store = Store.create(tmp_path / name)
        assert store.evaluation(KEY).spec() is None
        store.evaluation(KEY).describe(spec)
        put(store.evaluation(KEY))
        fresh = Store.open(tmp_path / name).evaluation(KEY)
        assert fresh.spec() == fresh.state().spec == spec, name


def test_an_outcome_is_four_files_and_eight_fsyncs_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.create(tmp_path / "s")
    run = store.run_of("/models/lenet")
    counts: list[int] = []
    for step in range(40):
        key = f"{step % 10:x}{step:031x}"
        forced: list[int] = []
        monkeypatch.setattr(os, "fsync", forced.append)
        before = {path for path in (tmp_path / "s").rglob("*") if path.is_file()}
        store.add_checkpoint(CheckpointRecord(run, f"/m/{step}", IDENTITY, str(step), digest=key))
        evaluation = store.evaluation(key)
        evaluation.describe({"weights": key})
        with store.worker() as worker:
            lease = store.lease(key, "0-1000", worker)
            assert lease.acquire()
            evaluation.parts("kept").publish(made_part(0, 1000), 1000)
            metrics = [{**made_record(), "metric": {"name": "top_k", "k": k}} for k in range(20)]
            evaluation.results.publish([(record, {"t": np.eye(3)}) for record in metrics])
            lease.release()
        after = {path for path in (tmp_path / "s").rglob("*") if path.is_file()}
        assert len(after - before) == 3
        counts.append(len(forced))
    assert max(counts[1:]) == 8  # the first makes the folders that all share
    assert set(counts[10:]) == {7}  # and the first of a shelf makes the shelf


def test_codes_are_listed(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    code = {"version": "v1/ü", "files": {"eval.py": {"normalised": "a", "raw": "b"}}}
    assert store.codes.add(code)
    assert not store.codes.add(code)
    assert store.codes.all() == [code]


def test_sweep_removes_parts_under_a_seal(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    evaluation = store.evaluation(KEY)
    parts = evaluation.parts("kept")
    parts.publish(made_part(0, 256))
    assert parts.seal(256)
    parts.publish(made_part(0, 128))
    assert parts.coverage() == [(0, 256)]
    assert store.sweep() == 1
    assert evaluation.column_sets() == ["kept"]
    with pytest.raises(StoreError, match="expected 0 to 300"):
        parts.seal(300)
