"""The usual recipe for evaluating a Slim checkpoint, in its three variants; two import lines are not as they were.

A graph with placeholders, a Saver, and a loop over batches: (1) the mean of the batches' accuracies, (2) a streaming
accuracy, (3) both.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from network import network

from milepost.compat.slim import tf  # was: import tensorflow as tf

from milepost.compat import slim  # was: import tensorflow.contrib.slim as slim  # isort: skip


def mean_of_batches(checkpoint: str, batches: Iterable[Any]) -> float:
    """Return the plain mean of the accuracies of the batches."""
    with tf.Graph().as_default():
        images, labels = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.int64, [None])
        correct = tf.equal(tf.argmax(network(images, is_training=False), 1), labels)
        accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
        with tf.Session() as session:
            tf.train.Saver().restore(session, checkpoint)
            return float(np.mean([session.run(accuracy, {images: x, labels: y}) for x, y in batches]))


def streaming(checkpoint: str, batches: Iterable[Any]) -> float:
    """Return the accuracy that `tf.metrics` has counted."""
    with tf.Graph().as_default():
        images, labels = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.int64, [None])
        accuracy, update = tf.metrics.accuracy(labels, tf.argmax(network(images, is_training=False), 1))
        with tf.Session() as session:
            session.run(tf.local_variables_initializer())
            tf.train.Saver().restore(session, checkpoint)
            for x, y in batches:
                session.run(update, {images: x, labels: y})
            return float(session.run(accuracy))


def both(checkpoint: str, batches: Iterable[Any]) -> dict[str, float]:
    """Return the mean of the batches, the streaming accuracy, and the share with the label among the five highest."""
    with tf.Graph().as_default():
        images, labels = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.int64, [None])
        logits = network(images, is_training=False)
        correct = tf.equal(tf.argmax(logits, 1), labels)
        batch_accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
        values, updates = slim.metrics.aggregate_metric_map(
            {
                "streaming": slim.metrics.streaming_accuracy(tf.argmax(logits, 1), labels),
                "top5": slim.metrics.streaming_recall_at_k(logits, labels, 5),
            }
        )
        with tf.Session() as session:
            session.run(tf.local_variables_initializer())
            tf.train.Saver().restore(session, checkpoint)
            means = [
                session.run([batch_accuracy, list(updates.values())], {images: x, labels: y})[0] for x, y in batches
            ]
            return {"mean": float(np.mean(means)), **session.run(values)}
