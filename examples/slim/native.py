"""The same as a Milepost evaluation, in ten lines: `milepost run native.py runs/digits`."""

from digits import network, tf, validation

from milepost import Evaluation
from milepost.data import Arrays
from milepost.frameworks.tf1 import GraphModel
from milepost.metrics import TopK
from milepost.outcomes import Classification

evaluation = Evaluation(
    model=GraphModel(network, inputs={"images": (tf.float32, [None, 8, 8, 1])}),
    data={"validation": Arrays(*validation, order="natural")},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5)],
)
