"""A metric, a format and an adapter of one file each are found, judged and used, with no other line changed."""

import importlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import (
    CLASSES,
    ENVIRONMENT,
    FEATURES,
    evaluation_of,
    examples,
    go,
    import_path,
    lines_of,
    process,
    weights_of,
)

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.registry import classes, files, load
from milepost.testing.formats import FormatCase, check_format
from milepost.testing.metrics import check_metric, columns_for
from milepost.testing.models import AdapterCase, check_adapter
from milepost.testing.variants import variants

METRIC = '''
"""The share of rows whose label is ranked even."""

from dataclasses import dataclass
from typing import ClassVar

from milepost.metrics._mean import counted, share


@dataclass(frozen=True, slots=True)
class EvenRank:
    """Share of rows whose rank is even; non-finite rows do not count as even."""

    name: ClassVar[str] = "toy_even_rank"
    headline: ClassVar[str] = "even_rank"
    columns: ClassVar[tuple[str, ...]] = ("rank", "finite")
    direction: ClassVar[str] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def contribution(self, columns):
        return (columns["rank"] % 2 == 0) & (columns["finite"] != 0)

    def state(self, columns, weights):
        return counted(self.contribution(columns), weights)

    def values(self, state):
        return {"even_rank": share(state)}
'''

FORMAT = '''
"""A magic, the CRC-32 of what follows, its length, one line of JSON, the arrays."""

import json
import zlib
from pathlib import Path

from milepost._internal.bounded import identity_of
from milepost.core.types import CheckpointFiles, Extent, Table, Tensor
from milepost.errors import Corrupt, Torn


class Toy:
    """Reads toy files."""

    name = "toy_format"

    def find(self, entries):
        for entry in entries:
            if entry.head.startswith(b"TOY2"):
                yield CheckpointFiles(entry.path, self.name, (entry.path,), identity_of(entry.path))

    def read(self, found):
        data = Path(found.path).read_bytes()
        if len(data) < 12 or len(data) < 12 + int.from_bytes(data[8:12], "little"):
            raise Torn(f"{found.path}: cut off after {len(data)} bytes")
        if data[4:8] != zlib.crc32(data[8:]).to_bytes(4, "little"):
            raise Corrupt(f"{found.path}: its checksum is wrong")
        begin = data.index(b"\\n", 12) + 1
        head = json.loads(data[12:begin])
        tensors = []
        for name, dtype, shape, nbytes in head["arrays"]:
            tensors.append(Tensor(name, dtype, tuple(shape), Extent(found.path, begin, nbytes)))
            begin += nbytes
        return Table(self.name, tuple(tensors), head["step"], "content", checksum=True)

    def fetch(self, tensor):
        raise Corrupt(tensor.name)
'''

ADAPTER = '''
"""A model of two lines, whose weights are of its own kind."""

import numpy as np

from milepost.core.types import Variable


class ToyModel:
    """Scores inputs [rows, features] by one matrix in float64."""

    name = "toy_adapter"

    def __init__(self, features, classes):
        self._shapes = {"w": (features, classes), "b": (classes,)}

    def variables(self):
        return tuple(Variable(name, "float32", shape) for name, shape in self._shapes.items())

    def load(self, tensors):
        return tuple(np.array(tensors[name], np.float64) for name in self._shapes)

    def predict(self, weights, inputs):
        return inputs.astype(np.float64) @ weights[0] + weights[1]

    def on(self, device):
        return self

    def environment(self):
        return {"framework": "toy", "version": "1", "device": "cpu", "threads": 1}
'''

Add = Callable[[str, str, str], Any]


def write_toy(path: Path, arrays: Mapping[str, Array], step: int | None = None) -> None:
    listed = [(name, array.dtype.name, array.shape, array.nbytes) for name, array in arrays.items()]
    head = json.dumps({"step": step, "arrays": listed}).encode() + b"\n"
    body = head + b"".join(array.tobytes() for array in arrays.values())
    rest = len(body).to_bytes(4, "little") + body
    path.write_bytes(b"TOY2" + zlib.crc32(rest).to_bytes(4, "little") + rest)


@pytest.fixture
def add(tmp_path: Path) -> Iterator[Add]:
    """Put one file into a room, as if it lay there; undone afterwards."""
    undo: list[tuple[Any, str, str]] = []

    def put(room: str, file: str, text: str) -> Any:
        package = importlib.import_module(f"milepost.{room}")
        folder = tmp_path / "rooms" / room
        folder.mkdir(parents=True)
        (folder / f"{file}.py").write_text(text)
        package.__path__.append(str(folder))
        undo.append((package, str(folder), file))
        importlib.invalidate_caches()
        return package

    yield put
    for package, folder, file in undo:
        package.__path__.remove(folder)
        module = sys.modules.pop(f"{package.__name__}.{file}", None)
        for name in [name for name, item in vars(package).items() if item is module or _made_in(item, module)]:
            delattr(package, name)


def _made_in(item: object, module: Any) -> bool:
    return module is not None and getattr(item, "__module__", None) == module.__name__


def test_a_metric_of_one_file_is_found_and_judged(add: Add) -> None:
    package = add("metrics", "toy_even", METRIC)
    assert "toy_even" in files("metrics")
    made = classes("metrics")["toy_even_rank"]
    assert package.EvenRank is made
    assert "EvenRank" in dir(package)
    for metric in variants(made):
        check_metric(metric, columns_for(metric))


def test_a_format_of_one_file_is_found_and_judged(add: Add, tmp_path: Path) -> None:
    add("checkpoints.formats", "toy_format", FORMAT)
    made = load("checkpoints.formats", "toy_format")
    (tmp_path / "laws").mkdir()
    check_format(
        FormatCase(made(), write_toy, checksummed=True, hostile=(b"TOY2", b"TOY2" + bytes(9))), tmp_path / "laws"
    )


def test_an_adapter_of_one_file_is_found_and_judged(add: Add) -> None:
    add("models", "toy_adapter", ADAPTER)
    made = load("models", "toy_adapter")
    inputs, _ = examples(8)
    check_adapter(AdapterCase(lambda: made(FEATURES, CLASSES), (weights_of(1), weights_of(2)), inputs))


def test_all_three_work_together_at_once(add: Add, tmp_path: Path) -> None:
    add("metrics", "toy_even", METRIC)
    add("checkpoints.formats", "toy_format", FORMAT)
    add("models", "toy_adapter", ADAPTER)
    metric, model = load("metrics", "toy_even_rank"), load("models", "toy_adapter")
    (tmp_path / "run").mkdir()
    for step in (100, 200):
        write_toy(tmp_path / "run" / f"model-{step}.bin", weights_of(step), step * 10)
    evaluation = evaluation_of(model=model(FEATURES, CLASSES), metrics=[metric()])
    events = go(evaluation, tmp_path / "run", store=tmp_path / "evals")
    assert events.done == (2, 0, 0)
    inputs, labels = examples(700)
    weights = {name: array.astype(np.float64) for name, array in weights_of(200).items()}
    scores = inputs.astype(np.float64) @ weights["w"] + weights["b"]
    rank = (scores > scores[np.arange(700), labels][:, None]).sum(axis=1)
    assert events.value("even_rank", step=2000) == (rank % 2 == 0).mean()
    assert events.value("even_rank", "batch_mean", step=2000) > 0


def test_two_files_of_one_name_are_refused(add: Add) -> None:
    add("metrics", "toy_twin", METRIC.replace('"toy_even_rank"', '"top_k"'))
    with pytest.raises(UsageError, match=r"two metrics are named 'top_k': .* rename one"):
        classes("metrics")


def test_another_distribution_adds_a_metric_and_a_format_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "toy_even.py").write_text(METRIC)
    (tmp_path / "toy_format.py").write_text(FORMAT)
    described = tmp_path / "toy_plugin-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(
        "[milepost.metrics]\ntoy_even_rank = toy_even:EvenRank\n"
        "[milepost.checkpoints.formats]\ntoy_format = toy_format:Toy\n"
    )
    (tmp_path / "run").mkdir()
    write_toy(tmp_path / "run" / "weights.toy", weights_of(1), 30)
    (tmp_path / "ev.py").write_text(
        "import numpy as np\n"
        "from milepost import Evaluation\n"
        "from milepost.data import Arrays\n"
        "from milepost.models.numpy import FunctionModel\n"
        "from milepost.tasks import Classification\n"
        "from toy_even import EvenRank\n"
        "evaluation = Evaluation(\n"
        "    model=FunctionModel(lambda weights, x: x @ weights['w'] + weights['b']),\n"
        "    data={'test': Arrays(np.eye(8, dtype=np.float32), np.arange(8))},\n"
        "    task=Classification(outputs='logits'), metrics=[EvenRank()])\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": import_path(tmp_path)}
    ended = process("run", "ev.py", "run", "--json", cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.done == (1, 0, 0)
    assert events.value("even_rank", step=30) >= 0
    # Read without the model: the metric is built from its registered name.
    ended = process("show", "30", "--batch-size", "3", "--json", cwd=tmp_path, env=environment)
    assert {item.get("batch_size") for item in lines_of(ended.stdout).of("record")} == {None, 256, 3}
