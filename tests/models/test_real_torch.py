"""Real checkpoints of other people's making, whose counts of right images are known."""

import gzip
import re
from pathlib import Path

import pytest
from tests._material import columns_of, command, lines_of, same_columns

ENGINES = ["local", "inprocess"]

READ_IDX = """
import gzip
import math
import numpy as np
import gzip
import re
from pathlib import Path

import pytest
from torch import nn
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.torch import TorchModel
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.tasks import Classification


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
        events = lines_of(ended.stdout)
        assert events.done == (1, 0, 0)
        (record,) = [item for item in events.of("record") if (item["metric"], item["estimator"]) == ("top1", "exact")]
        assert (record["numerator"], record["denominator"], record["status"]) == (correct, 10_000, "ok")
        assert record["value"] == correct / 10_000
        assert events.value("top5") > events.value("top1")
        assert record["nonfinite"] == 0
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
    events = lines_of(ended.stdout)
    assert events.done == (0, 0, 1)
    (message,) = events.failures.values()
    for piece in ("mismatch: ", "dense1.weight", "fc3.weight has shape [10, 84], the model wants [11, 84]"):
        assert piece in message


def test_pointers_of_git_lfs_are_named_as_such(shared_data: Path) -> None:
    ended = command(
        "inspect", shared_data / "checkpoints" / "git_lfs_pointers" / "checkpoint-500" / "model.safetensors"
    )
    assert ended.returncode == 3
    assert "LFS" in ended.stderr


SCALED = 'images = (idx(folder / "t10k-images-idx3-ubyte.gz") / np.float32(255))[:, None].astype(np.float32)'
RAW = 'images = idx(folder / "t10k-images-idx3-ubyte.gz")[:, None].astype(np.float32)'


@pytest.mark.parametrize(
    ("which", "change", "correct", "seen"),
    [
        ("mnist", "images = (images - np.float32(.1307)) / np.float32(.3081)", 9830, "from -0.4242 to 2.821"),
        ("fashion", RAW, 8280, "from 0 to 255, mean"),
        ("fashion", "images = (images - np.float32(.5)) / np.float32(.5)", 5976, "from -1 to 1"),
    ],
)
def test_wrong_preprocessing_gives_the_known_wrong_count_and_show_reports_the_range(
    shared_data: Path, request: pytest.FixtureRequest, tmp_path: Path, which: str, change: str, correct: int, seen: str
) -> None:
    if which == "mnist":
        folder, name, layers, forward = shared_data / "mnist", "mnist_cnn", MNIST_LAYERS, MNIST_FORWARD
    else:
        folder, name, layers, forward = (
            request.getfixturevalue("fashion_mnist"),
            "fashion_lenet5",
            FASHION_LAYERS,
            FASHION_FORWARD,
        )
    file = written(tmp_path / "ev.py", folder, layers, forward)
    file.write_text(file.read_text().replace(SCALED, f"{SCALED}\n{change}"))
    checkpoint = shared_data / "checkpoints" / f"{name}_torch_zip"
    ended = command("run", file, checkpoint, "--store", tmp_path / "store", "--json")
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.value("top1") == correct / 10_000
    digest = events.of("record")[0]["checkpoint"]["digest"]
    shown = command("show", digest[:12], "--store", tmp_path / "store").stdout
    assert re.search(rf"first batch +float32 \[1, 28, 28\], 256 rows, {seen}", shown), shown


def test_show_prints_a_declared_preset(shared_data: Path, fashion_mnist: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = gzip.decompress((fashion_mnist / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((fashion_mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    for name in map(str, range(10)):
        (tmp_path / "images" / name).mkdir(parents=True)
    for row, label in enumerate(labels):
        image = Image.frombytes("L", (28, 28), pixels[784 * row : 784 * (row + 1)])
        image.save(tmp_path / "images" / str(label) / f"{row}.pgm")
    file = written(tmp_path / "ev.py", fashion_mnist, FASHION_LAYERS, FASHION_FORWARD)
    text = file.read_text().replace("Arrays(images, labels)", 'Images("images", preset="unit", mode="L")')
    file.write_text(f"from milepost.data.images import Images\n{text}")
    checkpoint = shared_data / "checkpoints" / "fashion_lenet5_torch_zip"
    ended = command("run", file, checkpoint, "--store", tmp_path / "store", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.value("top1") == 0.8785
    digest = events.of("record")[0]["checkpoint"]["digest"]
    shown = command("show", digest[:12], "--store", tmp_path / "store").stdout
    assert re.search(r"preset +unit, interpolation bilinear, layout NCHW, mode L, values unit", shown), shown
    assert "from 0 to 1, mean" in shown
