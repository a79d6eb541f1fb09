"""Models that are written once for Keras 2 and Keras 3; Keras 2 saves them as TensorFlow does, and judges.

A program as well, since a process has one back end (`python keras2_cases.py DIR`): the judge is on TensorFlow.
"""

import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.types import Array, Table
from milepost.models.keras import KerasModel
from milepost.restore.matching import Restored, restore

RNG = np.random.default_rng(7)
IMAGES = RNG.random((3, 8, 8, 3)).astype("f4")
VIDEOS = RNG.random((3, 4, 6, 6, 2)).astype("f4")
SERIES = RNG.random((3, 5, 4)).astype("f4")
ROWS = RNG.random((3, 6)).astype("f4")
WORDS = RNG.integers(0, 9, (3, 5))


def inner_of(kit: Any, *layers: Any) -> Any:
    """Return a built sequential model of six inputs, as each generation has it."""
    first = kit.layers.InputLayer(input_shape=(6,)) if kit is tf_keras else kit.layers.Input((6,))
    return kit.Sequential([first, *layers])


def convolutions(kit: Any) -> Any:
    """Every kind of convolution and normalisation."""
    layers, inputs = kit.layers, kit.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.PReLU(shared_axes=[1, 2])(layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(layers.Conv2DTranspose(4, 2)(x))
    x = layers.BatchNormalization(scale=False)(layers.GroupNormalization(4)(x))
    x = layers.LayerNormalization()(layers.Reshape((-1, 8))(x))
    x = layers.DepthwiseConv1D(3)(layers.SeparableConv1D(6, 3)(layers.Conv1D(6, 3)(x)))
    return kit.Model(
        inputs, layers.Dense(3)(layers.Dropout(0.5)(layers.GlobalAveragePooling1D()(layers.Conv1DTranspose(4, 2)(x))))
    )


def moving_pictures(kit: Any) -> Any:
    """Layers that go through time."""
    layers, inputs = kit.layers, kit.Input((4, 6, 6, 2))
    x = layers.ConvLSTM2D(3, 3, recurrent_activation="sigmoid", return_sequences=True)(inputs)
    x = layers.TimeDistributed(layers.Conv2D(2, 3))(layers.Conv3D(3, 2, padding="same")(x))
    return kit.Model(inputs, layers.TimeDistributed(inner_of_any(kit))(layers.Reshape((4, -1))(x)))


def inner_of_any(kit: Any) -> Any:
    """Return a sequential model whose inputs are not given."""
    return kit.Sequential([kit.layers.Dense(3), kit.layers.LayerNormalization(), kit.layers.Dense(2)])


def text(kit: Any) -> Any:
    """Embeddings, and recurrent layers of every kind."""
    layers, inputs = kit.layers, kit.Input((5,), dtype="int32")
    x = layers.Add()([layers.Embedding(9, 4)(inputs), layers.Embedding(9, 4)(inputs)])
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    back = layers.GRU(3, return_sequences=True, go_backwards=True)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), backward_layer=back)(x)
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], return_sequences=True)(
        layers.GRU(4, reset_after=False, return_sequences=True)(x)
    )
    return kit.Model(inputs, layers.SimpleRNN(3)(layers.RNN(layers.LSTMCell(3), return_sequences=True)(x)))


def attention(kit: Any) -> Any:
    """Attention, whose parts are layers of their own behind an underscore."""
    layers, inputs = kit.layers, kit.Input((5, 4))
    x = layers.LayerNormalization()(layers.Add()([layers.MultiHeadAttention(2, 3)(inputs, inputs), inputs]))
    x = layers.AdditiveAttention()(
        [layers.Attention(use_scale=True)([layers.MultiHeadAttention(2, 2, use_bias=False)(x, x), x]), x]
    )
    return kit.Model(inputs, layers.EinsumDense("abc,cd->abd", output_shape=(None, 7), bias_axes="d")(x))


def nested(kit: Any) -> Any:
    """Models within models, a layer and a model that are used twice, layers made in another order than used."""
    layers = kit.layers

    def block() -> Any:
        start = kit.Input((6,))
        return kit.Model(start, layers.Add()([layers.BatchNormalization()(layers.Dense(6)(start)), start]))

    late, shared, twice = (
        layers.Dense(6),
        layers.Dense(6, activation="relu"),
        inner_of(kit, layers.Dense(6, "tanh"), layers.Dense(6)),
    )
    middle = kit.Input((6,))
    around = kit.Model(middle, block()(twice(block()(middle))))
    inputs = kit.Input((6,))
    x = layers.Subtract()([twice(shared(inputs)), shared(around(inputs))]) * 2.0
    return kit.Model(inputs, [layers.Dense(3, name="head")(late(x)), layers.Dense(2)(x + inputs)])


def unbuilt(kit: Any) -> Any:
    """A sequential model that is built by its first call."""
    return kit.Sequential([kit.layers.Dense(5), kit.layers.Dense(5, activation="tanh"), kit.layers.Dense(5)])


def written(kit: Any) -> Any:
    """A subclass: lists, tuples, dicts, private attributes, a layer with weights of its own, a metric, a model."""
    layers = kit.layers

    class Block(layers.Layer):  # type: ignore[misc, name-defined]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self._inner = layers.Dense(6)
            self.norms = {"a": layers.LayerNormalization(), "b.c/d": layers.LayerNormalization()}

        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(name="weight", shape=(shape[-1],), initializer="ones")
            super().build(shape)

        def call(self, inputs: Any) -> Any:
            return self.norms["b.c/d"](self._inner(self.norms["a"](inputs))) * self.scale

    class Written(kit.Model):  # type: ignore[misc]  # the same
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Dense(6)
            self.blocks = [Block(), Block()]
            self.pair = (layers.Dense(6), layers.Dense(6))
            self.tracker = kit.metrics.Mean(name="loss")
            self.inner = inner_of(kit, layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5))

        def call(self, inputs: Any, training: bool = False) -> Any:
            inputs = self.first(inputs)
            for block in self.blocks:
                inputs = block(inputs)
            return self.inner(self.pair[1](self.pair[0](inputs)), training=training)

    return Written()


def of_both_kinds(kit: Any) -> Any:
    """A subclass that is a functional model too."""

    class Both(kit.Model):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            inputs, first, last = kit.Input((6,)), kit.layers.Dense(5), kit.layers.Dense(5)
            super().__init__(inputs, last(first(inputs)))
            self.alias = last

    return Both()


def graph(kit: Any, seed: int, prefix: str = "layer", depth: int = 0) -> Any:
    """Return a functional model that is drawn by chance, its layers named as they are made; `prefix` "" names none."""
    draw, layers, inputs = random.Random(seed), kit.layers, kit.Input((6,))
    nodes, count = [inputs], draw.randint(2, 8) if depth == 0 else draw.randint(1, 4)
    kinds = [layers.Dense if draw.random() < 0.75 else layers.LayerNormalization for _ in range(count)]
    parts = [
        kind(**({"units": 6} if kind is layers.Dense else {}), name=f"{prefix}_{depth}_{number}" if prefix else None)
        for number, kind in enumerate(kinds)
    ]
    if depth < 2 and draw.random() < 0.6:
        parts.append(graph(kit, 7 * seed + 1, prefix, depth + 1))
    draw.shuffle(parts)
    for part in parts:
        node, other = draw.choice(nodes[-3:]), draw.choice(nodes)
        node = part(layers.Add()([node, other]) if draw.random() < 0.4 and other is not node else node)
        nodes.append(part(layers.ReLU()(node)) if draw.random() < 0.2 else node)
    return kit.Model(inputs, layers.Add()(nodes[1:]) if len(nodes) > 2 else nodes[1])


MODELS: dict[str, tuple[Callable[[Any], Any], Array]] = {
    "convolutions": (convolutions, IMAGES),
    "moving pictures": (moving_pictures, VIDEOS),
    "text": (text, WORDS),
    "attention": (attention, SERIES),
    "nested": (nested, ROWS),
    "unbuilt": (unbuilt, ROWS),
    "written": (written, ROWS),
    "both": (of_both_kinds, ROWS),
    **{f"graph {seed}": (partial(graph, seed=seed, prefix=""), ROWS) for seed in range(3)},
}


def made(build: Callable[[Any], Any], inputs: Array, kit: Any) -> Any:
    """Return a model that has been called once."""
    model = build(kit)
    model(inputs)
    return model


def judge(build: Callable[[Any], Any], inputs: Array) -> Any:
    """Return a model of Keras 2 that was made after others, with values that no other has."""
    tf_keras.layers.Dense(1), tf_keras.layers.LSTM(1), tf_keras.layers.LayerNormalization(), tf_keras.Sequential()
    model = made(build, inputs, tf_keras)
    for weight in model.weights:
        positive = any(word in weight.name for word in ("gamma", "variance"))
        fan = max(1, int(np.prod(weight.shape[:-1])))
        weight.assign(RNG.random(weight.shape) + 0.5 if positive else RNG.normal(0, fan**-0.5, weight.shape))
    return model


def save_weights(model: Any, inputs: Array, folder: Path) -> None:
    """Save as Keras 2 does by default."""
    model.save_weights(folder / "weights", save_format="tf")


def save_trained(model: Any, inputs: Array, folder: Path) -> None:
    """Save beside the slots of an optimizer."""
    zeros = [np.zeros(item.shape) for item in tf.nest.flatten(model(inputs))]
    model.compile("adam", "mse")
    model.fit(inputs, zeros if len(zeros) > 1 else zeros[0], epochs=1, verbose=0)
    save_weights(model, inputs, folder)


def save_old_slots(model: Any, inputs: Array, folder: Path) -> None:
    """Save beside the slots of an optimizer of TensorFlow 2.10 and before."""
    optimizer = tf_keras.optimizers.legacy.Adam()
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(item**2) for item in tf.nest.flatten(model(inputs)))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(
        (g, v) for g, v in zip(gradients, model.trainable_variables, strict=True) if g is not None
    )
    tf.train.Checkpoint(net=model, optimizer=optimizer, step=tf.Variable(9, dtype=tf.int64)).save(str(folder / "ckpt"))


def save_model(model: Any, inputs: Array, folder: Path) -> None:
    """Save a SavedModel, which lists all variables besides."""
    model.save(str(folder / "model"), save_format="tf")


SAVES = {"weights": save_weights, "trained": save_trained, "old slots": save_old_slots, "SavedModel": save_model}


def table_of(folder: Path) -> Table:
    """Read the one checkpoint in a folder as a run does."""
    (found,) = find([str(folder)])
    table: Table = Reader().table(found, str(folder))
    return table


def restored(build: Callable[[Any], Any], inputs: Array, folder: Path) -> tuple[KerasModel, Restored]:
    """Restore the model of Keras 3 from what lies in a folder."""
    model = KerasModel(lambda: made(build, inputs, keras))
    return model, restore(table_of(folder), model.variables(), "raw")


def predictions_are_the_same(name: str, save: str, folder: Path) -> None:
    """Hold that Keras 3 predicts with a file of Keras 2 what Keras 2 does."""
    build, inputs = MODELS[name]
    old = judge(build, inputs)
    SAVES[save](old, inputs, folder)
    model, result = restored(build, inputs, folder)
    assert str(result.notes["names"]).startswith("by scheme keras2")
    found = tf.nest.flatten(model.predict(model.load(result.arrays), inputs))
    for ours, theirs in zip(found, tf.nest.flatten(old(inputs, training=False)), strict=True):
        array = np.asarray(ours.cpu() if hasattr(ours, "cpu") else ours)
        scale = np.abs(theirs).max()
        assert np.allclose(array, theirs, rtol=0, atol=2e-5 * scale), (name, save, np.abs(array - theirs).max(), scale)


def main() -> None:
    """Hold it on this process' back end, for models that need no luck with it."""
    for name in ("text", "written"):
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        predictions_are_the_same(name, "SavedModel" if name == "written" else "trained", folder)
    sys.stdout.write(keras.backend.backend())


if __name__ == "__main__":
    main()
