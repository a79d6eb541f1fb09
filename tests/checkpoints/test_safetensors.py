"""safetensors: the contract, the package as the judge, and headers made to hurt."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import save_file

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.safetensors import Safetensors
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import read_table
from milepost.core.types import Table
from milepost.errors import Corrupt, Torn, Unsupported
from milepost.testing.formats import DTYPES, LAWS, FormatCase, Law


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changes: object) -> dict[str, object]:
    return {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


PAIR = {"dtype": "U8", "shape": [4]}
HOSTILE = (
    raw(one(shape=[1 << 40]), bytes(8)),
    raw(one(shape=[-2]), bytes(8)),
    raw(one(shape=[True, 2]), bytes(8)),
    raw(one(shape=2), bytes(8)),
    raw(one(shape=[2.0]), bytes(8)),
    raw(one(shape=[1] * 1000), bytes(8)),
    raw(one(dtype=3), bytes(8)),
    raw(one(dtype="F4"), bytes(8)),
    raw(one(data_offsets=[0]), bytes(8)),
    raw(one(data_offsets=[8, 0]), bytes(8)),
    raw(one(data_offsets=[0, 1 << 62]), bytes(8)),
    raw(one(extra=1), bytes(8)),
    raw(one(), bytes(9)),
    raw({"t": None}),
    raw({"a": PAIR | {"data_offsets": [0, 4]}, "b": PAIR | {"data_offsets": [2, 6]}}, bytes(6)),
    raw({"a": PAIR | {"data_offsets": [0, 4]}, "b": PAIR | {"data_offsets": [5, 9]}}, bytes(9)),
    raw(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"1",
    ),
    raw(b'{"a":' + b"[" * 100_000, b""),
    raw(b'{"a":' + b"9" * 100_000 + b"}", b""),
    raw(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"1"),
    raw(b"{\xff\xfe}", b""),
    raw({"__metadata__": []}),
    raw(b"{}", b"", 99_999_999),
)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    save_file({name: np.require(array, requirements="C") for name, array in arrays.items()}, path)


CASE = FormatCase(Safetensors(), write, ".safetensors", (*DTYPES, "uint16", "uint32", "uint64"), hostile=HOSTILE)


@pytest.mark.parametrize("law", LAWS)
def test_contract(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


def read(path: Path) -> Table:
    return read_table(Safetensors(), find([str(path)])[0])


def test_every_type_that_torch_writes_is_the_same_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    kinds = [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
    ]
    tensors = {kind: torch.arange(6).reshape(2, 3).to(getattr(torch, kind)) for kind in kinds}
    safetensors.torch.save_file(tensors, path)
    table = {item.name: item for item in read(path).tensors}
    judged = safetensors.torch.load_file(path)
    assert sorted(table) == sorted(judged)
    for name, tensor in judged.items():
        mapped = map_tensor(table[name])
        expected = getattr(ml_dtypes, name, None) or name
        assert mapped.dtype == np.dtype(expected)
        assert mapped.tobytes() == bytes(tensor.contiguous().view(torch.uint8).numpy().tobytes())


@pytest.mark.parametrize(
    ("metadata", "step", "source"),
    [
        ({"step": "900"}, 900, "content: __metadata__.step"),
        ({"step": "9e2"}, 41, "content: iteration"),
        (None, 41, "content: iteration"),
    ],
)
def test_step(metadata: dict[str, str] | None, step: int | None, source: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": np.zeros(2), "iteration": np.array([41])}, path, metadata=metadata)
    table = read(path)
    assert (table.step, table.step_source) == (step, source)


def test_what_is_missing_is_given_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw(b"{}" + b" " * 998, b"", 4_000_000))
    found = find([str(path)])[0]
    assert found.state == "writing"
    with pytest.raises(Torn, match="header declares 4,000,000 bytes, 1,000 are there"):
        read_table(Safetensors(), found)
    save_file({"w": np.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-5])
    found = find([str(path)])[0]
    assert found.state == "writing"
    with pytest.raises(Torn, match=r"still being written, or was cut off: .* 5 missing"):
        read_table(Safetensors(), found)


def test_the_clearer_name_of_a_step_counts_in_metadata_and_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for name, expected in (("global_step", (7, "content: global_step")), ("iter", (5, "content: __metadata__.step"))):
        tensor = {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}
        path.write_bytes(raw({"__metadata__": {"step": "5"}, name: tensor}, struct.pack("<q", 7)))
        table = read(path)
        assert (table.step, table.step_source) == expected


def test_packed_types_have_the_bytes_that_they_need(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for kind, nbytes in (("F4", 2), ("F6_E2M3", 3), ("F6_E3M2", 3)):
        for wrong in (0, 1):
            held = {"x": {"dtype": kind, "shape": [3], "data_offsets": [0, nbytes + wrong]}}
            path.write_bytes(raw(held, bytes(nbytes + wrong)))
            if wrong:
                with pytest.raises(Corrupt, match=f"type {kind} do not need the {nbytes + 1} bytes"):
                    read(path)
            else:
                assert read(path).tensors[0].shape == (3,)


def test_types_of_less_than_a_byte_are_refused_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        raw(
            {"w": PAIR | {"data_offsets": [0, 4]}, "x": {"dtype": "F4", "shape": [3], "data_offsets": [4, 6]}},
            b"abcdef",
        )
    )
    w, x = read(path).tensors
    assert map_tensor(w).tobytes() == b"abcd"
    with pytest.raises(Unsupported, match="F4"):
        map_tensor(x)


def test_duplicate_keys_are_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[16])
    with pytest.raises(Corrupt, match="a key stands twice"):
        read(path)


def test_names_of_a_file_neither_fill_nor_steer_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    entry = b'{"dtype":"F32","shape":[2],"data_offsets":[0,4]}'
    path.write_bytes(raw(b'{"\\u001b[2J":' + entry + b"}", bytes(4)))
    with pytest.raises(Corrupt, match=r"needs 8 bytes") as caught:
        read_table(Safetensors(), find([str(path)])[0])
    assert str(caught.value).isprintable()
    path.write_bytes(raw(b'{"' + b"n" * 100_000 + b'":' + entry + b"}", bytes(4)))
    with pytest.raises(Corrupt, match="at most 4,096 characters") as caught:
        read_table(Safetensors(), find([str(path)])[0])
    assert len(str(caught.value)) < 1000
