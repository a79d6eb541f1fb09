"""Labels of every form through a whole run; the advice for those that no task takes gives the truth when followed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from tests._material import CLASSES, checkpoints, columns_of, command, evaluation_of, examples, go, linear, save

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.errors import DataError
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel

ROWS = 300
EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

rng = np.random.default_rng(0)
x, y = rng.normal(size=(50, 8)).astype(np.float32), np.eye(10)[rng.integers(0, 10, 50)] * 0.9 + 0.01
evaluation = Evaluation(
    model=FunctionModel(lambda weights, x: x @ weights["w"] + weights["b"]),
    data={"test": Arrays(x, y)}, task=Classification(outputs="logits"), metrics=[TopK(1)],
)
"""
X, Y = examples(ROWS)


def values(tmp_path: Path, source: Any, name: str, **more: Any) -> tuple[dict[tuple[str, str], float], Any]:
    runs = checkpoints(tmp_path / "runs", 1)
    made = {"metrics": [TopK(1), CrossEntropy(), Confusion()], **more}
    events = go(evaluation_of(data={"test": source}, **made), runs, store=tmp_path / name)
    found = {(item["metric"], item["estimator"]): item["value"] for item in events.of("record")}
    return found, columns_of(tmp_path / name)


@pytest.mark.parametrize("form", ["float", "integer", "column", "stream"])
def test_forms_of_labels_give_the_same_values(form: str, tmp_path: Path) -> None:
    one_hot = np.eye(CLASSES, dtype=np.float32)[Y]
    sources: dict[str, Callable[[], Any]] = {
        "float": lambda: Arrays(X, one_hot),
        "integer": lambda: Arrays(X, one_hot.astype(np.uint8)),
        "column": lambda: Arrays(X, Y[:, None]),
        "stream": lambda: Batches(lambda: ((X[rows], one_hot[rows]) for rows in (slice(0, 170), slice(170, ROWS)))),
    }
    found, _ = values(tmp_path, sources[form](), "a")
    expected, _ = values(tmp_path, Arrays(X, Y, order="natural" if form == "stream" else "seeded"), "b")
    assert found == expected


def test_smoothed_labels_are_refused_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "eval.py").write_text(EVALUATION)
    checkpoints(tmp_path / "runs", 1)
    ended = command("run", "eval.py", "runs", cwd=tmp_path)
    assert ended.returncode == 2
    assert "looks smoothed or mixed; pass labels.argmax(axis=1)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_map_of_numbers_and_one_hot_labels_do_not_go_together() -> None:
    with pytest.raises(DataError, match=r"label_offset need class numbers; found dtype float64, shape \(300, 10\)"):
        Arrays(X, np.eye(CLASSES)[Y], label_offset=1)


def test_one_label_at_a_time_is_what_the_advice_says(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, (ROWS, CLASSES)).astype(float)
    labels[random.random((ROWS, CLASSES)) < 0.2] = np.nan
    with pytest.raises(DataError, match="what works today is one label at a time"):
        values(tmp_path, Arrays(X, labels), "refused")

    def third(weights: Any, inputs: Array) -> Array:
        score = linear(weights, inputs)[:, 3]
        return np.stack([0 * score, score], axis=1)

    known = ~np.isnan(labels[:, 3])
    source = Arrays(X, np.nan_to_num(labels[:, 3]).astype(int), mask=known)
    found, _ = values(tmp_path, source, "one", model=FunctionModel(third))
    with np.load(tmp_path / "runs" / "step-1.npz") as held:
        score = linear(held, X)[known, 3].astype(np.float64)
    truth = labels[known, 3]
    assert found["top1", "exact"] == metrics.accuracy_score(truth, score > 0)
    assert found["cross_entropy", "exact"] == pytest.approx(metrics.log_loss(truth, 1 / (1 + np.exp(-score))), rel=1e-6)


def test_each_token_as_a_row_is_what_the_advice_says(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.integers(0, 6, (40, 9))
    y = np.where(np.arange(9) < random.integers(2, 10, 40)[:, None], (x + (random.random(x.shape) < 0.3)) % 6, -100)
    (tmp_path / "lm").mkdir()
    table = (2 * np.eye(6) + 0.3 * random.normal(size=(6, 6))).astype(np.float32)
    save(tmp_path / "lm" / "step-1.npz", {"w": table})
    given: Any = {
        "model": FunctionModel(lambda weights, tokens: weights["w"][tokens]),
        "metrics": [TopK(1), CrossEntropy()],
    }
    with pytest.raises(DataError, match="one a token"):
        go(evaluation_of(data={"t": Arrays(x, y)}, **given), tmp_path / "lm", store=tmp_path / "refused")
    groups = np.repeat(np.arange(len(y)), y.shape[1])
    source = Arrays(x.reshape(-1), y.reshape(-1), mask=y.reshape(-1) >= 0, groups=groups)
    events = go(evaluation_of(data={"t": source}, **given), tmp_path / "lm", store=tmp_path / "evals")
    counted = y >= 0
    scores = table.astype(np.float64)[x[counted]]
    nll = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(scores)), y[counted]]
    assert events.value("cross_entropy") == pytest.approx(nll.mean(), rel=1e-6)
    assert events.value("top1") == metrics.accuracy_score(y[counted], scores.argmax(axis=1))


def test_each_pixel_as_a_row_is_what_the_advice_says(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    y = random.integers(0, 3, (20, 6, 6))
    x = (np.eye(3, dtype=np.float32)[y] + random.normal(size=(20, 6, 6, 3)) * 0.6).astype(np.float32)
    y[:, 0] = 255
    (tmp_path / "pixels").mkdir()
    save(tmp_path / "pixels" / "step-1.npz", {"w": np.eye(3, dtype=np.float32)})
    given: Any = {
        "model": FunctionModel(lambda weights, pixels: pixels @ weights["w"]),
        "metrics": [TopK(1), Confusion()],
    }
    with pytest.raises(DataError, match="one a pixel"):
        go(evaluation_of(data={"t": Arrays(x, y)}, **given), tmp_path / "pixels", store=tmp_path / "refused")
    source = Arrays(
        x.reshape(-1, 3), y.reshape(-1), mask=y.reshape(-1) != 255, groups=np.repeat(np.arange(len(y)), y[0].size)
    )
    events = go(evaluation_of(data={"t": source}, **given), tmp_path / "pixels", store=tmp_path / "evals")
    counted = y != 255
    predicted = x.argmax(axis=-1)[counted]
    assert events.value("top1") == metrics.accuracy_score(y[counted], predicted)
    recall = metrics.balanced_accuracy_score(y[counted], predicted)
    assert events.value("mean_per_class_accuracy") == pytest.approx(recall, rel=1e-12)
