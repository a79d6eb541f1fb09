"""What does a checkpoint of a real Slim network cost beyond its forward pass: by the usual recipe, and by Milepost?

24 checkpoints of Inception v1 (tf_slim.nets; 57 layers, 23 MB each), 100 images of 32 x 32 in one batch, accuracy
alone.  The recipe builds graph, session and Saver for each; `milepost run` builds the graph once and keeps its results
in a store.  Both have run before; what the very first run costs, where Milepost too builds and compiles, is measured
beside it.  Everything lies in memory where that can be had.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _figures import Figure, main, plain_figure

CHECKPOINTS, ROWS, SIDE = 24, 100, 32
MEMORY = "/dev/shm"  # noqa: S108 - what lies there is made in a folder of its own


def network(images: Any) -> Any:
    import tensorflow.compat.v1 as tf
    import tf_slim as slim
    from tf_slim.nets import inception

    evaluating = slim.arg_scope([slim.batch_norm, slim.dropout], is_training=False)
    with slim.arg_scope(inception.inception_v3_arg_scope()), evaluating:
        body = inception.inception_v1_base(images)[0]
        return tf.reduce_mean(slim.conv2d(body, 10, [1, 1], activation_fn=None, scope="logits"), [1, 2])


def seconds(work: Callable[[], object]) -> float:
    """Return the time of a call, a checkpoint."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / CHECKPOINTS


def measure() -> list[Figure]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore", module=r"(tensorflow|tf_slim)(\.|$)")
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        return compared(folder)


def compared(folder: str) -> list[Figure]:
    from milepost import Evaluation
    from milepost.data import Arrays
    from milepost.metrics import TopK
    from milepost.models.tf1 import GraphModel, tf
    from milepost.tasks import Classification

    tf.logging.set_verbosity(tf.logging.ERROR)
    images = np.random.default_rng(0).normal(size=(ROWS, SIDE, SIDE, 3)).astype("f4")
    labels = np.arange(ROWS) % 10
    declared = (tf.float32, [None, SIDE, SIDE, 3])
    with tf.Graph().as_default():
        fed = tf.placeholder(*declared)
        logits, session = network(fed), tf.Session()
        session.run(tf.global_variables_initializer())
        saver, first = tf.train.Saver(max_to_keep=None), tf.global_variables()[0]
        for step in range(CHECKPOINTS):
            first.load(session.run(first) * 1.01, session)
            saver.save(session, f"{folder}/runs/model.ckpt", global_step=step, write_meta_graph=False)

    def forward() -> None:
        for _ in range(CHECKPOINTS):
            session.run(logits, {fed: images})

    def recipe() -> None:
        for step in range(CHECKPOINTS):
            with tf.Graph().as_default(), tf.Session() as own:
                inputs, wanted = tf.placeholder(*declared), tf.placeholder("int64", [None])
                value, update = tf.metrics.accuracy(wanted, tf.argmax(network(inputs), 1))
                own.run(tf.local_variables_initializer())
                tf.train.Saver().restore(own, f"{folder}/runs/model.ckpt-{step}")
                own.run(update, {inputs: images, wanted: labels})
                own.run(value)

    evaluation = Evaluation(
        model=GraphModel(network, inputs={"images": declared}),
        data={"test": Arrays(images, labels)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        batch_size=ROWS,
    )

    def run(store: str) -> None:
        assert evaluation.run(f"{folder}/runs", store=f"{folder}/{store}").evaluated == CHECKPOINTS

    forward()
    cold = seconds(lambda: run("first"))
    alone, usual, ours = seconds(forward), seconds(recipe), seconds(lambda: run("second"))
    least = (usual - alone) / (ours - alone)
    return [
        plain_figure("forward pass alone: a checkpoint", 1e3 * alone, "ms", 0),
        plain_figure("the recipe: a checkpoint", 1e3 * usual, "ms", 0),
        plain_figure("milepost run: a checkpoint", 1e3 * ours, "ms", 0),
        Figure("overhead of the recipe / of milepost run", f"{least:.1f} times", "at least 10", least >= 10),
        plain_figure("the recipe / milepost run, in all", usual / ours, "times", 1),
        plain_figure("the very first milepost run, graph and compiling included: a checkpoint", 1e3 * cold, "ms", 0),
        plain_figure("overhead of the recipe / of that one", (usual - alone) / (cold - alone), "times", 1),
    ]


if __name__ == "__main__":
    main("What does a checkpoint of Inception v1 cost beyond its forward pass?", measure)
