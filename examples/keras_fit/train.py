"""A Keras 3 `fit` that writes `.weights.h5` after each epoch, on one-hot labels: `python train.py [EPOCHS]`."""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

RUN = "runs/digits"


def make_data(*, train: bool) -> tf.data.Dataset:
    """Return scikit-learn's digits as batches: 1437 for training, 360 held out; labels are one-hot, [rows, 10]."""
    digits = load_digits()
    rows = np.random.RandomState(0).permutation(1797)
    rows = rows[:1437] if train else rows[1437:]
    images = (digits.images[rows] / 16).astype("float32")[..., None]
    data = tf.data.Dataset.from_tensor_slices((images, keras.utils.to_categorical(digits.target[rows], 10)))
    return data.shuffle(1437, seed=0).batch(64) if train else data.batch(64)


def make_model() -> keras.Model:
    """Return a small convolutional network: probabilities of 10 classes."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def main(epochs: int = 5) -> None:
    """Train, and keep each epoch's weights."""
    keras.utils.set_random_seed(0)
    model = make_model()
    model.compile(keras.optimizers.SGD(0.1, 0.9), "categorical_crossentropy")
    keep = keras.callbacks.ModelCheckpoint(RUN + "/epoch-{epoch:02d}.weights.h5", save_weights_only=True)
    model.fit(make_data(train=True), epochs=epochs, callbacks=[keep], verbose=2)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
