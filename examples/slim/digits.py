"""8x8 digits for the network of this folder, and checkpoints of it if you have none."""

import numpy as np
import tensorflow.compat.v1 as tf
from network import network
from sklearn.datasets import load_digits

_data = load_digits()
_order = np.random.RandomState(0).permutation(1797)  # noqa: NPY002 - the split that the checkpoints were trained with
_images = (_data.images / 16).astype(np.float32)[_order][..., None]
_labels = _data.target[_order].astype(np.int64)
train, validation = (_images[:1437], _labels[:1437]), (_images[1437:], _labels[1437:])


def trained(folder: str) -> str:
    """Train for 200 steps, and leave a checkpoint every 40 in a folder."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        images, labels = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.int64, [None])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=network(images)))
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss, step)
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(max_to_keep=None)
        for number in range(201):
            if number % 40 == 0:
                saver.save(session, f"{folder}/model.ckpt", global_step=number)
            rows = random.integers(0, len(train[0]), 64)
            session.run(train_op, {images: train[0][rows], labels: train[1][rows]})
    return folder
