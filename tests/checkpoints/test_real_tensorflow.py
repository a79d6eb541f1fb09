"""A TensorFlow checkpoint of somebody else's, evaluated by a plain function where there is no TensorFlow at all."""

from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, import_path, lines_of, process

EVALUATION = """
import gzip
from pathlib import Path

import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

folder = Path({folder!r})
images = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)


def predict(weights, x):
    for layer in ("h1", "h2"):
        x = np.maximum(x @ weights[f"{{layer}}/w"] + weights[f"{{layer}}/b"], 0)
    return x @ weights["output/w"] + weights["output/b"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={{"test": Arrays(images.reshape(10_000, 784).astype(np.float32){scale}, labels.astype(np.int64))}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=500,
)
"""


@pytest.mark.parametrize(("scale", "correct"), [("", 9778), (" / 255", 6829)])
def test_9778_of_10000_although_its_state_file_names_another(
    shared_data: Path, tmp_path: Path, scale: str, correct: int
) -> None:
    file = tmp_path / "ev.py"
    file.write_text(EVALUATION.format(folder=str(shared_data / "mnist"), scale=scale))
    (tmp_path / "tensorflow.py").write_text("raise ImportError('there is none here')\n")
    checkpoints = shared_data / "checkpoints" / "mnist_mlp_tf1"
    environment = {**ENVIRONMENT, "PYTHONPATH": import_path(tmp_path)}
    ended = process("run", file, checkpoints, "--store", tmp_path / "store", "--json", env=environment)
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.done == (1, 0, 0)
    (record,) = [item for item in events.of("record") if item["estimator"] == "exact"]
    assert (record["numerator"], record["denominator"], record["status"]) == (correct, 10_000, "ok")
    assert record["checkpoint"]["step"] == 20_000
