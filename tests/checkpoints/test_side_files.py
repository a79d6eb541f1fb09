"""torch files without weights: passed over by a search, a clear row where they are named."""

import argparse
import enum
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.sixty.pieces import Part, archive

from milepost.checkpoints.discovery import find, would_search
from milepost.checkpoints.reader import Reader
from milepost.errors import Unsupported
from milepost.watch.snapshot import Snapshot


class Strategy(enum.Enum):
    """As in transformers.TrainingArguments: a pickle calls it with its value."""

    STEPS = "steps"


class Recorder:
    """A trainer's own class."""

    def __init__(self) -> None:
        """Have a state."""
        self.losses = [0.5, 0.25]


NETWORK = torch.nn.Linear(4, 4)


def optimizer() -> dict[str, Any]:
    made = torch.optim.Adam(NETWORK.parameters())
    NETWORK(torch.ones(1, 4)).sum().backward()
    made.step()
    return made.state_dict()


WITHOUT = {
    "metrics": (
        {"epoch": 3, "val_loss": [0.5, 0.25], "best": np.float64(0.9)},
        "a dictionary of 'epoch', 'val_loss', 'best'",
    ),
    "namespace": (argparse.Namespace(lr=0.1, out=Path("runs")), "an object of class argparse.Namespace"),
    "arguments": ({"args": argparse.Namespace(how=Strategy.STEPS, out=Path("runs"))}, "a dictionary of 'args'"),
    "recorder": (Recorder(), "an object of class tests.checkpoints.test_side_files.Recorder"),
    "list": ([1, 2, 3], "a list of 3 items"),
    "empty": ({}, "an empty dictionary"),
    "text": ("done", "a value of type str"),
    "cpu-rng": (torch.get_rng_state(), "random states"),
    "rng": (
        {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()},
        "a dictionary of 'python', 'numpy', 'cpu' (random states)",
    ),
    "adam": (optimizer(), "a dictionary of 'state', 'param_groups' (optimizer)"),
    "scheduler": ({"scheduler": {"last_epoch": 3}, "epoch": torch.tensor(3)}, "'scheduler', 'epoch' (bookkeeping)"),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", WITHOUT)
def test_a_file_without_weights_is_passed_over_and_named_where_it_is_asked_for(
    name: str, zipped: bool, tmp_path: Path
) -> None:
    value, what = WITHOUT[name]
    path = tmp_path / f"{name}.pt"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    torch.save(NETWORK.state_dict(), tmp_path / "step-1.pt")
    assert [one.path for one in find([str(tmp_path)])] == [str(tmp_path / "step-1.pt")]
    (found,) = find([str(path)])
    assert found.failure is not None
    assert found.failure[0] == "unsupported"
    assert "holds no weights, only " in found.failure[1]
    assert what in found.failure[1]
    assert not would_search(found)
    with pytest.raises(Unsupported, match="holds no weights"):
        Reader().table(found, str(tmp_path))


@pytest.mark.parametrize(
    "value",
    [
        {"weight": torch.ones(2)},
        {"a": torch.tensor(1.0)},
        torch.ones(3),
        [torch.ones(2)],
        {"mask": torch.ones(2, 2, dtype=torch.uint8)},
        {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "model": {"w": torch.ones(2)}},
        {"state": {"w": torch.ones(2)}, "epoch": 3},
    ],
)
def test_whatever_may_be_weights_is_a_checkpoint(value: Any, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "a.pt")
    (found,) = find([str(tmp_path)])
    assert (found.format, found.failure) == ("torch_zip", None)


def test_a_large_file_without_any_storage_is_passed_over_too(tmp_path: Path) -> None:
    torch.save({"losses": [step / 3 for step in range(50_000)]}, tmp_path / "log.pt")
    assert (tmp_path / "log.pt").stat().st_size > 64 << 10
    assert find([str(tmp_path)]) == []
    (found,) = find([str(tmp_path / "log.pt")])
    assert found.failure is not None
    assert "holds no weights, only a pickle without tensors" in found.failure[1]


def test_a_pickle_that_grows_is_not_unpacked_by_a_search(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 200_000) + b"x" * 200_000 + b"q\x00"
    call = b"c_codecs\nencode\nh\x00X\x06\0\0\0latin1\x86R"
    parts = [Part("a/data.pkl", b"\x80\x02](" + text + 500 * call + b"e."), Part("a/version", b"3\n")]
    (tmp_path / "bomb.pt").write_bytes(archive([*parts, Part("a/data/0", bytes(4))]))
    tracemalloc.start()
    try:
        assert [one.failure for one in find([str(tmp_path)])] == [None]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_one_call_is_no_side_file(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    torch.save(Trap(), tmp_path / "a.pt")
    (found,) = find([str(tmp_path)])
    assert found.failure is None  # reading it says that it is unsafe
    assert not (tmp_path / "executed").exists()


def test_a_watch_never_waits_for_a_file_without_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "metrics.pt")
    assert [file.path for file in Snapshot([str(tmp_path)]).scan().new] == [str(tmp_path / "metrics.pt")]
    assert not would_search(find([str(tmp_path / "metrics.pt")])[0])


def test_a_file_without_weights_can_be_inspected(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "metrics.pt")
    inspection = Reader().inspect(str(tmp_path / "metrics.pt"))
    assert inspection.table.tensors == ()
    assert inspection.files.failure is not None
