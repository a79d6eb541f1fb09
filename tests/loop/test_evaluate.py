"""The loop and the scoring: same columns, same bits; parts on the grid; both estimators."""

import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._material import (
    CLASSES,
    checkpoints,
    contents,
    evaluation_of,
    examples,
    go,
    linear,
    same_columns,
    save,
    weights_of,
)

import milepost.loop.evaluate
import milepost.tasks.classification
from milepost._internal import heartbeat
from milepost._internal.serialization import canonical
from milepost.core.protocols import Metric
from milepost.core.types import Array, Batch, Failure, Part
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.errors import DataError
from milepost.loop.evaluate import Pass, evaluate
from milepost.metrics._states import from_bytes
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.scoring.records import batch_means
from milepost.store.store import Store
from milepost.tasks.classification import Classification

METRICS: list[Metric] = [TopK(1), TopK(5), CrossEntropy(), CalibrationError(bins=15), Confusion()]


def made_columns(rows: int, seed: int) -> dict[str, Array]:
    inputs, labels = examples(rows, seed)
    task = Classification(outputs="logits")
    columns = task.reduce(linear(weights_of(seed), inputs), labels, frozenset(task.columns()))
    return {**columns, "label": labels}


def bits(metric: Metric, state: Any) -> str:
    """The state's bytes and every value, as text without loss."""
    values = {name: [repr(item.value), repr(item.numerator)] for name, item in metric.values(state).items()}
    return str(state.to_bytes().hex()) + canonical(values)


# ---------------------------------------------------------------------------------------------------------- the laws


@given(st.integers(1, 600), st.randoms(use_true_random=False), st.booleans())
def test_same_columns_same_bits_over_orders_parts_and_merge_trees(
    rows: int, chance: random.Random, heavy: bool
) -> None:
    columns = made_columns(rows, 3)
    weights = np.random.default_rng(1).gamma(1.0, size=rows) if heavy else None
    order = np.array(chance.sample(range(rows), rows))
    cuts = sorted({0, rows, *(chance.randrange(rows + 1) for _ in range(chance.randrange(6)))})
    for metric in METRICS:
        whole = metric.state({name: columns[name] for name in metric.columns}, weights)
        states = []
        for start, stop in pairwise(cuts):
            here = order[start:stop]
            part = {name: columns[name][here] for name in metric.columns}
            states.append(from_bytes(metric.state(part, None if weights is None else weights[here]).to_bytes()))
        while len(states) > 1:  # any tree
            left = states.pop(chance.randrange(len(states)))
            right = states.pop(chance.randrange(len(states)))
            states.append(left.merge(right))
        assert bits(metric, states[0]) == bits(metric, whole)


def test_parts_and_checkpoints_a_pass_give_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoints(tmp_path / "lenet", 1, 2, 3)
    evaluation = evaluation_of(2000, metrics=METRICS)
    go(evaluation, folder, store=tmp_path / "one")
    monkeypatch.setattr(milepost.loop.evaluate, "PUBLISH_ROWS", 256)
    go(evaluation, folder, store=tmp_path / "many", per_pass=1)
    go(evaluation, folder, store=tmp_path / "steps", per_pass=3, limit=500)
    go(evaluation, folder, store=tmp_path / "steps", per_pass=2)
    one = contents(tmp_path / "one")
    assert contents(tmp_path / "many") == one
    assert {name: item for name, item in contents(tmp_path / "steps").items() if "results.0-500." not in name} == one


@pytest.mark.parametrize(("start", "stop"), [(0, 700), (100, 700), (100, 101), (95, 97), (256, 512), (699, 700)])
def test_a_range_has_the_columns_that_it_has_in_the_whole(start: int, stop: int) -> None:
    work = pass_of()
    weights = work.model.load(weights_of(1))
    whole = joined(evaluate(work, {"a": weights}, 0, 700))
    part = joined(evaluate(work, {"a": weights}, start, stop))
    same_columns(part, {name: column[start:stop] for name, column in whole.items()})


def pass_of(predict: Any = linear, **changes: Any) -> Pass:
    made: dict[str, Any] = {
        "model": FunctionModel(predict),
        "source": Arrays(*examples(700)),
        "task": Classification(outputs="logits"),
        "kept": frozenset({"rank", "nll", "finite"}),
        "batch_size": 96,
    }
    return Pass(**{**made, **changes})


def joined(outcomes: Any) -> dict[str, Array]:
    parts: list[Part] = [outcome for _, outcome in outcomes if isinstance(outcome, Part)]
    assert all(left.stop == right.start for left, right in pairwise(parts))
    return {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}


def test_parts_end_on_the_grid_and_hold_their_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = joined(evaluate(pass_of(), {"a": FunctionModel(linear).load(weights_of(1))}, 100, 700))
    monkeypatch.setattr(milepost.loop.evaluate, "PUBLISH_SECONDS", 0.0)
    work = pass_of()
    outcomes = list(evaluate(work, {"a": work.model.load(weights_of(1))}, 100, 700))
    bounds = [(part.start, part.stop) for _, part in outcomes if isinstance(part, Part)]
    assert bounds == [(100, 256), (256, 512), (512, 700)]
    same_columns(joined(outcomes), whole)


def test_a_checkpoint_that_fails_does_not_end_the_others() -> None:
    def picky(weights: dict[str, Array], inputs: Array) -> Array:
        if weights["b"][0] > 0 and len(inputs) == 700 % 96:
            raise ValueError("too few")
        return linear(weights, inputs)

    work = pass_of(picky)
    good, bad = weights_of(1), weights_of(1)
    good["b"][0], bad["b"][0] = -1, 1
    found = dict(evaluate(work, {"good": work.model.load(good), "bad": work.model.load(bad)}, 0, 700))
    assert isinstance(found["good"], Part)
    assert isinstance(found["bad"], Failure)
    assert found["bad"].kind == "model error"
    assert "rows 672 to 700: ValueError: too few (raised at" in found["bad"].message


def test_every_batch_is_a_sign_of_life() -> None:
    """A pass that is longer than `--timeout` is no hang as long as its batches end."""
    done: list[str] = []

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        done.append("predict")
        return linear(weights, inputs)

    heartbeat.listen(lambda: done.append("beat"))
    try:
        work = pass_of(predict)
        list(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))
    finally:
        heartbeat.listen(None)
    assert done.count("predict") >= 8
    assert ("predict", "predict") not in pairwise(done)


def test_a_source_that_ends_early_is_no_result() -> None:
    inputs, labels = examples(100)
    work = pass_of(source=Batches(lambda: iter([(inputs, labels)]), version="made@1"))
    with pytest.raises(DataError, match="ended at row 100, but 700 rows were expected"):
        list(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))


class Weighted(Arrays):
    """A source of the user's own, which looks at no weight."""

    weights: Any = None

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop, batch_size):
            yield replace(batch, weights=self.weights[batch.start : batch.start + len(batch.labels)])


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1e-70, 1e61, np.nan, np.inf])
def test_the_weights_of_a_users_source_are_checked(wrong: float) -> None:
    source = Weighted(*examples(700))
    source.weights = np.ones(700)
    work = pass_of(source=source)
    assert len(joined(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))["data.weight"]) == 700
    source.weights[500] = wrong
    with pytest.raises(DataError, match=rf"weights of the batch at row 480: .* found {re.escape(str(wrong))}"):
        list(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))
    source.weights = np.ones((700, 1))
    with pytest.raises(DataError, match=r"found shape \(96, 1\)"):
        list(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))


@pytest.mark.parametrize("holdable", [0, 1 << 26])
def test_a_model_may_use_one_array_for_all_its_outputs(holdable: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milepost.tasks.classification, "_HOLDABLE", holdable)
    array = np.empty((96, CLASSES), np.float32)

    def reusing(weights: dict[str, Array], inputs: Array) -> Array:
        array[: len(inputs)] = linear(weights, inputs)
        return array[: len(inputs)]

    for name in ("a", "b"):  # in full, then lightly
        found = {}
        for predict in (linear, reusing):
            work = pass_of(predict)
            others = {} if name == "a" else {"first": work.model.load(weights_of(1))}
            loaded = {**others, name: work.model.load(weights_of(2))}
            found[predict] = joined(item for item in evaluate(work, loaded, 0, 700) if item[0] == name)
        same_columns(found[reusing], found[linear])


def test_a_model_that_takes_no_smaller_batch_fails_with_the_reason() -> None:
    def stubborn(weights: dict[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs.reshape(96, -1))

    work = pass_of(stubborn)
    found = dict(evaluate(work, {"a": work.model.load(weights_of(1))}, 0, 700))
    assert isinstance(found["a"], Failure)
    assert found["a"].kind == "model error"
    assert re.match(r"rows 0 to 96: ValueError: .* it took these rows before; the model check", found["a"].message)


# ------------------------------------------------------------------------------------------------------- batch means


def staged(tmp_path: Path, rows_right: Array) -> tuple[Any, Path]:
    """A function model whose right rows are given, in natural order."""
    rows = len(rows_right)
    labels = np.arange(rows) % CLASSES
    answers = np.where(rows_right, labels, (labels + 1) % CLASSES)

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        return np.asarray(np.eye(CLASSES, dtype=np.float32)[inputs] * weights["scale"])

    folder = tmp_path / "made"
    folder.mkdir()
    save(folder / "step-900.npz", {"scale": np.float32(2)})
    source = Arrays(answers, labels, order="natural")
    return evaluation_of(predict=predict, data={"test": source}, batch_size=359, metrics=METRICS[:3]), folder


def test_the_gap_of_360_rows_in_batches_of_359(tmp_path: Path) -> None:
    right = np.zeros(360, bool)
    right[np.random.default_rng(0).permutation(359)[:298]] = True
    right[359] = True
    evaluation, folder = staged(tmp_path, right)
    store = tmp_path / "evals"
    events = go(evaluation, folder, store=store)
    exact, mean = events.value("top1"), events.value("top1", "batch_mean", batch_size=359)
    assert exact == 299 / 360
    assert f"{exact:.6f}" == "0.830556"
    assert mean == pytest.approx((298 / 359 + 1) / 2, abs=1e-15)
    assert f"{mean:.6f}" == "0.915042"
    (record,) = [item for item in events.of("record") if (item["metric"], item["estimator"]) == ("top1", "batch_mean")]
    gap = record["gap"]
    assert gap["value"] == mean - exact
    # (1/B - r/N) (mean of the last - mean of the full ones)
    assert gap["closed_form"] == pytest.approx((1 / 2 - 1 / 360) * (1 - 298 / 359), abs=1e-15)
    assert gap["closed_form"] == pytest.approx(gap["value"], abs=1e-12)
    assert (gap["batches"], gap["last_rows"]) == (2, 1)
    # Afterwards, without model, checkpoint and data: from kept columns.
    digest = record["checkpoint"]["digest"]
    shutil.rmtree(folder)
    made = batch_means(Store.open(store), digest, [36, 64, 100])
    for size in (36, 64, 100):
        expected = np.mean([right[begin : begin + size].mean() for begin in range(0, 360, size)])
        (value,) = [
            entry["value"]
            for payload in made
            if payload["batch_size"] == size
            for entry in payload["values"]
            if entry["metric"] == "top1"
        ]
        assert value == pytest.approx(expected, abs=1e-15)
    listing = Store.open(store).listing()
    sizes = {row.get("batch_size") for row in listing.records(digest=digest) if row["metric"] == "top1"}
    assert sizes == {None, 359, 36, 64, 100}


@pytest.mark.parametrize("size", [36, 64, 100, 359, 360, 1000])
def test_batch_means_do_not_depend_on_the_order_of_the_pass(size: int, tmp_path: Path) -> None:
    inputs, labels = examples(360)
    folder = checkpoints(tmp_path / "lenet", 1)
    right = linear(weights_of(1), inputs).argmax(axis=1) == labels
    expected = np.mean([right[begin : begin + size].mean() for begin in range(0, 360, size)])
    for order in ("natural", "seeded"):
        data = {"test": Arrays(inputs, labels, order=order)}
        events = go(evaluation_of(data=data, batch_size=size), folder, store=tmp_path / order)
        assert events.value("top1", "batch_mean", batch_size=size) == pytest.approx(expected, abs=1e-15)
        assert events.value("top1") == right.mean()
