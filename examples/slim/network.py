"""The model function of a 2017 project, unchanged."""

import tf_slim as slim


def network(images, is_training=True):
    net = slim.conv2d(images, 8, [3, 3], scope="conv1")
    net = slim.max_pool2d(net, [2, 2], scope="pool1")
    net = slim.flatten(net)
    net = slim.fully_connected(net, 32, scope="fc1")
    net = slim.dropout(net, 0.5, is_training=is_training, scope="dropout1")
    return slim.fully_connected(net, 10, activation_fn=None, scope="logits")
