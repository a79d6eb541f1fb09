"""Pickles of arrays: the contract, what NumPy, JAX and Paddle write by every protocol, and pickles made to hurt."""

import collections
import io
import pickle
import pickletools
import struct
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.pickle_arrays import PickleArrays
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader
from milepost.core.types import Array, Table
from milepost.errors import CheckpointError, Corrupt, Torn, Unsafe, Unsupported, checkpoint_error
from milepost.testing.formats import DTYPES, LAWS, FormatCase, Law

W = np.arange(6, dtype="f4").reshape(2, 3)
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


class Shell:
    """Pickles as a call."""

    def __reduce__(self) -> Any:
        """Ask for the call."""
        return print, ("never printed",)


def array(
    shape: bytes = b"(I2\nt", kind: bytes = b"S'f4'\n", order: bytes = b"S'<'\n", data: bytes = b"C\x08" + bytes(8)
) -> bytes:
    """Return a pickle {"w": array} whose parts may be odd."""
    dtype = b"cnumpy\ndtype\n(" + kind + b"I0\nI1\ntR(I3\n" + order + b"NNNI-1\nI-1\nI0\ntb"
    return b"\x80\x04}U\x01w" + RECONSTRUCT + b"(I1\n" + shape + dtype + b"I00\n" + data + b"tbs."


def nested(depth: int) -> bytes:
    return pickle.dumps({"w": W}, 4)[:-1] + b"0" + b"]" * depth + b"a" * (depth - 1) + b"."


HOSTILE = (
    pickle.dumps({"w": W, "x": Shell()}),
    array(shape=b"(I3\nt"),
    array(shape=b"(I-2\nt"),
    array(shape=b"(I4611686018427387904\nt"),
    array(shape=b"(" + b"I1\n" * 200 + b"t"),
    array(shape=b"N"),
    array(kind=b"S'f3'\n"),
    array(kind=b"N"),
    array(kind=b"S'O8'\n"),
    array(order=b"S'?'\n"),
    array(data=b"N"),
    array(data=b"]"),
    array(data=b"B\xff\xff\xff\x7f"),
    array(data=b"\x8e" + b"\xff" * 7 + b"\x7f"),
    b"\x80\x04" + RECONSTRUCT + b".",
    b"\x80\x04}U\x01w" + RECONSTRUCT + b"N" + b"bs.",
    b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8) + b"NNNtR.",
    b"\x80\x04cnumpy.core.multiarray\nscalar\n)R.",
    b"\x80\x04cjax._src.array\n_reconstruct_array\n(NNNNtR.",
    b"\x80\x04cbuiltins\neval\n(X\x01\x00\x00\x001}tRcnumpy\nndarray\n.",
    b"\x80\x04cnumpy\nndarray\n0]q\x00h\x00a.",
    nested(500),
    b"\x80\x04cnumpy\nndarray\n0" + b"(" * 100_000 + b".",
    b"\x80\x04cnumpy\nndarray\n0" + b"]" + b"2\x86" * 2000 + b".",
    b"\x80\x04cnumpy\nndarray\n0]q\x00" + b"".join(b"](h\x00h\x00e\x94" for _ in range(60)) + b".",
)  # fmt: skip


def dumped(protocol: int) -> Any:
    return lambda path, arrays: path.write_bytes(pickle.dumps(dict(arrays), protocol))


KINDS = (*DTYPES, "uint16", "uint32", "uint64", "complex64")
CASES = [FormatCase(PickleArrays(), dumped(protocol), ".pkl", KINDS, hostile=HOSTILE) for protocol in (2, 4, 5)]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", CASES, ids=["2", "4", "5"])
def test_contract(case: FormatCase, law: Law, tmp_path: Path) -> None:
    law(case, tmp_path)


def read(value: Any, folder: Path, name: str = "a.pkl", protocol: int = 4) -> tuple[Table, dict[str, Array]]:
    """Pickle a value, or take bytes, and read it as a run does."""
    path = folder / name
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    (found,) = find([str(path)])
    if found.failure is not None:
        raise checkpoint_error(*found.failure)
    table = Reader().table(found, str(folder))
    return table, {f"{item.group}:{item.name}": map_tensor(item) for item in table.tensors if item.role == "weights"}


def same(found: Mapping[str, Array], expected: Mapping[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, item in expected.items():
        wanted = np.asarray(item)
        assert found[name].dtype.newbyteorder("=") == wanted.dtype.newbyteorder("="), name
        assert found[name].shape == wanted.shape, name
        assert np.array_equal(found[name], wanted), name


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_order_and_container(protocol: int, tmp_path: Path) -> None:
    transposed = np.arange(24, dtype="f8").reshape(2, 3, 4).transpose(1, 2, 0)
    value = {
        "plain": W,
        "layers": [{"kernel": np.asfortranarray(W), "bias": W[0]}, (W[:, 1], {"deep": transposed})],
        "ordered": collections.OrderedDict(big=W.astype(">f4"), sliced=W[:, ::2], empty=np.zeros((0, 3), "i2")),
        "numbers": [np.float32(2.5), np.int64(-7), np.bool_(True)],
        "half": np.linspace(-1, 1, 5).astype(ml_dtypes.bfloat16),
        "tiny": np.ones(3, ml_dtypes.float8_e4m3fn),
        ("flat", "kernel"): W + 1,
        "epoch": 3,
        "step": 900,
        "text": "x" * 100_000,
        "odd": [None, 1.5, True, b"bytes", "é"],
    }
    table, arrays = read(value, tmp_path, protocol=protocol)
    same(
        arrays,
        {
            ":plain": W,
            ":layers/0/kernel": W,
            ":layers/0/bias": W[0],
            ":layers/1/0": W[:, 1],
            ":layers/1/1/deep": transposed,
            ":ordered/big": W,
            ":ordered/sliced": W[:, ::2],
            ":ordered/empty": np.zeros((0, 3), "i2"),
            ":numbers/0": np.float32(2.5),
            ":numbers/1": np.int64(-7),
            ":numbers/2": np.bool_(True),
            ":half": value["half"],
            ":tiny": value["tiny"],
            ":flat/kernel": W + 1,
        },
    )
    assert (table.step, table.step_source) == (900, "content: step")
    assert table.foreign == ()


@pytest.mark.parametrize("protocol", range(5))
def test_numpy_1_and_2_call_their_modules_differently(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"w": W, "n": np.float64(1.5)}, protocol)
    older = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    if protocol == 4:  # names with their lengths, in a frame with its own
        size = struct.unpack("<Q", content[3:11])[0] - 1
        older = (
            b"\x80\x04\x95" + struct.pack("<Q", size) + older[11:].replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
        )
    assert older != content
    same(read(older, tmp_path)[1], {":w": W, ":n": np.float64(1.5)})


def test_a_pickle_of_python_2_holds_its_bytes_as_text(tmp_path: Path) -> None:
    raw = W.tobytes()
    content = array(shape=b"(I2\nI3\nt", data=b"U" + bytes([len(raw)]) + raw).replace(b"\x80\x04", b"\x80\x02")
    same(read(content, tmp_path)[1], {":w": W})


def test_jax_arrays(tmp_path: Path) -> None:
    if find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    # In a process of its own: a process that has imported JAX must not fork, as workers of a DataLoader do.
    written = """
import pickle, sys
import jax.numpy as jnp
import numpy as np
kernel = jnp.asarray(np.load("kernel.npy"))
value = {"params": {"dense": {"kernel": kernel, "bias": jnp.ones(3, jnp.bfloat16)}}, "opt_state": [jnp.ones(3)]}
for protocol in range(6):
    with open(f"{protocol}.raw", "wb") as file:
        pickle.dump(value, file, protocol)
"""
    np.save(tmp_path / "kernel.npy", W)
    subprocess.run([sys.executable, "-c", written], cwd=tmp_path, check=True, capture_output=True)
    for protocol in range(6):
        table, arrays = read((tmp_path / f"{protocol}.raw").read_bytes(), tmp_path)
        same(arrays, {":params/dense/kernel": W, ":params/dense/bias": np.ones(3, ml_dtypes.bfloat16)})
        assert [item.role for item in table.tensors] == ["weights", "weights", "optimizer"]


class Tensor:
    """Pickles as Paddle's tensors do within nested values."""

    def __init__(self, name: str, held: Array) -> None:
        """Keep what is written."""
        self.name, self.held = name, held

    def __reduce__(self) -> Any:
        """Write the pair of name and array."""
        return tuple, ((self.name, self.held),)


class Lod(Tensor):
    """Pickles as Paddle's older tensors do."""

    def __reduce__(self) -> Any:
        """Write an expression, and what it is about."""
        return eval, ("data", {"data": self.held})


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddles_files(protocol: int, tmp_path: Path) -> None:
    state = {"fc.weight": W, "fc.bias": W[0], "StructuredToParameterName@@": {"fc.weight": "linear_0.w_0"}}
    same(read(state, tmp_path, "a.pdparams", protocol)[1], {":fc.weight": W, ":fc.bias": W[0]})
    value = {"model": {"fc.weight": Tensor("linear_0.w_0", W), "fc.bias": Lod("", W[0])}, "epoch": 2}
    same(read(value, tmp_path, "a.pdparams", protocol)[1], {"model:fc.weight": W, "model:fc.bias": W[0]})
    (tmp_path / "a.pdopt").write_bytes(pickle.dumps({"moment": W}))
    assert [Path(one.path).name for one in find([str(tmp_path)])] == ["a.pdparams"]
    with pytest.raises(Unsupported, match=r"cut arrays of more than 1 GB into pieces: save it with .*protocol=4"):
        read({**state, "UnpackBigParamInfor@@": {}}, tmp_path, "a.pdparams")


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ({"w": W, "x": Shell()}, Unsafe, r"names builtins.print, besides arrays; Milepost runs nothing of a pickle"),
        ({"w": W, "x": collections.Counter("a")}, Unsafe, r"names collections.Counter"),
        ({"w": W.view(np.matrix)}, Unsafe, r"names numpy\S*.matrix"),
        ({"w": np.array([None, "x"], object)}, Unsafe, r"'w': holds Python objects"),
        ({"w": W, "a/b": W, "a": {"b": W}}, Corrupt, "two arrays have one name"),
        (pickle.dumps({"w": W})[:-9], Torn, "the pickle"),
        (array(shape=b"(I3\nt"), Corrupt, r"array 'w': an array of float32 and shape \(3\) has 8 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_array_is_named(value: Any, kind: type[CheckpointError], words: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=words):
        read(value, tmp_path)


def test_objects_and_dates_beside_arrays_are_listed(tmp_path: Path) -> None:
    table, arrays = read(
        {"w": W, "o": np.array([None]), "t": np.array(["a"]), "r": np.zeros(2, "i4,f4"), "d": np.zeros(1, "M8[s]")},
        tmp_path,
    )
    same(arrays, {":w": W})
    assert [item.role for item in table.tensors] == ["weights", *["bookkeeping"] * 4]
    assert any("o (holds Python objects" in note and "r (a structured type)" in note for note in table.notes)


def test_buffers_out_of_band_are_refused(tmp_path: Path) -> None:
    content = pickle.dumps({"w": W}, 5, buffer_callback=lambda _: None)
    assert any(code.name == "NEXT_BUFFER" for code, *_ in pickletools.genops(content))
    with pytest.raises(Unsupported, match=r"outside of the pickle .*without buffer_callback"):
        read(content, tmp_path)


def test_what_follows_is_noted_and_data_sets_are_passed_over(tmp_path: Path) -> None:
    made = io.BytesIO()
    pickle.dump([W], made)
    pickle.dump({"more": W}, made)
    table, _ = read(made.getvalue(), tmp_path)
    assert [item.name for item in table.tensors] == ["0"]
    assert any("bytes follow the first pickle; they are not read" in note for note in table.notes)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": np.zeros((2, 3072), "u1"), "labels": [1, 2]}, 2))
    (tmp_path / "params").write_bytes(pickle.dumps({"w": W}))
    assert [Path(one.path).name for one in find([str(tmp_path)])] == ["a.pkl", "params"]


def test_an_array_alone_has_a_name(tmp_path: Path) -> None:
    same(read(W, tmp_path)[1], {":array": W})


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_and_texts_beside_the_arrays_are_facts(protocol: int, tmp_path: Path) -> None:
    names = {"StructuredToParameterName@@": {"w": "linear_0.w_0"}}
    value = {"epoch": 3, "w": W, "args": {"lr": 0.1, "name": "lenet"}, "layers": [W], "best": None, **names}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
    (found,) = find([str(tmp_path / "a.pkl")])
    facts = PickleArrays().facts(found)
    assert facts == {"epoch": 3, "args.lr": 0.1, "args.name": "lenet", "best": None}
