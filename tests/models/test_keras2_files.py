"""TensorFlow's files of Keras 2 in a model of Keras 3: Keras 2 predicts the same; what is not sure is refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from tests._material import import_path
from tests.models import keras2_cases as cases

from milepost.errors import Mismatch
from milepost.models._keras2_names import keras2_names
from milepost.models.keras import KerasModel
from milepost.restore.matching import restore

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="one process has one back end"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),  # Keras' own
]


@pytest.mark.parametrize("name", cases.MODELS)
def test_keras_3_predicts_what_keras_2_does(name: str, tmp_path: Path) -> None:
    cases.predictions_are_the_same(name, "weights", tmp_path)


@pytest.mark.parametrize(("name", "save"), [(name, save) for name in ("nested", "written") for save in cases.SAVES])
def test_whatever_else_is_saved_beside(name: str, save: str, tmp_path: Path) -> None:
    cases.predictions_are_the_same(name, save, tmp_path)
    assert cases.table_of(tmp_path).step == (9 if save == "old slots" else 1 if save == "trained" else None)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_on_another_back_end(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": name, "PYTHONPATH": import_path(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(cases.__file__)), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == name


def order(model: Any) -> list[Any]:
    """Return the names of the layers with weights, models as lists."""
    return [order(item) if hasattr(item, "layers") else item.name for item in model.layers if item.weights]


def test_both_generations_number_the_layers_of_any_graph_alike() -> None:
    for seed in range(30):
        assert order(cases.graph(tf_keras, seed)) == order(cases.graph(keras, seed)), seed


# ----------------------------------------------------------------------------------------------------- what is not sure


def two_branches(kit: Any, *, swapped: bool) -> Any:
    """Two layers of one shape side by side, made in one order or the other."""
    first, second = kit.layers.Dense(6), kit.layers.Dense(6, activation="tanh")
    inputs = kit.Input((6,))
    sides = [second(inputs), first(inputs)] if swapped else [first(inputs), second(inputs)]
    return kit.Model(inputs, kit.layers.Subtract()(sides))


def test_layers_whose_names_and_numbers_disagree_are_refused(tmp_path: Path) -> None:
    old = cases.judge(lambda kit: two_branches(kit, swapped=False), cases.ROWS)
    cases.save_weights(old, cases.ROWS, tmp_path)
    with pytest.raises(
        Mismatch, match=r"layer_with_weights-0/bias was made as 'dense\w*/bias', which is dense here, but"
    ):
        cases.restored(lambda kit: two_branches(kit, swapped=True), cases.ROWS, tmp_path)
    cases.restored(lambda kit: two_branches(kit, swapped=False), cases.ROWS, tmp_path)


def test_layers_with_a_slash_in_their_names_are_no_disagreement(tmp_path: Path) -> None:
    def build(kit: Any) -> Any:
        inputs = kit.Input((6,))
        x = kit.layers.BatchNormalization(name="conv1/bn" if kit is tf_keras else "conv1_bn")(inputs)
        return kit.Model(inputs, kit.layers.BatchNormalization(name="bn")(x))

    cases.save_weights(cases.judge(build, cases.ROWS), cases.ROWS, tmp_path)
    cases.restored(build, cases.ROWS, tmp_path)


def test_a_name_that_could_be_two_variables_is_none(tmp_path: Path) -> None:
    def build(kit: Any) -> Any:
        class Crossed(kit.layers.Layer):  # type: ignore[misc]  # Keras has no types
            def build(self, shape: Any) -> None:
                self.a = self.add_weight(name="b", shape=(6,), initializer="ones")
                self.b = self.add_weight(name="a", shape=(6,), initializer="zeros")
                super().build(shape)

            def call(self, inputs: Any) -> Any:
                return inputs * self.a + self.b

        return kit.Sequential([Crossed()])

    cases.save_weights(cases.judge(build, cases.ROWS), cases.ROWS, tmp_path)
    with pytest.raises(Mismatch, match="2 of 2 variables are missing"):
        cases.restored(build, cases.ROWS, tmp_path)


def test_what_does_not_fit_names_tf_keras_and_tf_keras_fits(tmp_path: Path) -> None:
    def build(kit: Any) -> Any:
        return kit.Sequential([kit.layers.Dense(6), kit.layers.Dense(6)])

    old = cases.judge(build, cases.ROWS)
    cases.save_weights(old, cases.ROWS, tmp_path)
    with pytest.raises(Mismatch, match=r"2 of 6 variables are missing.*build it by tf_keras: pip install tf_keras"):
        cases.restored(lambda kit: kit.Sequential([kit.layers.Dense(6) for _ in range(3)]), cases.ROWS, tmp_path)
    with pytest.raises(Mismatch, match=r"has shape \[6, 6\], the model wants \[6, 5\].*build it by tf_keras"):
        cases.restored(lambda kit: kit.Sequential([kit.layers.Dense(6), kit.layers.Dense(5)]), cases.ROWS, tmp_path)
    model = KerasModel(lambda: cases.made(build, cases.ROWS, tf_keras))
    arrays = restore(cases.table_of(tmp_path), model.variables(), "raw").arrays
    assert np.allclose(model.predict(model.load(arrays), cases.ROWS), old(cases.ROWS), atol=1e-5)


def test_an_object_graph_without_numbers_may_be_of_keras_2(tmp_path: Path) -> None:
    def build(kit: Any, units: int = 6) -> Any:
        class Plain(kit.Model):  # type: ignore[misc]  # Keras has no types
            def __init__(self) -> None:
                super().__init__()
                self.head = kit.layers.Dense(units)

            def call(self, inputs: Any) -> Any:
                return self.head(inputs)

        return Plain()

    cases.save_weights(cases.judge(build, cases.ROWS), cases.ROWS, tmp_path)
    with pytest.raises(
        Mismatch, match=r"the model wants \[6, 5\].*if Keras 2 wrote this file, .* build it by tf_keras"
    ):
        cases.restored(lambda kit: build(kit, 5), cases.ROWS, tmp_path)


def test_parts_that_hold_each_other_end() -> None:
    model = cases.made(cases.written, cases.ROWS, keras)
    vars(model.blocks[0])["around"] = model  # a built layer takes no more parts
    vars(model.blocks[1])["again"] = [model.blocks, model.blocks[0]]
    names = keras2_names(model)
    held = names[id(model.blocks[0].scale)]
    assert {"blocks/0/weight", "blocks/0/scale", "blocks/1/again/1/scale"} <= set(held)
    assert not any("around" in name for name in held)
    assert all(len(found) == len(set(found)) for found in names.values())
