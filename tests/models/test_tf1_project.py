"""A Slim project's checkpoints, with the counts that are known; and what a user may override."""

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests._material import go, save
from tests.models._tf1_nets import block, digits

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.evaluation.definition import Evaluation
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.models.tf1 import GraphModel
from milepost.tasks.classification import Classification

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet

STEPS = (0, 40, 80, 120, 160, 200)
TOP1 = (40, 299, 329, 340, 340, 347)
TOP5 = (167, 357, 360, 360, 360, 360)
NLL = (2.365278, 0.627448, 0.237400, 0.143635, 0.118740, 0.101068)
RAW, EMA = (57, 290, 324, 331, 342, 346), (57, 299, 322, 331, 340, 345)
IMAGES = {"images": (tf.float32, [None, 8, 8, 1])}


def held_out() -> tuple[Array, Array]:
    found = load_digits()
    rows = np.random.RandomState(0).permutation(1797)[1437:]
    return (found.images[rows, :, :, None] / 16).astype(np.float32), found.target[rows]


def evaluation(function: Any = digits, variants: tuple[str, ...] = ("raw",), **message: Any) -> Evaluation:
    return Evaluation(
        model=GraphModel(function, IMAGES, **message),
        variants=variants,
        data={"validation": Arrays(*held_out())},
        task=Classification(outputs="logits"),
        metrics=[TopK(1), TopK(5), CrossEntropy()],
        batch_size=100,
        version="1",
    )


def correct(events: Any, metric: str = "top1", variant: str = "raw") -> tuple[float, ...]:
    steps = STEPS if variant == "raw" else STEPS[1:]  # before the first step the averages are the weights: one content
    return tuple(events.value(metric, step=step, variant=variant) * 360 for step in steps)


def one(folder: Path, data: Path, step: int = 200) -> Path:
    """Copy one checkpoint of the series; not its graph, which nobody needs."""
    folder.mkdir()
    for path in (data / "checkpoints" / "digits_slim").glob(f"model.ckpt-{step}.[di]*"):
        shutil.copy(path, folder)
    return folder


def test_the_digits_series_has_its_counts(shared_data: Path, store: Path) -> None:
    events = go(evaluation(), shared_data / "checkpoints" / "digits_slim", store=store)
    assert events.done == (6, 0, 0)
    assert correct(events) == pytest.approx(TOP1, abs=1e-9)
    assert correct(events, "top5") == pytest.approx(TOP5, abs=1e-9)
    found = [events.value("cross_entropy", step=step) for step in STEPS]
    assert found == pytest.approx(NLL, abs=1e-6)


def test_averages_are_a_second_row_of_one_pass(shared_data: Path, store: Path) -> None:
    folder = shared_data / "checkpoints" / "digits_slim_dropout_ema"
    events = go(evaluation(variants=("raw", "ema")), folder, store=store)
    assert correct(events) == pytest.approx(RAW, abs=1e-9)
    assert correct(events, variant="ema") == pytest.approx(EMA[1:], abs=1e-9)
    assert events.ends["model.ckpt-0/ema"][0] == "skipped"


def test_without_averages_the_variant_is_a_mismatch_and_raw_goes_on(
    shared_data: Path, tmp_path: Path, store: Path
) -> None:
    events = go(evaluation(variants=("raw", "ema")), one(tmp_path / "runs", shared_data), store=store)
    assert events.value("top1", variant="raw") * 360 == pytest.approx(347)
    assert [item["class"] for item in events.of("failure")] == ["mismatch"]
    assert "no weights of variant 'ema' (NAME/ExponentialMovingAverage" in events.of("failure")[0]["message"]


def test_a_real_project_of_2017_with_raw_pixels(shared_data: Path, store: Path) -> None:
    def mlp(x: Any) -> Any:
        for scope, sizes in (("h1", [784, 100]), ("h2", [100, 25]), ("output", [25, 10])):
            with tf.variable_scope(scope):
                x = x @ tf.get_variable("w", sizes) + tf.get_variable("b", sizes[1:])
                x = x if scope == "output" else tf.nn.relu(x)
        return x

    read = sorted((gzip.decompress(path.read_bytes()) for path in (shared_data / "mnist").glob("t10k-*.gz")), key=len)
    labels, pixels = (np.frombuffer(item, np.uint8, offset=begin) for item, begin in zip(read, (8, 16), strict=True))
    mnist = Evaluation(
        model=GraphModel(mlp, {"x": (tf.float32, [None, 784])}),
        data={"test": Arrays(pixels.reshape(-1, 784), labels.astype(np.int64))},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        version="1",
    )
    events = go(mnist, shared_data / "checkpoints" / "mnist_mlp_tf1", store=store)
    assert events.value("top1", step=20000) == pytest.approx(0.9778, abs=1e-9)


def test_dropout_left_on_is_refused_with_its_line(shared_data: Path, tmp_path: Path, store: Path) -> None:
    def trained(images: Any) -> Any:
        return digits(images, is_training=True, dropout=True)

    events = go(evaluation(trained), one(tmp_path / "runs", shared_data), store=store)
    message = next(iter(events.failures.values()))
    assert message.startswith("stochastic model: two predictions of the same 100 rows differ")
    assert re.search(r"random_uniform\S* \(RandomUniform\) draws random numbers at _tf1_nets\.py:\d+: is_tr", message)


@pytest.mark.parametrize("updates", [False, True])
def test_batch_norm_in_training_mode_is_refused(updates: bool, tmp_path: Path, store: Path) -> None:
    def trained(images: Any) -> Any:
        return block(tf.tile(images, [1, 1, 1, 4]), is_training=True, updates=updates)[:, :5]

    (tmp_path / "runs").mkdir()
    model = GraphModel(trained, IMAGES)
    needed = [item.name for item in model.variables() if not item.optional]
    save(tmp_path / "runs" / "step-1.npz", model.initial(needed))
    rng = np.random.default_rng(0)
    noise = Arrays(rng.normal(size=(64, 8, 8, 1)).astype(np.float32), rng.integers(0, 5, 64))
    events = go(
        Evaluation(
            model=model, data={"test": noise}, task=Classification(outputs="logits"), metrics=[TopK(1)], version="1"
        ),
        tmp_path / "runs",
        store=store,
    )
    message = next(iter(events.failures.values()))
    assert "stochastic model: rows predicted in halves of a batch differ" in message
    assert "normalises by the batch's own statistics (is_training=True) at _tf1_nets.py" in message


def renamed(images: Any) -> Any:
    with tf.variable_scope("tower"):
        return digits(images)


def fresh_head(images: Any) -> Any:
    return digits(images, head="new")


def restoring(session: Any, prefix: str) -> None:
    held = [item for item in session.graph.get_collection("variables") if not item.op.name.startswith("new")]
    tf.train.Saver(held).restore(session, prefix)


def test_renames_of_the_user_give_the_same_numbers_under_another_key(
    shared_data: Path, tmp_path: Path, store: Path
) -> None:
    runs = one(tmp_path / "runs", shared_data)
    refused = go(evaluation(renamed), runs, store=store)
    assert "6 of 6 variables are missing: tower/" in next(iter(refused.failures.values()))
    for message in ({"": "tower/"}, {f"{scope}/": f"tower/{scope}/" for scope in ("conv1", "fc1", "logits")}):
        events = go(evaluation(renamed, restore=message), runs, store=store)
        assert events.done == (1, 0, 0)  # another map, another evaluation
        assert events.value("top1") * 360 == pytest.approx(347)


def test_kept_variables_mark_the_result_for_ever(shared_data: Path, tmp_path: Path, store: Path) -> None:
    runs = one(tmp_path / "runs", shared_data)
    events = go(evaluation(fresh_head, keep=("new/*",), ignore=("logits/*",)), runs, store=store)
    assert events.done == (1, 0, 0)
    assert {item["status"] for item in events.of("record")} == {"PARTIAL: 2 of 6 variables missing"}
    assert events.value("top1") * 360 < 200


def test_a_users_own_init_fn_restores(shared_data: Path, tmp_path: Path, store: Path) -> None:
    runs = one(tmp_path / "runs", shared_data)
    events = go(evaluation(init_fn=restoring), runs, store=store)
    assert events.value("top1") * 360 == pytest.approx(347)
    plain = go(evaluation(), runs, store=tmp_path / "plain")
    weights = {item["checkpoint"]["digest"] for item in (*events.of("record"), *plain.of("record"))}
    assert len(weights) == 1  # the same content, however it came in
    partly = go(evaluation(fresh_head, init_fn=restoring), runs, store=store)
    assert "init_fn restoring left 2 of 6 variables without a value: new/" in next(iter(partly.failures.values()))
    kept = go(evaluation(fresh_head, init_fn=restoring, keep=("new/*",)), runs, store=store)
    assert {item["status"] for item in kept.of("record")} == {"PARTIAL: 2 of 6 variables missing"}
    absent = go(evaluation(renamed, init_fn=restoring), runs, store=store)
    assert re.match("mismatch: init_fn restoring raised NotFoundError", next(iter(absent.failures.values())))
    both = go(evaluation(init_fn=restoring, variants=("raw", "ema")), runs, store=tmp_path / "both")
    assert "restores one set of weights" in both.of("failure")[0]["message"]
