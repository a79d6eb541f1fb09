"""Warnings of a run: printed once, shown again without the model, and their advice leads to the right value."""

import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from tests._material import CLASSES, command, evaluation_of, examples, go, linear, save, weights_of

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.images import Images
from milepost.errors import DataError, UnstableData
from milepost.metrics import CrossEntropy, TopK
from milepost.tasks import Classification

ROWS = 700


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three checkpoints of which each predicts the classes of `truth`."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for step in (100, 200, 300):
        save(runs / f"step-{step}.npz", {name: array * np.float32(step) for name, array in weights_of(0).items()})
    return runs


def truth() -> tuple[Array, Array]:
    inputs, _ = examples(ROWS)
    return inputs, linear(weights_of(0), inputs).argmax(axis=1)


def of(data: Any, **changes: Any) -> Any:
    return evaluation_of(data={"test": data}, metrics=[TopK(1)], **changes)


def test_a_warning_is_printed_once_and_shown_of_each(folder: Path, store: Path) -> None:
    inputs, labels = truth()
    events = go(of(Arrays(inputs, (labels + 1) % CLASSES)), folder, store=store)
    printed = [line for line in events.notes.splitlines() if "off_by_one" in line or "minus 1" in line]
    assert printed[0].startswith("step-100 on test: the prediction is the label minus 1 in 700 of 700 rows, the label ")
    assert printed[1:] == [
        "3 checkpoints on test have the warning 'off_by_one'; `milepost show` says what holds of each"
    ]
    for record in events.of("record"):
        assert list(record["warnings"]) == ["off_by_one"]
    for step in (100, 300):
        shown = command("show", step, "--store", store).stdout
        assert len(re.findall(r"\n  warning +the prediction is the label minus 1 in 700 of 700 rows, ", shown)) == 1
    assert "minus 1" not in go(of(Arrays(inputs, (labels + 1) % CLASSES)), folder, store=store).notes
    # A metric that is added later, from the store alone.
    command("score", "100", "--metric", "top_k(k=20)", "--store", store)
    records = [json.loads(line) for line in command("show", "100", "--json", "--store", store).stdout.splitlines()]
    found = {record["metric"]: list(record.get("warnings", {})) for record in records if record["event"] == "record"}
    assert found == {"top1": ["off_by_one"], "top20": ["off_by_one", "trivial"]}


def test_the_advice_for_labels_that_are_off_by_one_works(folder: Path, store: Path) -> None:
    inputs, labels = truth()
    inside = labels < CLASSES - 1
    data = inputs[inside], labels[inside] + 1
    events = go(of(Arrays(*data)), folder, store=store, match="*-100.npz")
    assert "pass label_offset=-1 with the data" in events.notes
    events = go(of(Arrays(*data, label_offset=-1)), folder, store=store, match="*-100.npz")
    assert (events.value("top1"), events.of("record")[0].get("warnings")) == (1.0, None)
    shifted = (labels + 1) % CLASSES
    assert (
        "pass label_map={0: 9, 1: 0, ...}"
        in go(of(Arrays(inputs, shifted)), folder, store=store, match="*-100.npz").notes
    )
    mapped = Arrays(inputs, shifted, label_map={label: (label - 1) % CLASSES for label in range(CLASSES)})
    assert go(of(mapped), folder, store=store, match="*-100.npz").value("top1") == 1.0


def test_the_advice_for_classes_in_another_order_works(folder: Path, store: Path) -> None:
    inputs, labels = truth()
    sorted_as_texts = sorted(range(CLASSES), key=lambda label: str(label + 1))
    other = np.argsort(sorted_as_texts)[labels]
    events = go(of(Arrays(inputs, other)), folder, store=store, match="*-100.npz")
    assert re.search(r"with label 1 as class 9, 2 as class 1, 3 as class 2 and \d more \(learned", events.notes)
    right = Arrays(inputs, other, label_map=dict(enumerate(sorted_as_texts)))
    assert go(of(right), folder, store=store, match="*-100.npz").value("top1") == 1.0


def test_three_image_folders_against_ten_outputs(tmp_path: Path, store: Path) -> None:
    """Of ten classes by brightness three are there: their folders are not the model's classes 0 to 2."""
    for label in (2, 5, 7):
        (tmp_path / "data" / f"n{label}").mkdir(parents=True)
        for copy in range(4):
            Image.new("L", (2, 2), 25 * label).save(tmp_path / "data" / f"n{label}" / f"{copy}.png")
    (tmp_path / "runs").mkdir()
    centres = 25 * np.arange(10, dtype=np.float32)
    save(tmp_path / "runs" / "step-1.npz", {"centres": centres})

    def nearest(weights: dict[str, Array], inputs: Array) -> Array:
        return np.asarray(-((inputs[:, :1, 0, 0] - weights["centres"]) ** 2))

    def run(**declared: Any) -> Any:
        data = Images(str(tmp_path / "data"), preset="raw", **declared)
        return go(of(data, predict=nearest), tmp_path / "runs", store=store)

    events = run()
    assert events.value("top1") == 0.0
    assert "step-1 on test: the labels are 3 classes, 0 to 2 (n2, n5, n7), but the model has 10 outputs" in events.notes
    for classes in ({"n2": 2, "n5": 5, "n7": 7}, [f"n{label}" for label in range(10)]):
        events = run(classes=classes)
        assert (events.value("top1"), "outputs" in events.notes) == (1.0, False)


def test_scores_of_16_bits_tie_at_the_top(folder: Path, store: Path) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, CLASSES, 1000)
    noise = 0.3 * random.normal(size=(1000, CLASSES))
    inputs = (8 + 0.02 * (np.eye(CLASSES)[labels] + noise)).astype(np.float32)
    tied = inputs.astype(ml_dtypes.bfloat16).astype(np.float32)
    highest = np.sort(tied, axis=1)

    def given(weights: dict[str, Array], inputs: Array, dtype: Any = np.float32) -> Array:
        return np.asarray(
            inputs.astype(dtype) + 0 * weights["w"].sum().astype(dtype) + 0 * weights["b"].sum().astype(dtype)
        )

    events = go(of(Arrays(inputs, labels), predict=given), folder, store=store, match="*-100.npz")
    assert (events.value("top1"), "highest" in events.notes) == ((inputs.argmax(axis=1) == labels).mean(), False)

    def rounded(weights: dict[str, Array], inputs: Array) -> Array:
        return given(weights, inputs, ml_dtypes.bfloat16)

    events = go(of(Arrays(inputs, labels), predict=rounded, version="2"), folder, store=store, match="*-100.npz")
    count = int((highest[:, -1] == highest[:, -2]).sum())
    assert count > 900
    assert f"step-100 on test: {count:,} of 1,000 rows have their highest score in several classes" in events.notes
    assert events.value("top1") == (tied.argmax(axis=1) == labels).mean()


def test_probabilities_declared_as_logits(folder: Path, store: Path) -> None:
    inputs, labels = truth()

    def softmax(weights: dict[str, Array], inputs: Array) -> Array:
        scores = np.exp(linear(weights, inputs) / 1000)
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    data, metrics = {"test": Arrays(inputs, labels)}, [TopK(1), CrossEntropy()]
    events = go(evaluation_of(predict=softmax, data=data, metrics=metrics), folder, store=store, match="*-100.npz")
    assert "outputs are declared to be logits, but look like probabilities" in events.notes
    shown = command("show", "100", "--store", store).stdout
    assert re.search(r"\n  warning +outputs are declared to be logits, but look like probabilities", shown)
    assert re.search(r"\n  its scores +\[10\], 64 finite rows, from \S+ to \S+, rows sum to 1 to 1\n", shown)
    task = Classification(outputs="probabilities")
    events = go(
        evaluation_of(predict=softmax, data=data, metrics=metrics, task=task), folder, store=store, match="*-100.npz"
    )
    assert "look like" not in events.notes


class Shrinking(Arrays):
    """Has a row less each time that it is asked."""

    @property
    def size(self) -> int:
        self._size -= 1
        return self._size


def test_a_source_whose_size_changes_is_refused(folder: Path, store: Path) -> None:
    with pytest.raises(UnstableData, match=r"source 'test' has \d+ rows by now; it had \d+ when the run began"):
        go(of(Shrinking(*truth())), folder, store=store)


def test_a_model_that_drops_rows_is_refused(folder: Path, store: Path) -> None:
    words = r"63 rows of outputs came with labels of shape \(64,\); .* the model must return one row of scores for each"
    with pytest.raises(DataError, match=words):
        go(of(Arrays(*truth()), predict=lambda w, x: linear(w, x)[1:]), folder, store=store)


def test_several_outputs_end_the_run_by_their_name(folder: Path, store: Path) -> None:
    def several(weights: dict[str, Array], inputs: Array) -> Any:
        return linear(weights, inputs), inputs

    with pytest.raises(DataError, match=r"the model returned a tuple of 2: let it return the scores alone"):
        go(of(Arrays(*truth()), predict=several), folder, store=store)
