"""The small model of the sixty files, its data, an independent count of its right answers, and raw archives."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from milepost.core.types import Array

FEATURES, HIDDEN, CLASSES, ROWS = 8, 256, 10, 400

EVALUATION = f"""
import numpy as np
import torch

from milepost.data.arrays import Arrays
from milepost.evaluation.definition import Evaluation
from milepost.models.torch import TorchModel
from milepost.metrics.top_k import TopK
from milepost.tasks.classification import Classification


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear({FEATURES}, {HIDDEN})
        self.fc2 = torch.nn.Linear({HIDDEN}, {CLASSES})

    def forward(self, rows):
        return self.fc2(torch.relu(self.fc1(rows)))


data = np.load("test.npz")
evaluation = Evaluation(
    model=TorchModel(Net),
    data={{"test": Arrays(data["inputs"], data["labels"])}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=128,
)
"""


class Net(torch.nn.Module):
    """The same model, for files that hold whole modules."""

    def __init__(self) -> None:
        """Make two layers."""
        super().__init__()
        self.fc1 = torch.nn.Linear(FEATURES, HIDDEN)
        self.fc2 = torch.nn.Linear(HIDDEN, CLASSES)


def examples() -> tuple[Array, Array]:
    """Return inputs [ROWS, FEATURES] and labels [ROWS]."""
    rng = np.random.default_rng(60)
    return rng.normal(size=(ROWS, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, ROWS)


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    """Return the state dict of one checkpoint."""
    rng = np.random.default_rng(seed)
    shapes = {
        "fc1.weight": (HIDDEN, FEATURES),
        "fc1.bias": (HIDDEN,),
        "fc2.weight": (CLASSES, HIDDEN),
        "fc2.bias": (10,),
    }
    return {name: torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}


def arrays_of(seed: int) -> dict[str, Array]:
    """Return the same weights as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in weights_of(seed).items()}


def right_answers(weights: Mapping[str, torch.Tensor]) -> int:
    """Count the right answers of the model one row at a time, with none of Milepost's code."""
    inputs, labels = examples()
    given = {name: tensor.to(torch.float32) for name, tensor in weights.items()}
    right = 0
    for row, label in zip(torch.from_numpy(inputs), labels.tolist(), strict=True):
        hidden = torch.clamp(given["fc1.weight"] @ row + given["fc1.bias"], min=0)
        right += int((given["fc2.weight"] @ hidden + given["fc2.bias"]).argmax()) == label
    return right


def saved(value: Any, **options: Any) -> bytes:
    """Return what torch.save writes."""
    made = io.BytesIO()
    torch.save(value, made, **options)
    return made.getvalue()


def npz(arrays: Mapping[str, Any], *, packed: bool = False) -> bytes:
    """Return what np.savez or np.savez_compressed writes."""
    made = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(made, **arrays)
    return made.getvalue()


def npy(array: Any) -> bytes:
    """Return what np.save writes."""
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def npy_header(header: str, data: bytes = b"") -> bytes:
    """Return a .npy array with a header of our own wording."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data


@dataclass(frozen=True)
class Part:
    """An entry of a zip as it stands in the file: `data` is packed where `method` is 8."""

    name: str
    data: bytes
    size: int | None = None
    crc: int | None = None
    method: int = 0
    flags: int = 0


def archive(parts: Sequence[Part]) -> bytes:
    """Return a zip of the parts, whatever they claim: zipfile would refuse, or mend, most of it."""
    made, directory = b"", b""
    for part in parts:
        size = len(part.data) if part.size is None else part.size
        crc = zlib.crc32(part.data) if part.crc is None else part.crc
        name = part.name.encode()
        fields = struct.pack("<3H2H3L2H", 20, part.flags, part.method, 0, 33, crc, len(part.data), size, len(name), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields + bytes(10) + struct.pack("<L", len(made))
        directory += name
        made += b"PK\x03\x04" + fields + name + part.data
    count = len(parts)
    return made + directory + b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(made), 0)


def parts_of(made: bytes) -> dict[str, bytes]:
    """Return the entries of a proper zip by name."""
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        return {name: file.read(name) for name in file.namelist()}


def repacked(made: bytes, changes: Mapping[str, bytes]) -> bytes:
    """Return a zip of stored entries with some of them, named without their top folder, changed."""
    parts = parts_of(made)
    return archive([Part(name, changes.get(name.partition("/")[2], data)) for name, data in parts.items()])


def flipped(made: bytes, place: int) -> bytes:
    """Return the bytes with one bit turned."""
    return made[:place] + bytes([made[place] ^ 1]) + made[place + 1 :]


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path
