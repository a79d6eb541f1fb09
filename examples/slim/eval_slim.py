"""All checkpoints of a Slim project: `milepost run eval_slim.py runs/digits`.

Where training kept moving averages, Evaluation(variants=("raw", "ema"), ...) gives two rows a checkpoint from one pass.
"""

import numpy as np
import tensorflow.compat.v1 as tf
from network import network
from sklearn.datasets import load_digits

from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import CrossEntropy, TopK
from milepost.models.tf1 import GraphModel
from milepost.tasks import Classification

digits = load_digits()
held_out = np.random.RandomState(0).permutation(len(digits.images))[1437:]
images = (digits.images[held_out, :, :, None] / 16).astype(np.float32)

evaluation = Evaluation(
    model=GraphModel(
        lambda images: network(images, is_training=False), inputs={"images": (tf.float32, [None, 8, 8, 1])}
    ),
    data={"validation": Arrays(images, digits.target[held_out])},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy()],
)
