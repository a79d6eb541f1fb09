"""Numbers that deserve a word: each kind where it holds, at its edge, and not where it does not."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from milepost.core.protocols import Metric
from milepost.core.types import Array
from milepost.data._order import make_order
from milepost.metrics import CrossEntropy, TopK
from milepost.scoring.columns import Scored
from milepost.scoring.warnings import warnings_of
from milepost.tasks import Classification

TASK = Classification(outputs="logits")
FOLDERS = {"described": {"classes": {"0": "ant", "1": "bee", "2": "cow"}, "numbered": "sub-folders"}}


@dataclass(frozen=True)
class Reader:
    """Columns in memory, with what a pass noted of the outputs."""

    columns: dict[str, Array]
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def environments(self) -> list[Any]:
        return [{}, {"outputs": self.outputs}]

    def slice(self, name: str, start: int, stop: int) -> Array:
        return self.columns[name][start:stop]

    def take(self, name: str, positions: Array) -> Array:
        return self.columns[name][positions]


def warned(labels: Any, predictions: Any, **more: Any) -> dict[str, str]:
    """Return the warnings of rows with these labels and predictions, of a model with ten outputs."""
    labels, predictions = np.asarray(labels), np.asarray(predictions, np.int32)
    count = len(labels)
    data = {"label": labels, **more.pop("data", {})}
    columns = {"prediction": predictions, "margin": np.ones(count, np.float32), **more.pop("columns", {})}
    reader: Any = Reader
    outcomes = reader(columns, {"shape": [more.pop("classes", 10)], **more.pop("outputs", {})})
    size = more.pop("size", count)
    scored = Scored(outcomes, reader(data), make_order("natural", size, 0), count, size, "test", **more)
    return warnings_of(scored, [TopK(1)])["top1"]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def like(labels: Array, random: np.random.Generator, accuracy: float, classes: int = 10) -> Array:
    """Return predictions that are right for a share of the rows, and any class for the others."""
    return np.where(random.random(len(labels)) < accuracy, labels, random.integers(0, classes, len(labels)))


# --------------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("accuracy", [0.0, 0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_honest_predictions_get_no_word(accuracy: float, classes: int, random: np.random.Generator) -> None:
    labels = random.integers(0, classes, 2000)
    assert warned(labels, like(labels, random, accuracy, classes), classes=classes) == {}


def test_a_model_that_prefers_a_rare_class_is_not_below_chance(random: np.random.Generator) -> None:
    labels = (random.random(2000) < 0.05).astype(int)
    preferred = (random.random(2000) < 0.97).astype(int)  # right in 8 of 100 rows, as it must be by chance
    assert warned(labels, preferred, classes=2) == {}


def test_one_class_for_all_rows(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 500)
    assert warned(labels, np.full(500, 3)) == {
        "constant": "all 500 rows are predicted as class 3: the model may be untrained, or its inputs may be prepared "
        "in another way than in training"
    }
    assert "as no class (every row is non-finite)" in warned(labels, np.full(500, -1))["constant"]
    assert warned([1], [1]) == {}


@pytest.mark.parametrize(
    ("step", "classes", "advice"),
    [
        (1, 11, "plus 1 in .*: if .*, pass label_offset=1 with the data"),
        (-1, 11, "minus 1 in .*, pass label_map={0: 10, 1: 0, ...} with the data"),
        (1, 10, "plus 1 in .*, pass label_map={0: 1, 1: 2, ...} with the data"),
    ],
)
def test_labels_that_are_off_by_one(step: int, classes: int, advice: str, random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 1000)
    found = warned(labels, like((labels + step) % classes, random, 0.8), classes=classes)
    assert list(found) in (["off_by_one"], ["off_by_one", "classes"])
    assert re.search(advice.replace("{", r"\{"), found["off_by_one"])


def test_as_many_neighbours_as_labels_among_few_rows_are_not_off_by_one() -> None:
    labels = np.arange(20) % 10
    predictions = np.where(np.arange(20) < 13, (labels + 1) % 10, labels)
    assert warned(labels, predictions) == {}
    assert warned(np.tile(labels, 9), np.tile(predictions, 9)) == {}, "117 and 63 of 180 may be one and the same share"
    assert list(warned(np.tile(labels, 20), np.tile(predictions, 20))) == ["off_by_one"]


def test_neighbours_that_are_often_mistaken_are_not_off_by_one(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 5000)  # ages, say: right in 40 %, one too many in 50 %
    draws = random.random(5000)
    assert warned(labels, np.where(draws < 0.4, labels, np.where(draws < 0.9, (labels + 1) % 10, 0))) == {}


@pytest.mark.parametrize("rows", [200, 100_000])
def test_classes_in_another_order(rows: int, random: np.random.Generator) -> None:
    names = np.array([0, 1, 3, 4, 5, 6, 7, 8, 9, 2])  # sorted as texts: the last one is "10", say
    labels = random.integers(0, 10, rows)
    found = warned(labels, like(names[labels], random, 0.9))
    assert list(found) == ["renamed"]
    assert "with label 2 as class 3, 3 as class 4, 4 as class 5 and 5 more (learned" in found["renamed"]


def test_two_classes_that_are_swapped(random: np.random.Generator) -> None:
    labels = random.integers(0, 2, 1000)
    found = warned(labels, 1 - like(labels, random, 0.6, 2), classes=2)
    assert list(found) == ["renamed"]
    assert "with label 0 as class 1, 1 as class 0 (learned from the other half of the rows)" in found["renamed"]


def test_too_few_rows_of_each_class_show_no_order(random: np.random.Generator) -> None:
    names = random.permutation(500)
    labels = np.arange(500)
    assert warned(labels, names[labels], classes=500) == {}


def test_far_below_chance(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 1000)
    wrong = (labels + random.integers(1, 10, 1000)) % 10  # any class but the label's
    found = warned(labels, wrong)
    assert list(found) == ["below_chance"]
    assert found["below_chance"].startswith("0 of 1,000 rows are right, where predictions that do not depend on the ")
    near = np.where(random.random(1000) < 0.9, random.integers(0, 10, 1000), wrong)
    assert warned(labels, near) == {}, "a little below chance"
    groups = np.arange(1000) // 50
    assert warned(labels, wrong, data={"group": groups}) == {}, "20 groups, each of which may be one case"


def test_groups_that_are_alike_are_learned_from_others() -> None:
    groups = np.arange(1000) // 100
    labels, predictions = groups, np.array([5, 2, 9, 8, 0, 1, 7, 6, 3, 4])[groups]
    assert list(warned(labels, predictions)) == ["renamed"], "as if rows were independent"
    assert warned(labels, predictions, data={"group": groups}) == {}


def test_nonfinite_rows_are_no_predictions(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 1000)
    assert warned(labels, np.where(random.random(1000) < 0.9, -1, labels)) == {}
    assert "100 of 100" in warned(labels, np.where(np.arange(1000) < 900, -1, (labels + 1) % 10))["off_by_one"]


def test_rows_that_are_tied_at_the_top(random: np.random.Generator) -> None:
    labels = random.integers(0, 10, 1000)
    margin = np.ones(1000, np.float32)
    margin[:50] = 0
    assert warned(labels, labels, columns={"margin": margin}) == {}
    margin[50] = 0
    found = warned(labels, labels, columns={"margin": margin})
    assert list(found) == ["tied"]
    assert found["tied"].startswith("51 of 1,000 rows have their highest score in several classes")


# ------------------------------------------------------------------------------------------------- classes and outputs


def test_three_folders_against_ten_outputs() -> None:
    labels = np.arange(12) % 3
    found = warned(labels, labels, about=FOLDERS)
    assert found == {
        "classes": "the labels are 3 classes, 0 to 2 (ant, bee, cow), but the model has 10 outputs: sub-folders are "
        "numbered as they are sorted; if their numbers in the model are others, pass Images(..., classes=names) with "
        "the names of all 10 in the model's order, or a mapping to numbers"
    }
    assert warned(labels, labels, about=FOLDERS, classes=3) == {}
    assert "the model has 10" in warned(labels[:4], labels[:4], about=FOLDERS, size=12)["classes"], "known by the names"


@pytest.mark.parametrize(
    "about",
    [
        {"described": {"classes": {"0": "ant", "1": "bee", "2": "cow"}, "numbered": "mapping"}},
        {"fingerprint": {"label_map": "0123"}, "described": {}},
        {"described": {"classes": {str(label): f"class {label}" for label in range(10)}}},
    ],
)
def test_classes_that_were_declared_get_no_word(about: dict[str, Any], random: np.random.Generator) -> None:
    labels = random.integers(0, 3, 1000)
    assert warned(labels, labels, about=about) == {}


def test_labels_without_names_are_judged_by_what_all_rows_hold(random: np.random.Generator) -> None:
    labels = random.integers(0, 9, 1000)
    found = warned(labels, labels)["classes"]
    assert found.startswith(
        "the labels are 9 classes, 0 to 8, but the model has 10 outputs: if the model numbers them "
    )
    assert "label_map= or label_offset=" in found
    assert warned(labels, labels, size=2000) == {}, "other rows may hold other labels"
    assert warned(labels[:40], labels[:40]) == {}, "one of ten classes may be missing among so few rows"
    assert warned(labels + 1, labels + 1) == {}, "class 0 may be the background"
    gaps = np.array([2, 5, 7])[labels % 3]
    assert warned(gaps, gaps) == {}, "labels that skip numbers are the model's"


def test_logits_that_look_like_probabilities() -> None:
    labels = np.arange(100) % 10
    seen = {"rows": 100, "least": 0.0, "largest": 1.0, "sums": [0.999, 1.001]}
    task = {"name": "classification", "outputs": "logits"}
    scored = {"nll": np.zeros(100, np.float32)}
    found = warned(labels, labels, outputs=seen, task=task, columns=scored)
    assert list(found) == ["probabilities"]
    assert 'write Classification(outputs="probabilities")' in found["probabilities"]
    for outputs in ({**seen, "least": -0.1}, {**seen, "sums": [0.9, 1.0]}, {**seen, "rows": 1}, {"rows": 0}):
        assert warned(labels, labels, outputs=outputs, task=task, columns=scored) == {}
    assert warned(labels, labels, outputs=seen, task=task) == {}, "no value is computed from probabilities"
    assert warned(labels, labels, outputs=seen, task={**task, "outputs": "probabilities"}, columns=scored) == {}


def test_a_top_k_that_counts_every_row_is_warned_of_alone() -> None:
    labels = np.arange(100) % 10
    order = make_order("natural", 100, 0)
    columns = TASK.reduce(np.eye(10)[labels], labels, frozenset(TASK.columns()))
    reader: Any = Reader
    scored = Scored(reader(columns, {"shape": [10]}), reader({"label": labels}), order, 100, 100, "test")
    metrics: list[Metric] = [TopK(1), TopK(9), TopK(10), TopK(20, ties="in_top_k"), CrossEntropy()]
    found = warnings_of(scored, metrics)
    assert [found[metric.headline] for metric in metrics] == [
        {},
        {},
        {"trivial": "top10 counts every finite row as right: the model has 10 outputs; choose a smaller k"},
        {"trivial": "top20_in_top_k counts every finite row as right: the model has 10 outputs; choose a smaller k"},
        {},
    ]
