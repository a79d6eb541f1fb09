"""What is held of `KerasModel` on a back end; a program as well, since a process has one (`python keras_cases.py DIR`).

Models are trained for a step or two under other counters than those of the evaluation, saved by Keras in every way that
it has, and judged by its own `predict` on the very model that was saved.
"""

import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.types import Table
from milepost.errors import StochasticModel, UsageError
from milepost.loop.model_check import Predicted, full_check
from milepost.models.keras import KerasModel
from milepost.restore.matching import Restored, restore
from milepost.testing.models import AdapterCase, check_adapter

layers = keras.layers
RNG = np.random.default_rng(5)
IMAGES = RNG.random((7, 8, 8, 1)).astype("float32")
ROWS = RNG.random((7, 5)).astype("float32")
WORDS = RNG.integers(0, 9, (7, 4))


def convolved() -> Any:
    """A sequential model with moving statistics and dropout."""
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )


def nested() -> Any:
    """A functional model with a model within, a layer that is used twice, and three of one shape."""
    inputs = keras.Input((5,))
    inner = keras.Sequential([layers.Input((5,)), layers.Dense(5, activation="tanh"), layers.Dense(5)])
    shared = layers.Dense(5, activation="relu")
    return keras.Model(inputs, layers.Dense(3)(shared(inner(shared(inputs)))))


class Written(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A subclass with a list of layers, a weight of its own, a metric, a generator, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(4)
        self.blocks = [layers.Dense(4, activation="relu"), layers.Dense(4)]
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.rng = keras.random.SeedGenerator(1)
        self.inner = keras.Sequential(
            [layers.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5)]
        )
        self.scale = self.add_weight(shape=(3,), name="scale", initializer="ones")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Predict."""
        inputs = self.first(inputs)
        for block in self.blocks:
            inputs = block(inputs)
        return self.inner(inputs, training=training) * self.scale


def embedded() -> Any:
    """Two inputs by name, one of them integers, and two outputs by name."""
    words, numbers = keras.Input((4,), dtype="int32", name="words"), keras.Input((5,), name="numbers")
    both = layers.Concatenate()([layers.Flatten()(layers.Embedding(9, 2)(words)), numbers])
    return keras.Model({"words": words, "numbers": numbers}, {"a": layers.Dense(3)(both), "b": layers.Dense(1)(both)})


INPUTS: dict[str, Any] = {
    "convolved": IMAGES,
    "nested": ROWS,
    "written": ROWS,
    "embedded": {"words": WORDS, "numbers": ROWS},
}
BUILD: dict[str, Callable[[], Any]] = {
    "convolved": convolved,
    "nested": nested,
    "written": Written,
    "embedded": embedded,
}


def evaluated(name: str) -> KerasModel:
    """Return the adapter, which builds a new model."""
    return KerasModel(BUILD[name], inputs=(None, 5) if name == "written" else None)


def trained(name: str, seed: int = 0) -> Any:
    """Return a model that was trained after others had been made, with values that no other has."""
    keras.utils.set_random_seed(seed)
    for _ in range(2):
        layers.Dense(1), layers.Conv2D(1, 1), layers.BatchNormalization(), keras.Sequential()
    model = BUILD[name]()
    outputs = model(INPUTS[name])
    model.compile("adam", loss="mse", metrics=None if isinstance(outputs, dict) else ["mae"], run_eagerly=True)
    if keras.backend.backend() == "tensorflow":  # elsewhere training step by step takes long
        zeros = {key: np.zeros(item.shape) for key, item in outputs.items()} if isinstance(outputs, dict) else None
        model.fit(INPUTS[name], np.zeros(outputs.shape) if zeros is None else zeros, epochs=2, verbose=0)
    else:
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(2)
    for weight in model.weights:
        weight.assign(np.random.default_rng(seed).random(weight.shape) * 0.5 + 0.1)
        seed += 1
    return model


def read(path: Path) -> Table:
    """Read a checkpoint as a run does."""
    found = find([str(path)])[0]
    table: Table = Reader().table(found, str(path.parent))
    return table


def restored(model: KerasModel, path: Path) -> Restored:
    """Restore a model from a file."""
    return restore(read(path), model.variables(), "raw")


def same(found: Any, expected: Any, what: str) -> None:
    """Check outputs against those of Keras' own `predict`."""
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for key, item in expected.items():
            same(found[key], item, what)
        return
    array = np.asarray(found.cpu() if hasattr(found, "cpu") else found)
    assert array.dtype == expected.dtype, what
    assert np.allclose(array, expected, rtol=1e-5, atol=1e-6), (what, np.abs(array - expected).max())


def save_all(model: Any, folder: Path, name: str) -> list[Path]:
    """Save a model in every way that this Keras has."""
    paths = [folder / f"{name}.weights.h5", folder / f"{name}.keras", folder / f"{name}.h5"]
    model.save_weights(paths[0])
    model.save(paths[1])
    if name == "written":
        paths.pop()  # Keras saves no subclass as older files
    else:
        model.save(paths[2])
    sharded = folder / f"{name}_sharded.weights.json"
    model.save_weights(sharded, max_shard_size=7.5e-7)  # GB: 800 bytes
    return [*paths, sharded]


def every_file_gives_the_framework_s_own_predictions(folder: Path, names: Sequence[str]) -> None:
    """Hold it for each model and each kind of file, with one digest for one content."""
    for name in names:
        model = evaluated(name)
        per_pass, expected = [], []
        for seed in (0, 50):
            place = folder / f"{name}-{seed}"
            place.mkdir()
            source = trained(name, seed)
            expected.append(source.predict(INPUTS[name], verbose=0))
            results = {path.name: restored(model, path) for path in save_all(source, place, name)}
            assert len({item.digest for item in results.values()}) == 1, {k: v.digest for k, v in results.items()}
            for what, result in results.items():
                per_pass.append(model.load(result.arrays))
                same(model.predict(per_pass[-1], INPUTS[name]), expected[-1], f"{name} from {what}")
            assert read(place / f"{name}.keras").step == 2
        assert len(list((folder / f"{name}-0").glob(f"{name}_sharded_0*"))) > 1
        for which in (0, 1, 0):
            same(model.predict(per_pass[-which], INPUTS[name]), expected[which], f"{name}: checkpoint {which}")


def the_laws_of_adapters_hold(folder: Path, names: Sequence[str]) -> None:
    """Hold the contract for each model."""
    for name in names[-1:]:
        needs = ("milepost.models.keras", "keras", "keras") if name == names[-1] else None
        paths = [folder / f"{name}-{seed}" / f"{name}.weights.h5" for seed in (0, 50)]
        first, second = (restored(evaluated(name), path).arrays for path in paths)
        inputs = INPUTS[name]
        few = {key: item[:4] for key, item in inputs.items()} if isinstance(inputs, dict) else inputs[:4]
        check_adapter(AdapterCase(lambda name=name: evaluated(name), (first, second), few, needs))  # type: ignore[misc]


def chance_and_batches_are_found(folder: Path) -> None:
    """Hold that dropout and batch statistics that are left on do not pass the model check."""

    class LeftOn(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        """Has a layer in training mode, whatever it is asked for."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def build(self, shape: Any) -> None:
            """Build what is within."""
            self.inner.build(shape)

        def call(self, inputs: Any) -> Any:
            """Predict."""
            return self.inner(inputs, training=True)

    def with_one(inner: Callable[[], Any]) -> KerasModel:
        return KerasModel(lambda: keras.Sequential([layers.Input((5,)), layers.Dense(5), LeftOn(inner())]))

    for model in (with_one(lambda: layers.Dropout(0.5)), with_one(layers.BatchNormalization)):
        arrays = {item.name: np.ones(item.shape or ()) for item in model.variables() if not item.optional}
        weights = model.load(arrays | {"dense/kernel": np.eye(5)})

        def scores(inputs: Any, model: Any = model, weights: Any = weights) -> Any:
            outputs = model.predict(weights, inputs)
            return np.asarray(outputs.cpu() if hasattr(outputs, "cpu") else outputs, "f8")

        with pytest.raises(StochasticModel, match="is training=True passed to one of"):
            full_check(Predicted(scores(ROWS), scores, ROWS, suspects=partial(model.suspects, weights, ROWS)))


def the_user_s_counters_and_generators_are_left_be(folder: Path) -> None:
    """Hold that building for an evaluation leaves no trace, and is the same each time."""
    keras.utils.set_random_seed(3)
    before = layers.Dense(1).name, random.random(), np.random.random()
    keras.utils.set_random_seed(3)
    number = int(layers.Dense(1).name.partition("_")[2])
    model = evaluated("nested")
    names = [item.name for item in model.variables()]
    assert (random.random(), np.random.random()) == before[1:]
    assert layers.Dense(1).name == f"dense_{number + 1}"
    assert names == [item.name for item in evaluated("nested").variables()]
    assert names[0] == "dense_2/kernel", names
    first = model.initial(["dense_2/kernel"])["dense_2/kernel"]
    assert first.tobytes() == evaluated("nested").initial(["dense_2/kernel"])["dense_2/kernel"].tobytes()
    assert first.std() > 0


def devices_that_are_not_here_are_refused(folder: Path) -> None:
    """Hold it for one that there may be elsewhere, and for one that there is nowhere."""
    for device in ("gpu:7", "nonsense"):
        with pytest.raises(UsageError, match=f"device '{device}' cannot be used by Keras"):
            KerasModel(convolved, device)


def run(folder: Path, names: Sequence[str] = tuple(BUILD)) -> None:
    """Run all, the costly ones for some models only."""
    every_file_gives_the_framework_s_own_predictions(folder, names)
    the_laws_of_adapters_hold(folder, names)
    chance_and_batches_are_found(folder)
    the_user_s_counters_and_generators_are_left_be(folder)
    devices_that_are_not_here_are_refused(folder)


def main() -> None:
    """Run what stands above in the folder that is named."""
    run(Path(sys.argv[1]), ("written",))
    sys.stdout.write(json.dumps(evaluated("nested").environment()))


if __name__ == "__main__":
    main()
