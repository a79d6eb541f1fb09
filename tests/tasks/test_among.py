"""The best of a subset of outputs is what slicing the scores gives, in the model's own numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tests._material import CLASSES, checkpoints, columns_of, evaluation_of, examples, go

from milepost.core.specs import spec_of
from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.errors import DataError
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.tasks import Classification

AMONG = (1, 4, 6)
RNG = np.random.default_rng(3)


def case(rows: int = 500) -> tuple[Array, Array]:
    """Return scores with ties, -inf, NaN and +inf, in outputs that are taken and in others; labels are taken."""
    scores = RNG.integers(-8, 9, (rows, 7)) / 4.0
    scores[RNG.integers(0, rows, 40), RNG.integers(0, 7, 40)] = RNG.choice([np.nan, np.inf, -np.inf], 40)
    return scores, RNG.choice(AMONG, rows)


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor, np.float16, lambda scores: torch.tensor(scores).half()])
@pytest.mark.parametrize("outputs", ["logits", "scores"])
def test_it_is_the_same_as_slicing(outputs: Any, convert: Any) -> None:
    scores, labels = case()
    task, plain = Classification(outputs=outputs, among=AMONG), Classification(outputs=outputs)
    wanted = frozenset(task.columns())
    found = task.reduce(convert(scores), labels, wanted)
    expected = plain.reduce(convert(scores[:, AMONG]), np.searchsorted(AMONG, labels), wanted)
    seen = expected["prediction"] >= 0
    expected["prediction"] = np.where(seen, np.array(AMONG)[expected["prediction"]], -1).astype(np.int32)
    assert {name: item.tobytes() for name, item in found.items()} == {k: v.tobytes() for k, v in expected.items()}
    assert 0 < np.count_nonzero(~seen) < len(seen)


def test_probabilities_are_those_among_the_outputs() -> None:
    logits, labels = RNG.normal(size=(200, 7)), RNG.choice(AMONG, 200)
    shares = softmax(logits, axis=1)
    wanted = frozenset({"nll", "confidence", "squared_error", "rank"})
    from_logits = Classification(outputs="logits", among=AMONG).reduce(logits, labels, wanted)
    declared = Classification(outputs="probabilities", among=AMONG).reduce(shares, labels, wanted)
    truth = softmax(logits[:, AMONG], axis=1)
    nll = -np.log(truth[np.arange(200), np.searchsorted(AMONG, labels)])
    for found in (from_logits, declared):
        np.testing.assert_allclose(found["nll"], nll, rtol=1e-6)
        np.testing.assert_allclose(found["confidence"], truth.max(axis=1), rtol=1e-6)
    with pytest.raises(DataError, match="declared to be probabilities, but row 0 of a batch sums to 2"):
        Classification(outputs="probabilities", among=AMONG).reduce(2 * shares, labels, wanted)


@pytest.mark.parametrize("among", [[], [3], [1, 1, 2], [-1, 2], ["a", "b"], [True, 2], 3, "12", [1.0, 2.0]])
def test_odd_subsets_are_refused(among: Any) -> None:
    with pytest.raises(DataError, match=r"expected two or more numbers of outputs, each once, from 0 on"):
        Classification(outputs="logits", among=among)


def test_labels_and_outputs_that_do_not_fit() -> None:
    task = Classification(outputs="logits", among=[6, 4, 1])
    words = r"label 0 is not among the 3 outputs .* 1, 4, 6; 2 of 3 .*0 to 2 as `among` lists them, give it label_map="
    with pytest.raises(DataError, match=words):
        task.reduce(np.zeros((3, 7)), np.array([0, 1, 2]), frozenset({"rank"}))
    with pytest.raises(DataError, match=r"names the output 6, but the model has 5 \(0 to 4\)"):
        task.reduce(np.zeros((3, 5)), np.array([1, 1, 4]), frozenset({"rank"}))
    one_hot = np.eye(7)[[1, 4, 6]]
    assert task.reduce(np.eye(7)[[1, 4, 6]], one_hot, frozenset({"rank"}))["rank"].tolist() == [0, 0, 0]


def test_it_is_part_of_the_task_only_where_it_is_set() -> None:
    assert spec_of(Classification(outputs="logits")) == {
        "name": "classification", "version": 2, "outputs": "logits", "normalize": False,
    }  # fmt: skip
    assert spec_of(Classification(outputs="logits", among=[6, 1]))["among"] == [1, 6]
    numbers: Any = np.array([1, 6])
    assert Classification(outputs="logits", among=[6, 1]) == Classification(outputs="logits", among=numbers)


def test_a_whole_run_over_a_subset(tmp_path: Path) -> None:
    x, _ = examples(400)
    among = [2, 5, 7]
    y = np.random.default_rng(5).integers(0, 3, 400)  # the folder's own numbers
    data = {"a": Arrays(x, y, label_map=dict(enumerate(among)))}
    task = Classification(outputs="logits", among=among)
    runs = checkpoints(tmp_path / "runs", 1)
    given: dict[str, Any] = {"data": data, "metrics": [TopK(1), TopK(3), CrossEntropy()]}
    events = go(evaluation_of(task=task, **given), runs, store=tmp_path / "evals")
    with np.load(runs / "step-1.npz") as held:
        scores = (x @ held["w"] + held["b"]).astype(np.float64)[:, among]
    assert events.value("top1") == np.mean(scores.argmax(axis=1) == y)
    assert events.value("top3") == 1.0
    truth = -np.log(softmax(scores, axis=1)[np.arange(400), y])
    assert events.value("cross_entropy") == pytest.approx(truth.mean(), rel=1e-6)
    assert set(np.unique(columns_of(tmp_path / "evals")["prediction"])) <= set(among)
    assert "top3 counts every finite row as right: the model has 3 outputs" in events.notes
    assert f"the model has {CLASSES}" not in events.notes
    whole = go(evaluation_of(**given), runs, store=tmp_path / "evals")
    assert whole.done == (1, 0, 0), "another task is another evaluation"
