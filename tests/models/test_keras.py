"""Keras models: every back end against Keras' own predictions, Keras 2, TensorFlow's object graphs, what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tests._material import import_path
from tests.models import keras_cases as cases

from milepost.errors import Mismatch, UsageError
from milepost.models.keras import KerasModel
from milepost.restore.matching import restore
from milepost.testing.models import AdapterCase, check_adapter

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="one process has one back end"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),  # Keras' own
]


def test_keras_3_on_tensorflow(tmp_path: Path) -> None:
    cases.run(tmp_path)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_keras_3_on_another_back_end(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": name, "PYTHONPATH": import_path(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(cases.__file__)), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backend"] == name


# ------------------------------------------------------------------------------------------- TensorFlow's object graphs

ROOTS: dict[str, Callable[[Any], Any]] = {
    "model and optimizer": lambda model: tf.train.Checkpoint(model=model, optimizer=model.optimizer),
    "net": lambda model: tf.train.Checkpoint(net=model, step=tf.Variable(9, dtype=tf.int64)),
    "bare": tf.train.Checkpoint,
}


@pytest.mark.parametrize(
    ("name", "root"), [("convolved", "model and optimizer"), ("nested", "net"), ("nested", "bare")]
)
def test_object_graphs_of_keras_3(name: str, root: str, tmp_path: Path) -> None:
    source = cases.trained(name)
    prefix = ROOTS[root](source).save(str(tmp_path / "ckpt"))
    model = cases.evaluated(name)
    result = cases.restored(model, Path(prefix + ".index"))
    expected = source.predict(cases.INPUTS[name], verbose=0)
    cases.same(model.predict(model.load(result.arrays), cases.INPUTS[name]), expected, root)
    source.save_weights(tmp_path / "a.weights.h5")
    assert cases.restored(model, tmp_path / "a.weights.h5").digest == result.digest


@pytest.mark.parametrize("name", ["convolved", "nested"])
def test_what_keras_3_exports_is_the_model(name: str, tmp_path: Path) -> None:
    """`model.export()` numbers the variables, and keeps most of them once more in no order."""
    source = cases.trained(name)
    source.export(tmp_path / "exported", verbose=False)
    model = cases.evaluated(name)
    result = cases.restored(model, tmp_path / "exported")
    expected = source.predict(cases.INPUTS[name], verbose=0)
    cases.same(model.predict(model.load(result.arrays), cases.INPUTS[name]), expected, "exported")
    source.save_weights(tmp_path / "a.weights.h5")
    assert cases.restored(model, tmp_path / "a.weights.h5").digest == result.digest


def test_layers_in_a_list_are_not_in_an_object_graph_of_keras_3(tmp_path: Path) -> None:
    """TensorFlow does not see the lists of Keras 3: what is in them stands under the optimizer alone, or nowhere."""
    prefix = tf.train.Checkpoint(net=cases.trained("written")).save(str(tmp_path / "ckpt"))
    with pytest.raises(Mismatch, match="4 of 13 variables are missing: dense_1/kernel"):
        cases.restored(cases.evaluated("written"), Path(prefix + ".index"))


# -------------------------------------------------------------------------------------------------------------- Keras 2

old = tf_keras.layers


def convolved() -> Any:
    return tf_keras.Sequential(
        [
            old.Input((8, 8, 1)),
            old.Conv2D(4, 3, activation="relu"),
            old.BatchNormalization(),
            old.Dropout(0.5),
            old.Flatten(),
            old.Dense(3),
        ]
    )


def nested() -> Any:
    inputs = tf_keras.Input((5,))
    inner = tf_keras.Sequential([old.Input((5,)), old.Dense(5, activation="tanh"), old.Dense(5)])
    return tf_keras.Model(inputs, old.Dense(3)(inner(inner(inputs))))


class Written(tf_keras.Model):  # type: ignore[misc]  # Keras has no types
    def __init__(self) -> None:
        super().__init__()
        self.first = old.Dense(4)
        self.blocks = [old.Dense(4), old.Dense(4)]
        self.loss_tracker = tf_keras.metrics.Mean(name="loss")
        self.inner = tf_keras.Sequential([old.Input((4,)), old.Dense(3), old.Dropout(0.5)])
        self.scale = self.add_weight(shape=(3,), name="scale", initializer="ones")

    def call(self, inputs: Any, training: bool = False) -> Any:
        inputs = self.first(inputs)
        for block in self.blocks:
            inputs = block(inputs)
        return self.inner(inputs, training=training) * self.scale


OLD: dict[str, tuple[Callable[[], Any], Any]] = {
    "convolved": (convolved, cases.IMAGES),
    "nested": (nested, cases.ROWS),
    "written": (Written, cases.ROWS),
}


def evaluated(name: str) -> KerasModel:
    return KerasModel(OLD[name][0], inputs=(None, 5) if name == "written" else None)


def trained(name: str, seed: int = 0) -> Any:
    tf_keras.utils.set_random_seed(seed)
    old.Dense(1), old.Conv2D(1, 1), tf_keras.Sequential()
    model = OLD[name][0]()
    outputs = model(OLD[name][1])
    model.compile("adam", loss="mse", metrics=["mae"], run_eagerly=True)
    model.fit(OLD[name][1], np.zeros(outputs.shape), verbose=0)
    for weight in model.weights:
        weight.assign(np.random.default_rng(seed).random(weight.shape) * 0.5 + 0.1)
        seed += 1
    return model


@pytest.mark.parametrize("name", list(OLD))
def test_keras_2_from_every_file(name: str, tmp_path: Path) -> None:
    source = trained(name)
    inputs = OLD[name][1]
    expected = source.predict(inputs, verbose=0)
    paths = [tmp_path / "a.weights.h5", tmp_path / "a.keras", tmp_path / "weights.h5", tmp_path / "tf.index"]
    source.save_weights(paths[0])
    source.save_weights(paths[2], save_format="h5")
    source.save_weights(str(tmp_path / "tf"))
    if name == "written":
        paths.pop(1)  # Keras 2 saves no subclass without a config
    else:
        source.save(paths[1])
        with pytest.warns(UserWarning, match="legacy"):
            source.save(tmp_path / "whole.h5")
        paths.append(tmp_path / "whole.h5")
    for kind, root in ROOTS.items():
        paths.append(Path(root(source).save(str(tmp_path / kind.split(" ")[0])) + ".index"))
    model = evaluated(name)
    results = {path.name: cases.restored(model, path) for path in paths}
    assert len({result.digest for result in results.values()}) == 1
    for what, result in results.items():
        cases.same(model.predict(model.load(result.arrays), inputs), expected, what)
    assert model.environment()["framework"] == "tf_keras"


def test_keras_2_keeps_the_laws(tmp_path: Path) -> None:
    arrays = []
    for seed in (0, 50):
        trained("written", seed).save_weights(tmp_path / f"{seed}.weights.h5")
        arrays.append(cases.restored(evaluated("written"), tmp_path / f"{seed}.weights.h5").arrays)
    check_adapter(AdapterCase(lambda: evaluated("written"), (arrays[0], arrays[1]), cases.ROWS[:4]))


# ----------------------------------------------------------------------------------------------------- what is declared


def dense() -> Any:
    return keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3)])


def test_a_weight_in_two_layers_is_one_variable(tmp_path: Path) -> None:
    class Tied(keras.Model):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.words = keras.layers.Embedding(9, 4)
            self.out = keras.layers.Dense(4, use_bias=False)

        def call(self, inputs: Any) -> Any:
            hidden = self.out(self.words(inputs))
            return hidden @ keras.ops.transpose(self.words.embeddings)

    source = Tied()
    source(cases.WORDS)
    source.save_weights(tmp_path / "a.weights.h5")
    model = KerasModel(Tied, inputs=("int32", (None, 4)))
    result = cases.restored(model, tmp_path / "a.weights.h5")
    assert len(result.arrays) == 2
    expected = source.predict(cases.WORDS, verbose=0)
    cases.same(model.predict(model.load(result.arrays), cases.WORDS), expected, "tied")


def test_two_paths_to_one_model_are_tied(tmp_path: Path) -> None:
    """Older files hold a layer twice that stands in a model and in another within it."""

    def build() -> Any:
        inputs = keras.Input((5,))
        shared = keras.layers.Dense(5)
        inner = keras.Sequential([keras.layers.Input((5,)), shared, keras.layers.Dense(5)])
        return keras.Model(inputs, keras.layers.Dense(2)(shared(inner(inputs))))

    source = build()
    source.save(tmp_path / "a.h5")
    source.save(tmp_path / "a.keras")
    model = KerasModel(build)
    assert any(item.tied_to for item in model.variables())
    results = [cases.restored(model, tmp_path / name) for name in ("a.h5", "a.keras")]
    assert results[0].digest == results[1].digest
    expected = source.predict(cases.ROWS, verbose=0)
    cases.same(model.predict(model.load(results[0].arrays), cases.ROWS), expected, "shared")


def test_a_model_may_be_handed_in_and_is_not_changed(tmp_path: Path) -> None:
    source = dense()
    source.save_weights(tmp_path / "a.weights.h5")
    handed = dense()
    before = [weight.numpy().copy() for weight in handed.weights]
    model = KerasModel(handed)
    weights = model.load(cases.restored(model, tmp_path / "a.weights.h5").arrays)
    cases.same(model.predict(weights, cases.ROWS), source.predict(cases.ROWS, verbose=0), "handed in")
    assert all(np.array_equal(one, two.numpy()) for one, two in zip(before, handed.weights, strict=True))
    with pytest.raises(UsageError, match="was handed a model"):
        model.initial([model.variables()[0].name])


def test_mixed_precision_is_declared_and_computed_in(tmp_path: Path) -> None:
    def build() -> Any:
        mixed = keras.layers.Dense(3, dtype="mixed_bfloat16")
        return keras.Sequential([keras.layers.Input((5,)), mixed])

    source = build()
    source.save_weights(tmp_path / "a.weights.h5")
    model = KerasModel(build)
    assert model.spec() == {"name": "keras", "compute": "bfloat16"}
    assert KerasModel(dense).spec() == {}
    found = model.predict(model.load(cases.restored(model, tmp_path / "a.weights.h5").arrays), cases.ROWS)
    expected = source.predict(cases.ROWS, verbose=0)
    assert found.dtype == expected.dtype
    assert np.array_equal(found.astype("f4"), expected.astype("f4"))


def test_variables_of_few_bits_come_back(tmp_path: Path) -> None:
    def build() -> Any:
        return keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3, dtype="bfloat16")])

    source = build()
    source.save_weights(tmp_path / "a.weights.h5")
    model = KerasModel(build)
    assert model.variables()[0].dtype == "bfloat16"
    arrays = cases.restored(model, tmp_path / "a.weights.h5").arrays
    assert np.array_equal(arrays["dense/kernel"].astype("f4"), source.weights[0].numpy().astype("f4"))


def test_inputs_are_cast_as_declared() -> None:
    model = KerasModel(dense)
    weights = model.load({"dense/kernel": np.ones((5, 3)), "dense/bias": np.zeros(3)})
    expected = np.repeat(cases.ROWS.sum(1, keepdims=True), 3, 1)
    frozen = np.asfortranarray(cases.ROWS)
    frozen.flags.writeable = False
    for given in (cases.ROWS, cases.ROWS.astype("f8"), cases.ROWS.astype(">f4"), frozen):
        found = model.predict(weights, given)
        assert found.dtype == np.float32
        assert np.allclose(found, expected, atol=1e-6)
    assert model.predict(weights, np.ones((2, 5), "u1")).tolist() == [[5, 5, 5]] * 2


def test_arrays_that_do_not_fit_are_refused() -> None:
    model = KerasModel(dense)
    good = {"dense/kernel": np.ones((5, 3), "f2"), "dense/bias": np.zeros(3)}
    assert model.load(good).values[0].dtype == tf.float32
    for name, wrong, words in (
        ("dense/kernel", np.ones((3, 5), "f4"), r"has shape \(5, 3\); found \(3, 5\)"),
        ("dense/bias", np.zeros(3, "i4"), "has dtype float32; found int32"),
    ):
        with pytest.raises(Mismatch, match=words):
            model.load(good | {name: wrong})
    with pytest.raises(Mismatch, match="'dense/bias' of the model was given no array"):
        model.load({"dense/kernel": good["dense/kernel"]})


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(UsageError, match="found str"):
        KerasModel("model")
    with pytest.raises(UsageError, match="returned int; expected a Keras model"):
        KerasModel(lambda: 3).variables()
    for build in (cases.Written, Written, lambda: keras.Sequential([keras.layers.Dense(3)])):
        with pytest.raises(UsageError, match=r"is not built.*KerasModel\(build, inputs="):
            KerasModel(build).variables()
    with pytest.raises(UsageError, match="expected a shape such as"):
        KerasModel(cases.Written, inputs=("nonsense", (None, 5))).variables()


def test_first_values_are_the_same_every_time() -> None:
    first, again = (KerasModel(build).initial(["dense/kernel"]) for build in (dense, dense))
    assert first["dense/kernel"].tobytes() == again["dense/kernel"].tobytes()
    draws = np.random.default_rng(1)

    def drawing() -> Any:
        model = dense()
        model.layers[0].kernel.assign(draws.random((5, 3)))
        return model

    with pytest.raises(UsageError, match="gives it other values each time"):
        KerasModel(drawing).initial(["dense/kernel"])


def test_what_is_missing_is_named_by_the_model_s_names(tmp_path: Path) -> None:
    two = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    two.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(Mismatch, match="2 tensors are unexpected: layers/dense_1/vars/0") as caught:
        cases.restored(KerasModel(dense), tmp_path / "a.weights.h5")
    assert "dense/kernel has shape [5, 4], the model wants [5, 3]" in str(caught.value)
    dense().save_weights(tmp_path / "b.weights.h5")
    build = lambda: keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3), keras.layers.Dense(2)])  # noqa: E731
    model = KerasModel(build)
    table = cases.read(tmp_path / "b.weights.h5")
    with pytest.raises(Mismatch, match="2 of 4 variables are missing: dense_1/kernel"):
        restore(table, model.variables(), "raw")
    partial = restore(table, model.variables(), "raw", model.initial)
    assert partial.notes["missing"] == {"variables": 2, "of": 4, "names": ["dense_1/kernel", "dense_1/bias"]}
