"""Small TensorFlow 1 networks of every kind of variable."""

from typing import Any

import numpy as np

import milepost.models.tf1  # noqa: F401 - first, since it keeps TensorFlow quiet

import tensorflow.compat.v1 as tf  # isort: skip
import tf_slim as slim  # isort: skip


def dense(x: Any) -> Any:
    """One layer under an optional scope's names."""
    with tf.variable_scope("dense"):
        kernel = tf.get_variable("kernel", [3, 4])
        return tf.matmul(x, kernel) + tf.get_variable("bias", [4], initializer=tf.zeros_initializer())


def parted(x: Any) -> Any:
    """A matrix in three parts."""
    whole = tf.get_variable("table", [3, 5], partitioner=tf.fixed_size_partitioner(3))
    return tf.matmul(x, tf.convert_to_tensor(whole))


def named(x: Any, scale: Any, shift: Any) -> Any:
    """Two inputs, two outputs and a number."""
    hidden = dense(x)
    return {
        "scaled": hidden * tf.cast(scale, tf.float32)[:, None],
        "plain": {"shifted": hidden[:, 0]}["shifted"] + tf.cast(shift, tf.float32),
    }


def tabled(words: Any) -> Any:
    """Look words up, and add a local variable."""
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([0, 1], tf.int64))
    rows = tf.lookup.StaticHashTable(keys, 2).lookup(words)
    ten = tf.get_variable(
        "ten", initializer=np.float32(10), collections=[tf.GraphKeys.LOCAL_VARIABLES], trainable=False
    )
    return tf.gather(tf.get_variable("w", [3]), rows) + ten


def digits(images: Any, is_training: bool = False, dropout: bool = False, head: str = "logits") -> Any:
    """The network of the digits series."""
    net = slim.flatten(slim.max_pool2d(slim.conv2d(images, 8, [3, 3], scope="conv1"), [2, 2]))
    net = slim.fully_connected(net, 32, scope="fc1")
    if dropout:
        net = slim.dropout(net, 0.5, is_training=is_training)
    return slim.fully_connected(net, 10, activation_fn=None, scope=head)


def block(images: Any, is_training: bool = False, fused: bool | None = None, updates: bool = False) -> Any:
    """A residual block with batch normalisation before and after, on images and on rows."""
    where = None if updates else tf.GraphKeys.UPDATE_OPS  # None: the averages move with each forward pass
    with slim.arg_scope([slim.batch_norm], is_training=is_training, fused=fused, updates_collections=where):
        net = slim.conv2d(images, 4, [3, 3], normalizer_fn=slim.batch_norm, scope="conv1")
        net = slim.conv2d(net, 4, [3, 3], normalizer_fn=slim.batch_norm, activation_fn=None, scope="conv2")
        net = tf.reduce_mean(tf.nn.relu(images + net), [1, 2])
        return slim.fully_connected(net, 5, normalizer_fn=slim.batch_norm, activation_fn=None, scope="logits")
