"""The sample of a code check: single rows from all over the order, two checkpoints, and a bound that is true."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import CLASSES, FEATURES, checkpoints, evaluation_of, examples, go, linear, save, weights_of

from milepost._internal.serialization import digest
from milepost.core.types import Array, Columns
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.run.code_sample import ROWS, sampled_positions
from milepost.stats.hypergeometric import most_unseen

MANY = 10_000


def sorted_by_class() -> Iterator[tuple[Array, Array]]:
    """Yield 300 rows a class, one class after the other; the inputs are one-hot."""
    for label in range(CLASSES):
        yield np.eye(CLASSES, dtype=np.float32)[[label] * 300], np.full(300, label)


def right(weights: Columns, inputs: Array) -> Array:
    return np.asarray(inputs @ weights["w"])


def wrong_on(feature: int) -> Callable[[Columns, Array], Array]:
    """Return a model that is right but for the rows of one class."""

    def predict(weights: Columns, inputs: Array) -> Array:
        return right(weights, np.where(inputs[:, feature, None] > 0, inputs[:, ::-1], inputs))

    return predict


def test_a_fix_of_the_last_class_of_a_sorted_stream_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "lenet"
    folder.mkdir()
    save(folder / "step-100.npz", {"w": 3 * np.eye(CLASSES, dtype=np.float32)})
    data = {"test": Batches(sorted_by_class)}
    first = evaluation_of(predict=wrong_on(9), data=data, version="1")
    assert go(first, folder, store=tmp_path / "evals").value("top1") == 0.9
    events = go(evaluation_of(predict=right, data=data, version="2"), folder, store=tmp_path / "evals")
    assert events.value("top1") == 1.0
    found = re.search(r"rank in (\d+) rows", events.notes)
    assert found is not None
    assert 60 < int(found[1]) < 150  # of 300 in 3,000: the sample has 1,024


def touched(rows: Array) -> Callable[[Columns, Array], Array]:
    """Return the linear model, with other scores for some rows, named by their first feature."""

    def predict(weights: Columns, inputs: Array) -> Array:
        return np.where(np.isin(inputs[:, 0], rows)[:, None], -linear(weights, inputs), linear(weights, inputs))

    return predict


@pytest.mark.parametrize("order", ["natural", "seeded"])
def test_a_fix_of_rows_that_the_sample_misses_is_within_the_bound(order: Any, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100, 200)
    inputs, labels = examples(MANY)
    inputs[:, 0] = np.arange(MANY) / MANY
    source = Arrays(inputs, labels, order=order)
    drawn = sampled_positions(MANY, 64, digest([source.fingerprint(), MANY]))
    missed = source.rows(np.setdiff1d(np.arange(MANY), drawn)[:25])
    few = inputs[missed, 0]
    data = {"test": source}
    go(evaluation_of(version="1", data=data), folder, store=tmp_path / "evals")
    events = go(evaluation_of(version="2", predict=touched(few), data=data), folder, store=tmp_path / "evals")
    assert events.done == (0, 2, 0)
    assert "up to 0.27 % of the rows may differ (95 %)" in events.notes  # 27 of them: 25 do
    seen = inputs[source.rows(drawn[-1:]), 0]
    events = go(evaluation_of(version="3", predict=touched(seen), data=data), folder, store=tmp_path / "evals")
    assert events.done == (2, 0, 0)
    assert "in 1 row of step-200; " in events.notes
    assert "in 1 row of step-100), so all is re-evaluated on test" in events.notes


@pytest.mark.parametrize("changed", [100, 300])
def test_both_the_oldest_and_the_newest_checkpoint_are_checked(changed: int, tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100, 200, 300)
    bias = weights_of(changed)["b"]

    def predict(weights: Columns, inputs: Array) -> Array:
        return linear(weights, inputs) * np.float32(-1 if np.array_equal(weights["b"], bias) else 1)

    go(evaluation_of(version="1"), folder, store=tmp_path / "evals")
    events = go(evaluation_of(version="2", predict=predict), folder, store=tmp_path / "evals")
    assert events.done == (3, 0, 0)
    assert f"in 700 rows of step-{changed})" in events.notes


def test_of_a_limited_run_the_rows_that_are_there_are_checked(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    go(evaluation_of(version="1"), folder, store=tmp_path / "evals", limit=300)
    events = go(evaluation_of(version="2"), folder, store=tmp_path / "evals", limit=300)
    assert events.done == (0, 1, 0)
    assert "a code check of all 300 rows of step-100 finds the same outcomes" in events.notes
    assert re.search(r"so the results on \w+ stand: other checkpoints were not checked;", events.notes)


def test_other_company_rounds_otherwise_and_own_batches_decide(tmp_path: Path) -> None:
    def predict(weights: Columns, inputs: Array) -> Array:
        scores = linear(weights, inputs)
        top = scores.max(axis=1)
        close = inputs[:, 1] > 2.2  # some 20 rows whose first two classes are nearly tied
        scores[close, 0] = top[close] + 2.0
        scores[close, 1] = scores[close, 0] + np.float32(5e-7 if inputs[0, 0] > 0 else -5e-7)
        return scores

    folder = tmp_path / "lenet"
    folder.mkdir()
    save(folder / "step-1.npz", weights_of(1))
    data = {"test": Arrays(*examples(2000), order="natural")}
    go(evaluation_of(predict=predict, data=data, version="1"), folder, store=tmp_path / "evals")
    events = go(evaluation_of(predict=predict, data=data, version="2"), folder, store=tmp_path / "evals")
    assert events.done == (0, 1, 0), events.notes
    assert "finds the same outcomes" in events.notes


def test_the_sample_is_whole_batches_from_all_over_and_always_the_same() -> None:
    one = sampled_positions(MANY, 100, "0123456789abcdef00")
    assert one.tolist() == sampled_positions(MANY, 100, "0123456789abcdef11").tolist() == np.unique(one).tolist()
    assert one.tolist() != sampled_positions(MANY, 100, "1123456789abcdef").tolist()
    assert len(one) == 1_100 >= ROWS
    assert np.histogram(one, 10, (0, MANY))[0].min() > 80
    assert sampled_positions(700, 64, "ab").tolist() == list(range(700))


def test_what_differs_in_more_rows_than_the_bound_is_missed_in_one_sample_of_twenty() -> None:
    few = np.arange(MANY - 1 - most_unseen(MANY, ROWS), MANY)  # the last rows, which stand together
    missed = sum(not np.isin(few, sampled_positions(MANY, 64, digest(number))).any() for number in range(400))
    assert 0.02 < missed / 400 < 0.09  # .049 is right; four standard errors


def test_the_columns_of_the_data_are_compared_too(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    inputs, labels = examples(700)
    kinds = np.where(np.arange(700) < 699, "a", "b")
    go(evaluation_of(data={"test": Arrays(inputs, labels, version="x@1")}, version="1"), folder, store=tmp_path / "e")
    relabelled = Arrays(inputs, (labels + (np.arange(700) == 5)) % CLASSES, version="x@1")
    with pytest.raises(Exception, match="label was"):  # the pass itself refuses other labels of the same data
        go(evaluation_of(data={"test": relabelled}, version="2"), folder, store=tmp_path / "e")
    sliced = Arrays(inputs, labels, version="x@1", slices={"kind": kinds})
    assert go(evaluation_of(data={"test": sliced}, version="3"), folder, store=tmp_path / "e").done == (0, 1, 0)
    assert inputs.shape[1] == FEATURES
