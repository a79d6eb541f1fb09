"""Checkpoints of one variable, for tests of Slim's calls."""

from pathlib import Path
from typing import Any

import numpy as np

import milepost.models.tf1  # noqa: F401 - first, since it keeps TensorFlow quiet

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet


def save(folder: Path, *steps: int, more: dict[str, Any] | None = None, name: str = "model.ckpt") -> None:
    """Write checkpoints of a variable `w` that equals the step, an average of it, and what else is asked for."""
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        average = tf.get_variable("w/ExponentialMovingAverage", [], initializer=tf.zeros_initializer())
        for key, value in (more or {}).items():
            tf.get_variable(key, initializer=np.asarray(value))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(max_to_keep=None)
        for number in steps:
            w.load(number, session)
            average.load(number + 0.5, session)
            step.load(number, session)
            saver.save(session, str(folder / name), global_step=number, write_meta_graph=False)


def model() -> Any:
    return tf.get_variable("w", [], initializer=tf.random_normal_initializer())
