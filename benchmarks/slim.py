"""What does a Slim checkpoint cost beyond its forward passes: by the usual recipe, slim.evaluation, and Milepost?

24 checkpoints of the digits network of examples/slim, 360 images in batches of 100.  The recipe builds graph, session
and Saver for each; `slim.evaluation.evaluate_once` makes a session and restores for each; Milepost's twin of it keeps
the session; and the evaluation of examples/slim/eval_slim.py, with the recipe's one metric, writes into a new store
each time.  The forward passes alone are those of one session.  The recipe keeps nothing, and a store's time is its
disk's, to which every file is forced: so there is one store on the disk and, where that can be had, one in memory.
"""

import dataclasses
import itertools
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from _figures import ROOT, Figure, in_turn, main, plain_figure, ratio

CHECKPOINTS, ROUNDS, BATCH = 24, 3, 100
MEMORY = "/dev/shm"  # noqa: S108 - what lies there is made in a folder of its own


class Ways:
    """The ways to evaluate all checkpoints; TensorFlow is imported when one is made."""

    def __init__(self, folder: str) -> None:
        import eval_slim
        import tensorflow.compat.v1 as tf
        import tf_slim
        from digits import validation
        from network import network

        from milepost.compat.slim import evaluation, tf_metrics

        tf.logging.set_verbosity(tf.logging.ERROR)
        self.tf, self.network = tf, network
        self.native = dataclasses.replace(eval_slim.evaluation, metrics=eval_slim.evaluation.metrics[:1])
        self.originals, self.twins = (tf_slim.evaluation, tf.metrics), (evaluation, tf_metrics)
        self.data = validation
        self.batches = [
            tuple(item[start : start + BATCH] for item in validation) for start in range(0, len(validation[1]), BATCH)
        ]
        self.folder, self.stores = folder, itertools.count()
        self.prefixes = [str(Path(folder, "runs", f"model.ckpt-{step}")) for step in range(CHECKPOINTS)]
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.images, _, self.logits = self.fed()
            self.session = tf.Session()
            self.session.run(tf.global_variables_initializer())
            saver, weights = tf.train.Saver(max_to_keep=None), tf.global_variables()[0]
            for step in range(CHECKPOINTS):
                weights.load(self.session.run(weights) * 1.01, self.session)
                saver.save(self.session, f"{folder}/runs/model.ckpt", global_step=step)

    def fed(self) -> Any:
        images, labels = self.tf.placeholder(self.tf.float32, [None, 8, 8, 1]), self.tf.placeholder("int64", [None])
        return images, labels, self.network(images, is_training=False)

    def forward(self) -> None:
        for _ in self.prefixes:
            for x, _ in self.batches:
                self.session.run(self.logits, {self.images: x})

    def recipe(self) -> None:
        tf = self.tf
        for prefix in self.prefixes:
            with tf.Graph().as_default(), tf.Session() as session:
                images, labels, logits = self.fed()
                value, update = tf.metrics.accuracy(labels, tf.argmax(logits, 1))
                session.run(tf.local_variables_initializer())
                tf.train.Saver().restore(session, prefix)
                for x, y in self.batches:
                    session.run(update, {images: x, labels: y})
                session.run(value)

    def once(self, module: Any, metrics: Any) -> None:
        tf = self.tf
        with tf.Graph().as_default():
            rows = tf.data.Dataset.from_tensor_slices(self.data).batch(BATCH)
            iterator = tf.data.make_initializable_iterator(rows)
            tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
            images, labels = iterator.get_next()
            logits = self.network(images, is_training=False)
            value, update = metrics.accuracy(labels, tf.argmax(logits, 1))
            for prefix in self.prefixes:
                module.evaluate_once(
                    "", prefix, None, len(self.batches), eval_op=[update], final_op=value, summary_op=None
                )

    def run(self, place: str) -> None:
        self.native.run(f"{self.folder}/runs", store=f"{place}/store-{next(self.stores)}")


def measure() -> list[Figure]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore", module=r"(tensorflow|tf_slim)(\.|$)")
    sys.path.insert(0, str(ROOT / "examples" / "slim"))
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=memory) as light:
        ways = Ways(folder)
        functions = {
            "forward passes alone": ways.forward,
            "the recipe": ways.recipe,
            "slim.evaluation.evaluate_once": lambda: ways.once(*ways.originals),
            "milepost.compat.slim's": lambda: ways.once(*ways.twins),
            "milepost run, store on disk": lambda: ways.run(folder),
            "milepost run, store in memory": lambda: ways.run(light),
        }
        return figures(dict(zip(functions, in_turn(list(functions.values()), ROUNDS), strict=True)))


def figures(times: dict[str, list[float]]) -> list[Figure]:
    """Return milliseconds a checkpoint, and ratios of what remains when the forward passes are taken away."""
    forward, recipe, slim, twin, disk, memory = times.values()
    found = [
        plain_figure(f"{way}: a checkpoint", 1e3 * statistics.median(spent) / CHECKPOINTS, "ms", 1)
        for way, spent in times.items()
    ]

    def beyond(spent: list[float]) -> list[float]:
        return [max(a - b, 1e-9) for a, b in zip(spent, forward, strict=True)]

    for name, spent in (("milepost run, store in memory", memory), ("milepost run, store on disk", disk)):
        least = ratio(beyond(recipe), beyond(spent))
        promise = ("at least 10", least >= 10) if spent is memory else ("", None)
        found.append(Figure(f"overhead of the recipe / of {name}", f"{least:.1f} times", *promise))
        found.append(
            plain_figure(f"overhead of slim.evaluation / of {name}", ratio(beyond(slim), beyond(spent)), "times", 1)
        )
        found.append(plain_figure(f"the recipe / {name}, in all", ratio(recipe, spent), "times", 1))
    found.append(
        plain_figure(
            "overhead of the recipe / of milepost.compat.slim", ratio(beyond(recipe), beyond(twin)), "times", 1
        )
    )
    return found


if __name__ == "__main__":
    main("What does a Slim checkpoint cost beyond its forward passes?", measure)
