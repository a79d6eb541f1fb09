"""torch zips: the contract, torch as the judge (bit for bit), real files, and files made to hurt."""

import argparse
import io
import os
import pathlib
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.checkpoints.torch_values import views

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.torch_zip import TorchZip
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import read_table
from milepost.core.types import Table, Tensor
from milepost.errors import Corrupt, Program, Torn, Unsupported
from milepost.testing.formats import DTYPES, LAWS, FormatCase, Law

REAL = Path(__file__).parents[3] / "shared" / "data" / "checkpoints"


def archive(data_pkl: bytes, storages: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr("a/data.pkl", data_pkl)
        file.writestr("a/byteorder", "little")
        for key, content in (storages or {}).items():
            file.writestr(f"a/data/{key}", content)
        file.writestr("a/version", "3\n")
    return made.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + raw


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor_pickle(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, count: int = 4, key: str = "0"
) -> bytes:
    """Return a pickle of {"w": tensor} by hand, so that it can say what torch never would."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    arguments = b"(" + storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89N" + b"t"
    return b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


FOUR = {"0": np.arange(4, dtype="float32").tobytes()}
HOSTILE = (
    archive(tensor_pickle((5,), (1,)), FOUR),
    archive(tensor_pickle((2, 2), (3, 1)), FOUR),
    archive(tensor_pickle((4,), (1,), offset=1), FOUR),
    archive(tensor_pickle((4,), (1,), offset=-1), FOUR),
    archive(tensor_pickle((4,), (-1,), offset=3), FOUR),
    archive(tensor_pickle((-4,), (1,)), FOUR),
    archive(tensor_pickle((1 << 61, 1 << 61), (0, 0)), FOUR),
    archive(tensor_pickle((1 << 40,), (0,)), FOUR),
    archive(tensor_pickle((2, 2), (1,)), FOUR),
    archive(tensor_pickle((4,), (1,), count=1 << 60), FOUR),
    archive(tensor_pickle((4,), (1,), count=-4), FOUR),
    archive(tensor_pickle((4,), (1,), key="../0"), FOUR),
    archive(tensor_pickle((4,), (1,)), FOUR, zipfile.ZIP_DEFLATED),
    archive(b"\x80\x02Nr\xff\xff\xff\xffR."),
    archive(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
    archive(b"\x80\x02B" + struct.pack("<I", 0xFFFFFFFF) + b"."),
    archive(b"\x80\x02\x82\x01."),
    archive(b"\x80\x02R."),
    archive(b"\x80\x02NNs."),
    archive(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_001 + b"."),
    archive(b"\x80\x02]q\x00" + b"]" * 100 + b"h\x00" + b"a" * 100 + b"h\x00h\x00a0" * 100 + b"u."),
    archive(b"\x80\x02"),
    archive(b""),
)


class Trap:
    """What a booby-trapped checkpoint holds: unpickled by the library, it would run a command."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, path)


CASE = FormatCase(TorchZip(), write, ".pt", (*DTYPES, "uint16", "complex64"), checksummed=True, hostile=HOSTILE)


@pytest.mark.parametrize("law", LAWS)
def test_contract(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


def read(path: Path) -> Table:
    return read_table(TorchZip(), find([str(path)])[0])


def rows(table: Table) -> dict[str, Tensor]:
    return {f"{item.group}:{item.name}": item for item in table.tensors}


def same(item: Tensor, judge: torch.Tensor) -> bool:
    mapped, judge = map_tensor(item), judge.detach()
    assert mapped.shape == tuple(judge.shape)
    assert item.dtype == str(judge.dtype).removeprefix("torch.")
    return np.ascontiguousarray(mapped).tobytes() == judge.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_torch_itself_agrees_on_views_ties_parameters_and_every_type(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    kinds = (
        "float64 float16 bfloat16 float8_e4m3fn float8_e5m2 int64 int16 uint8 uint16 uint32 bool complex64 complex128"
    )
    saved = views(kinds)
    torch.save(saved, path)
    table, judged = rows(read(path)), torch.load(path, weights_only=True)
    assert sorted(table) == sorted(f":{name}" for name in judged)
    for name, judge in judged.items():
        assert same(table[f":{name}"], judge), name
    assert table[":base"].where == table[":tied"].where


def test_foreign_objects_are_listed_and_never_made(tmp_path: Path) -> None:
    path, canary = tmp_path / "a.ckpt", tmp_path / "canary"
    saved = {
        "state_dict": OrderedDict(w=torch.ones(2)),
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("x")),
        "trap": Trap(canary),
    }
    torch.save(saved, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    table = read(path)
    assert not canary.exists()
    assert {"argparse.Namespace", "pathlib.PurePosixPath", "posix.system"} == set(table.foreign)
    assert [(item.group, item.name) for item in table.tensors] == [("state_dict", "w")]


def test_groups_roles_and_step_of_a_training_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    saved = {
        "epoch": 3,
        "step": torch.tensor(900),
        "best_acc1": torch.tensor(71.0),
        "model_state_dict": model.state_dict(),
        "ema": {"0.weight": torch.ones(2, 2)},
        "optimizer": optimizer.state_dict(),
        "rng_state": torch.get_rng_state(),
    }
    torch.save(saved, path)
    table = read(path)
    found = rows(table)
    assert (table.step, table.step_source) == (900, "content: step")
    assert found["model_state_dict:1.num_batches_tracked"].role == "weights"
    assert found["ema:0.weight"].role == "weights"
    assert found["optimizer/state/0:exp_avg"].role == "optimizer"
    assert {found[f":{name}"].role for name in ("step", "best_acc1", "rng_state")} == {"bookkeeping"}
    assert table.foreign == ()


@pytest.mark.parametrize(
    ("saved", "step"),
    [
        ({"global_step": 12, "step": 3}, 12),
        ({"global_step": torch.tensor(12), "step": 3}, 12),
        ({"global_step": torch.tensor(1.5), "step": 3}, 3),
        ({"iteration": 7}, 7),
        ({"epoch": 7}, None),
        ({"step": True}, None),
        ({"step": 2.0}, None),
        ({"step": -1}, None),
        ({"step": torch.tensor(2.0)}, None),
        ([1, 2], None),
    ],
)
def test_steps(saved: object, step: int | None, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt").step == step


class Net(torch.nn.Module):
    """A module that is pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)])
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


def test_a_pickled_module_is_walked_as_its_state_dict(tmp_path: Path) -> None:
    path, net = tmp_path / "a.pt", Net()
    torch.save(net, path)
    table = read(path)
    judged = net.state_dict()
    assert sorted(item.name for item in table.tensors) == sorted(judged)
    assert all(same(item, judged[item.name]) for item in table.tensors)
    assert any(name.endswith("Net") for name in table.foreign)


def test_odd_tensors_are_refused_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    saved = {
        "w": torch.ones(2),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "overlapping": torch.arange(6.0).as_strided((3, 3), (1, 1)),
    }
    torch.save(saved, path)
    table = rows(read(path))
    assert map_tensor(table[":w"]).tolist() == [1, 1]
    for name in ("sparse", "meta", "conj", "overlapping"):
        with pytest.raises(Unsupported, match=name):
            map_tensor(table[f":{name}"])


def damaged(path: Path, values: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.find(values) + 1] ^= 4
    path.write_bytes(data)


def test_damage_is_named_by_tensor_and_both_checksums(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    values = np.random.default_rng(0).standard_normal(64).astype("float32")
    torch.save({"model": {"w": torch.from_numpy(values), "b": torch.ones(2)}}, path)
    damaged(path, values.tobytes())
    torch.load(path)  # the judge does not notice
    with pytest.raises(
        Corrupt, match=r"data/0' \(tensor 'model/w'\): CRC-32 stored [0-9a-f]{8}, computed [0-9a-f]{8} "
    ):
        read(path)


def test_damage_in_what_nobody_loads_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    values = np.random.default_rng(0).standard_normal(64).astype("float32")
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.from_numpy(values)}}, path)
    damaged(path, values.tobytes())
    assert "optimizer" in read(path).notes[0]


def test_absent_checksums_are_no_damage_but_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(2)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    table = read(path)
    assert not table.checksum
    assert map_tensor(table.tensors[0]).tolist() == [1, 1]


def test_big_endian_files_keep_their_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a/data.pkl", tensor_pickle((4,), (1,)))
        file.writestr("a/byteorder", "big")
        file.writestr("a/data/0", np.arange(4, dtype=">f4").tobytes())
    path.write_bytes(content.getvalue())
    (item,) = read(path).tensors
    assert item.dtype == ">f4"
    assert map_tensor(item).tolist() == [0, 1, 2, 3]


def test_one_storage_seen_as_two_types_gives_each_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    floats = tensor_pickle((4,), (1,))
    integers = floats.replace(b"FloatStorage", b"IntStorage").replace(text("w"), text("i"))
    path.write_bytes(archive(floats[:-1] + integers[3:], FOUR))
    as_float, as_integer = read(path).tensors
    assert (as_float.dtype, as_integer.dtype) == ("float32", "int32")
    assert map_tensor(as_integer).tolist() == np.arange(4, dtype="float32").view("int32").tolist()


def test_odd_keys_get_names_that_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({10**6000: torch.ones(1), 3: torch.ones(1), ("a", 1): torch.ones(1), "\ud800": torch.ones(1)}, path)
    assert [item.name for item in read(path).tensors] == ["a huge integer", "3", "Placeholder", "\\ud800"]


def test_programs_are_no_tables(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in ("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"):
            file.writestr(name, b"\x80\x02}.")
    (tmp_path / "script.pt").write_bytes(content.getvalue())
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(exported, tmp_path / "exported.pt2")
    for found in find([str(tmp_path)]):
        assert found.format == "torch_zip"
        with pytest.raises(Program, match="not a table of tensors"):
            read_table(TorchZip(), found)


def test_a_cut_file_is_seen_as_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2000)}, path)
    path.write_bytes(path.read_bytes()[:4000])
    found = find([str(path)])[0]
    assert (found.format, found.state) == ("torch_zip", "writing")
    with pytest.raises(Torn, match="still being written, or was cut off"):
        read_table(TorchZip(), found)


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("mnist_cnn_torch_zip/mnist_cnn.pt", ""),
        ("fashion_lenet5_torch_zip/fashion_mnist_cnn.pth", "model_state_dict"),
    ],
)
def test_real_files_agree_with_torch(file: str, group: str) -> None:
    path = REAL / file
    if not path.exists():
        pytest.skip(f"the real checkpoint {file} is not here (optional folder of real data)")
    judged = torch.load(path, weights_only=True, map_location="cpu")
    judged = judged[group] if group else judged
    table = rows(read(path))
    assert sorted(table) == sorted(f"{group}:{name}" for name in judged)
    assert all(same(table[f"{group}:{name}"], judge) for name, judge in judged.items())
