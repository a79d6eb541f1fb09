"""Real checkpoints of other people's making, whose counts of right images are known."""

from pathlib import Path

from tests._material import columns_of, command, lines_of, same_columns

ENGINES = ["local", "inprocess"]

READ_IDX = """
import gzip
import math
import numpy as np
from pathlib import Path
from torch import nn
from milepost import Evaluation
from milepost.data import Arrays
from milepost.frameworks.torch import TorchModel
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.outcomes import Classification


def idx(path):
    data = gzip.decompress(Path(path).read_bytes())
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(data[3])]
    return np.frombuffer(data, np.uint8, math.prod(shape), 4 + 4 * data[3]).reshape(shape)


folder = Path({folder!r})
images = (idx(folder / "t10k-images-idx3-ubyte.gz") / np.float32(255))[:, None].astype(np.float32)
labels = idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
{layers}

    def forward(self, x):
{forward}


evaluation = Evaluation(
    model=TorchModel(Net),
    data={{"test": Arrays(images, labels)}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy(), CalibrationError(bins=15), Confusion()],
    batch_size=256,
)
"""

MNIST_LAYERS = """
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 16, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.pool = nn.MaxPool2d(2)
"""
MNIST_FORWARD = """
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu()).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())
"""
FASHION_LAYERS = """
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.pool, self.dropout = nn.AvgPool2d(2), nn.Dropout(0.25)
"""
FASHION_FORWARD = """
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu()).flatten(1)
        x = self.dropout(self.fc1(x).relu())
        return self.fc3(self.dropout(self.fc2(x).relu()))
"""


def written(path: Path, folder: Path, layers: str, forward: str) -> Path:
    path.write_text(READ_IDX.format(folder=str(folder), layers=layers, forward=forward))
    return path


def checked(tmp_path: Path, file: Path, checkpoint: Path, correct: int) -> None:
    """Evaluate with both engines through the command line: the counts, and the same columns."""
    for engine in ENGINES:
        store = tmp_path / engine
        ended = command("run", file, checkpoint, "--store", store, "--engine", engine, "--json")
        assert ended.returncode == 0, ended.stderr
        told = lines_of(ended.stdout)
        assert told.done == (1, 0, 0)
        (record,) = [item for item in told.of("record") if (item["metric"], item["estimator"]) == ("top1", "exact")]
        assert (record["numerator"], record["denominator"], record["status"]) == (correct, 10_000, "ok")
        assert record["value"] == correct / 10_000
        assert told.value("top5") > told.value("top1")
        assert record["spoiled"] == 0
    same_columns(columns_of(tmp_path / "local"), columns_of(tmp_path / "inprocess"))


def test_mnist_9859_of_10000(shared_data: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "ev.py", shared_data / "mnist", MNIST_LAYERS, MNIST_FORWARD)
    checked(tmp_path, file, shared_data / "checkpoints" / "mnist_cnn_torch_zip", 9859)


def test_fashion_mnist_8785_of_10000(shared_data: Path, fashion_mnist: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "ev.py", fashion_mnist, FASHION_LAYERS, FASHION_FORWARD)
    checked(tmp_path, file, shared_data / "checkpoints" / "fashion_lenet5_torch_zip", 8785)


def test_a_model_of_other_layers_is_a_mismatch_row(shared_data: Path, tmp_path: Path) -> None:
    layers = MNIST_LAYERS.replace("nn.Linear(84, 10)", "nn.Linear(84, 11)").replace("self.fc1,", "self.dense1,")
    forward = MNIST_FORWARD.replace("self.fc1", "self.dense1")
    file = written(tmp_path / "ev.py", shared_data / "mnist", layers, forward)
    folder = shared_data / "checkpoints" / "mnist_cnn_torch_zip"
    ended = command("run", file, folder, "--store", tmp_path / "store", "--json")
    assert ended.returncode == 3, ended.stderr
    told = lines_of(ended.stdout)
    assert told.done == (0, 0, 1)
    (message,) = told.failures.values()
    for piece in ("mismatch: ", "dense1.weight", "fc3.weight has shape [10, 84], the model wants [11, 84]"):
        assert piece in message


def test_pointers_of_git_lfs_are_said_to_be_such(shared_data: Path) -> None:
    ended = command(
        "inspect", shared_data / "checkpoints" / "git_lfs_pointers" / "checkpoint-500" / "model.safetensors"
    )
    assert ended.returncode == 3
    assert "LFS" in ended.stderr
