"""One real model in Keras' three kinds of file: one content under three names, and the published count everywhere."""

from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, command, lines_of

FILE = """
import gzip
import math

import keras
import numpy as np

from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.keras import KerasModel
from milepost.metrics import Confusion, TopK
from milepost.tasks import Classification


def idx(name):
    data = gzip.decompress(open({folder!r} + "/" + name, "rb").read())
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(data[3])]
    return np.frombuffer(data, np.uint8, math.prod(shape), 4 + 4 * data[3]).reshape(shape)


def build():
    layers = keras.layers
    hidden = [layers.Dense(width, activation="relu") for width in (64, 32, 16)]
    return keras.Sequential([layers.Input((28, 28)), layers.Flatten(), *hidden, layers.Dense(10, activation="softmax")])


images = idx("t10k-images-idx3-ubyte.gz") / np.float32(255)
labels = idx("t10k-labels-idx1-ubyte.gz").astype(np.int64)
evaluation = Evaluation(
    model=KerasModel(build),
    data={{"test": Arrays(images, labels)}},
    task=Classification(outputs="probabilities"),
    metrics=[TopK(1), Confusion()],
)
"""


WIDE = [pytest.param(name, marks=pytest.mark.wide) for name in ("jax", "torch")]


@pytest.mark.parametrize("backend", ["tensorflow", *WIDE])
def test_three_files_are_one_content_and_9602_of_10000(backend: str, shared_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "ev.py"
    file.write_text(FILE.format(folder=str(shared_data / "mnist")))
    environment = {**ENVIRONMENT, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    folder = shared_data / "checkpoints" / "mnist_mlp_keras3"
    ended = command("run", file, folder, "--store", tmp_path / "store", "--json", env=environment)
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.done == (1, 2, 0), ended.stdout
    (record,) = [item for item in events.of("record") if (item["metric"], item["estimator"]) == ("top1", "exact")]
    assert (record["numerator"], record["denominator"], record["status"]) == (9602, 10_000, "ok")
    assert record["checkpoint"]["step"] == 17_652
