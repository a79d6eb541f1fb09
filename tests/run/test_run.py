"""A run from checkpoints to records: exactly once, resumed, limited, again; failures are rows."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import (
    CLASSES,
    Counted,
    checkpoints,
    columns_of,
    contents,
    evaluation_of,
    examples,
    go,
    leftovers,
    linear,
    planned,
    same_columns,
    save,
    weights_of,
)

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.errors import DataError, UnstableData, UsageError
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.store.leases import Worker
from milepost.store.store import Store
from milepost.tasks.classification import Classification


def right(step: int, rows: int, seed: int = 0) -> int:
    """How many rows a checkpoint has right, by an independent reading."""
    inputs, labels = examples(rows, seed)
    return int((linear(weights_of(step), inputs).argmax(axis=1) == labels).sum())


# ------------------------------------------------------------------------------------------------------- exactly once


def test_every_checkpoint_is_evaluated_once_and_exactly(folder: Path, store: Path) -> None:
    predict = Counted()
    first = go(evaluation_of(predict=predict), folder, store=store)
    assert first.done == (3, 0, 0)
    for step in (100, 200, 300):
        assert first.value("top1", step=step) == right(step, 700) / 700
    calls = predict.calls
    second = go(evaluation_of(predict=predict), folder, store=store)
    assert second.done == (0, 3, 0)
    assert not second.of("record")
    assert predict.calls == calls
    assert leftovers(store) == []


def test_a_new_checkpoint_alone_is_evaluated(folder: Path, store: Path) -> None:
    go(evaluation_of(), folder, store=store)
    checkpoints(folder, 400)
    events = go(evaluation_of(), folder, store=store)
    assert events.done == (1, 3, 0)
    assert {record["checkpoint"]["step"] for record in events.of("record")} == {400}


def test_names_of_one_content_are_evaluated_once(folder: Path, store: Path) -> None:
    for name in ("best", "last"):
        shutil.copy(folder / "step-300.npz", folder / f"{name}.npz")
    predict = Counted()
    events = go(evaluation_of(predict=predict), folder, store=store, per_pass=1)
    assert events.done == (3, 2, 0)
    assert events.ends["last/raw"] == ("skipped", "same weights as step-300 (raw)")
    assert len(Store.open(store).evaluations()) == 3
    names = {checkpoint.name for checkpoint in Store.open(store).checkpoints() if checkpoint.step in (300, None)}
    assert names == {"step-300", "best", "last"}
    assert planned(evaluation_of(), folder, store=store)["last/raw"].startswith("skip: ")


def test_one_name_in_two_folders_is_two_checkpoints_of_one_content(tmp_path: Path, store: Path) -> None:
    for run in ("a", "b"):
        checkpoints(tmp_path / "runs" / run, 100)
    events = go(evaluation_of(), tmp_path / "runs", store=store)
    assert events.done == (1, 1, 0)
    assert len(events.of("record")) == 6


def test_weights_in_another_format_are_the_same_content(tmp_path: Path, store: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    folder = checkpoints(tmp_path / "lenet", 100)
    weights = weights_of(100)
    save_file(weights, folder / "step-100.safetensors")
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    torch.save({"model_state_dict": tensors, "optimizer": optimizer, "step": 100}, folder / "full.pt")
    variables = {"w": (8, 10), "b": (10,)}
    events = go(evaluation_of(model=FunctionModel(linear, variables)), folder, store=store)
    assert events.done == (1, 2, 0)
    assert len(Store.open(store).evaluations()) == 1


# ---------------------------------------------------------------------------------------------------- limit and again


def test_a_limit_is_partial_and_then_whole(folder: Path, store: Path) -> None:
    part = go(evaluation_of(), folder, store=store, limit=100)
    assert {(record["n"], record["status"]) for record in part.of("record")} == {(100, "partial 100/700")}
    assert planned(evaluation_of(), folder, store=store)["step-100/raw"] == "evaluate: 100 of 700 rows are there"
    assert planned(evaluation_of(), folder, store=store, limit=90)["step-100/raw"].startswith("score")
    whole = go(evaluation_of(), folder, store=store)
    assert {(record["n"], record["status"]) for record in whole.of("record")} == {(700, "ok")}
    assert "100 of 700 rows are there" in whole.notes
    # A smaller limit than what is there asks for nothing.
    assert go(evaluation_of(), folder, store=store, limit=100).done == (0, 3, 0)


@pytest.mark.parametrize("limit", [1, 100, 256, 333, 699])
def test_resumed_columns_are_those_of_an_undisturbed_run(limit: int, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    go(evaluation_of(batch_size=96), folder, store=tmp_path / "whole")
    go(evaluation_of(batch_size=96), folder, store=tmp_path / "parts", limit=limit)
    go(evaluation_of(batch_size=96), folder, store=tmp_path / "parts")
    same_columns(columns_of(tmp_path / "parts"), columns_of(tmp_path / "whole"))
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert {name: item for name, item in parts.items() if f".0-{limit}." not in name} == whole


def test_again_evaluates_each_content_once_more(folder: Path, store: Path) -> None:
    shutil.copy(folder / "step-300.npz", folder / "last.npz")
    go(evaluation_of(), folder, store=store)
    predict = Counted()
    events = go(evaluation_of(predict=predict), folder, store=store, again=True, per_pass=1)
    assert events.done == (3, 1, 0)
    assert len(Store.open(store).evaluations()) == 6
    assert len(predict.rows) == 700
    assert go(evaluation_of(), folder, store=store).done == (0, 4, 0)


def test_again_of_what_failed_tries_once_more(tmp_path: Path, store: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    broken = {"now": True}

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        if broken["now"]:
            raise RuntimeError("no such luck")
        return linear(weights, inputs)

    events = go(evaluation_of(predict=predict), folder, store=store)
    assert events.done == (0, 0, 1)
    assert "model error: rows 0 to 64: RuntimeError: no such luck" in events.failures["step-100.npz"]
    broken["now"] = False
    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 0, 1)
    assert go(evaluation_of(predict=predict), folder, store=store, again=True).done == (1, 0, 0)
    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 1, 0)


# ------------------------------------------------------------------------------------------------- data and variants


def test_several_data_sets_and_one_of_them(folder: Path, store: Path) -> None:
    data = {"test": Arrays(*examples(300)), "fresh": Arrays(*examples(200, seed=5))}
    one = go(evaluation_of(data=data), folder, store=store, data="fresh")
    assert {record["data"] for record in one.of("record")} == {"fresh"}
    both = go(evaluation_of(data=data), folder, store=store)
    assert {record["data"] for record in both.of("record")} == {"test"}
    assert both.value("top1", step=200, data="test") == right(200, 300) / 300
    assert one.value("top1", step=200, data="fresh") == right(200, 200, seed=5) / 200
    with pytest.raises(UsageError, match="no such data set; it has: test, fresh"):
        go(evaluation_of(data=data), folder, store=store, data="nope")


def test_variants_of_one_checkpoint_are_loaded_together(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "lenet"
    folder.mkdir()
    raw, ema = weights_of(1), weights_of(2)
    save(folder / "step-10.npz", {**raw, **{f"ema.{name}": array for name, array in ema.items()}})
    save(folder / "step-20.npz", weights_of(3))
    events = go(evaluation_of(variants=("raw", "ema")), folder, store=store)
    assert events.value("top1", variant="raw", step=10) == right(1, 700) / 700
    assert events.value("top1", variant="ema", step=10) == right(2, 700) / 700
    assert events.done == (1, 0, 1)
    assert "mismatch: the checkpoint holds no weights of variant 'ema'" in events.failures["step-20.npz"]
    assert events.value("top1", variant="raw", step=20) == right(3, 700) / 700
    assert [item["variant"] for item in events.of("failure")] == ["ema"]


def test_notes_and_progress_name_the_variant(folder: Path, store: Path) -> None:
    zeros = {name: array * 0 for name, array in weights_of(2).items()}
    save(folder / "step-10.npz", {**weights_of(1), **{f"ema.{name}": array for name, array in zeros.items()}})
    evaluation = evaluation_of(variants=("raw", "ema"))
    go(evaluation, folder, store=store, limit=100)
    events = go(evaluation, folder, store=store)
    assert "resuming step-10: 100 of 700 rows are there" in events.notes
    assert "resuming step-10:ema: 100 of 700 rows are there" in events.notes
    assert "step-10:ema on test: all 700 rows are predicted as" in events.notes
    assert {"step-10", "step-10:ema"} <= {name for item in events.of("progress") for name in item["names"]}


def test_data_that_does_not_repeat_ends_the_run(folder: Path, store: Path) -> None:
    inputs, labels = examples(300)
    turn = {"pass": 0}

    def stream() -> Any:
        turn["pass"] += 1
        changed = labels.copy()
        changed[200] = turn["pass"] % CLASSES
        yield inputs, changed

    source = Batches(stream, version="made@1")
    with pytest.raises(UnstableData, match="differ at position 200 of the order: label was"):
        go(evaluation_of(data={"test": source}), folder, store=store, per_pass=1)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_set_is_an_error_and_one_row_is_not(rows: int, folder: Path, store: Path) -> None:
    if rows == 0:
        with pytest.raises(DataError, match="empty"):
            evaluation_of(rows)
        with pytest.raises(DataError, match=r"(?i)empty|no row|at least one"):
            go(evaluation_of(data={"test": Batches(lambda: iter(()))}), folder, store=store)
        return
    events = go(evaluation_of(rows), folder, store=store)
    assert events.done == (3, 0, 0)
    assert events.value("top1", step=100) in (0.0, 1.0)


def test_labels_out_of_range_end_the_run(folder: Path, store: Path) -> None:
    inputs, labels = examples(100)
    with pytest.raises(DataError, match="label 11 is no class of a model with 10 outputs"):
        go(evaluation_of(data={"test": Arrays(inputs, np.where(labels == 3, 11, labels))}), folder, store=store)


# ------------------------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize("where", ["", "sub/deep"])
def test_a_store_in_the_training_folder_is_refused_and_not_left_there(where: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="would lie in the training folder"):
        go(evaluation_of(), folder, store=folder / where / "evals")
    assert sorted(path.name for path in folder.iterdir()) == ["step-100.npz", "step-200.npz", "step-300.npz"]


def test_an_empty_folder_says_what_was_looked_for_and_makes_no_store(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no checkpoints in .*empty: looked for .* npz, .*safetensors, tf_bundle"):
        go(evaluation_of(), tmp_path / "empty", store=store)
    assert not store.exists()


def test_match_narrows(folder: Path, store: Path) -> None:
    events = go(evaluation_of(), folder, store=store, match="step-[12]00*")
    assert {record["checkpoint"]["step"] for record in events.of("record")} == {100, 200}
    with pytest.raises(UsageError, match="that match 'nothing"):
        go(evaluation_of(), folder, store=store, match="nothing*")


# ------------------------------------------------------------------------------------------------------------ leases


def test_the_lease_of_a_dead_process_is_taken_over_at_once(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(evaluation_of(), folder, store=store, limit=256)
    opened = Store.open(store)
    dead = Worker(opened.storage)
    monkeypatch.setattr("milepost.store.leases.Heartbeats.dead", lambda self, worker: worker == dead.text)
    for key in opened.evaluations():
        assert opened.lease(key, f"{opened.evaluation(key).column_sets()[0]}-700", dead).acquire()
    monkeypatch.setattr("milepost.run.driver.time.sleep", _never)
    assert go(evaluation_of(), folder, store=store).done == (3, 0, 0)
    assert leftovers(store) == []


def _never(seconds: float) -> None:
    raise AssertionError("it waits for the dead")


def test_the_lease_of_a_living_process_is_respected(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(evaluation_of(), folder, store=store, limit=256)
    opened = Store.open(store)
    predict = Counted()
    with opened.worker() as other:
        held = [
            opened.lease(key, f"{opened.evaluation(key).column_sets()[0]}-700", other) for key in opened.evaluations()
        ]
        assert all(lease.acquire() for lease in held)

        def waits(seconds: float) -> None:
            assert not predict.rows
            for lease in held:
                lease.release()

        monkeypatch.setattr("milepost.run.driver.time.sleep", waits)
        assert go(evaluation_of(predict=predict), folder, store=store).done == (3, 0, 0)
    assert len(predict.rows) == 700 - 256


def test_two_metrics_may_be_added_to_a_task_of_scores(folder: Path, store: Path) -> None:
    events = go(evaluation_of(task=Classification(outputs="scores"), metrics=[TopK(2)]), folder, store=store)
    assert {record["metric"] for record in events.of("record")} == {"top2"}
