"""Files of kinds that are not read: named for what they are where they are whole, damaged or cut where they are not."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from milepost.checkpoints.discovery import find

W = np.arange(6, dtype=np.float32).tobytes()


def proto(number: int, content: bytes | int) -> bytes:
    """Return one field of a protocol buffer: a message or text, or a small integer."""
    if isinstance(content, int):
        return bytes([number << 3 & 0x7F | (number > 15) << 7, *([number >> 4] if number > 15 else []), content])
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    key = number << 3 | 2
    return (bytes([key]) if key < 128 else bytes([key & 0x7F | 0x80, key >> 7])) + size + content


def flax() -> bytes:
    """Return {"params": {"kernel": [2, 3] floats}, "step": 7} as flax.serialization.to_bytes writes it."""
    array = b"\x93" + b"\x92\x02\x03" + b"\xa7float32" + b"\xc4\x18" + W
    return b"\x82\xa6params\x81\xa6kernel" + b"\xc7" + bytes([len(array)]) + b"\x01" + array + b"\xa4step\x07"


def mxnet() -> bytes:
    """Return what mxnet.nd.save writes of one dense array."""
    array = struct.pack("<IiI2q3i", 0xF993FAC9, 0, 2, 2, 3, 1, 0, 0) + W
    return struct.pack("<3Q", 0x112, 0, 1) + array + struct.pack("<2Q", 1, 5) + b"arg:w"


def paddle() -> bytes:
    """Return a tensor of a .pdiparams file."""
    description = b"\x08\x05\x10\x02\x10\x03"
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + W


def gguf() -> bytes:
    """Return one text and one tensor of a GGUF file, version 3."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    pairs = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    tensor = text(b"w") + struct.pack("<I2QIQ", 2, 3, 2, 0, 0)
    made = b"GGUF" + struct.pack("<I2Q", 3, 1, 1) + pairs + tensor
    return made + bytes(-len(made) % 32) + W


def tflite() -> bytes:
    """Return a flatbuffer whose model has two buffers, one of them of 24 bytes."""
    # 0 root, 4 magic, 8 vtable of the model (fields 0 to 4), 24 model, 32 vector of buffers, 44 vtable of a buffer
    # with data, 50 that of one without, 56 and 64 the buffers, 68 the data.
    made = struct.pack("<I4s", 24, b"TFL3") + struct.pack("<7Hxx", 14, 8, 0, 0, 0, 0, 4)
    made += struct.pack("<iI", 24 - 8, 4) + struct.pack("<3I", 2, 56 - 36, 64 - 40)
    made += struct.pack("<3H3H", 6, 8, 4, 4, 4, 0) + struct.pack("<iI", 56 - 44, 68 - 60) + struct.pack("<i", 64 - 50)
    return made + struct.pack("<I", len(W)) + W


def onnx() -> bytes:
    graph = proto(1, proto(1, b"x") + proto(2, b"y") + proto(4, b"Relu")) + proto(2, b"g") + proto(5, proto(9, W))
    return proto(1, 8) + proto(2, b"pytorch") + proto(3, b"2.9") + proto(7, graph) + proto(8, proto(2, 13))


def graph_def() -> bytes:
    nodes = [proto(1, proto(1, b"scope/x") + proto(2, b"Placeholder")), proto(1, proto(1, b"y") + proto(2, b"MatMul"))]
    return b"".join(nodes) + proto(4, proto(1, 27))


def paddle_program() -> bytes:
    block = proto(1, 0) + b"\x10" + b"\xff" * 9 + b"\x01" + proto(3, proto(1, b"feed"))
    return proto(1, block) + proto(4, proto(1, 0))


def mindspore() -> bytes:
    return proto(1, proto(1, b"conv1.weight") + proto(2, proto(1, 2) + proto(2, b"Float32") + proto(3, W)))


def caffe() -> bytes:
    return proto(1, b"ResNet") + proto(100, proto(1, b"conv1") + proto(2, b"Convolution") + proto(7, proto(5, W)))


def coreml() -> bytes:
    return proto(1, 4) + proto(2, proto(1, proto(1, b"image"))) + proto(500, proto(1, W))


def darknet() -> bytes:
    return struct.pack("<3iQ", 0, 2, 5, 32_013_312) + W


def learner(features: int = 1, **options: Any) -> bytes:
    model = LogisticRegression().fit(np.random.default_rng(1).normal(size=(2, features)), [0, 1])
    made = io.BytesIO()
    joblib.dump(model, made, **options)
    return made.getvalue()


def xgboost_ubjson() -> bytes:
    return b"{L" + struct.pack(">q", 7) + b"learner{}L" + struct.pack(">q", 7) + b"version[#L" + bytes(8) + b"}"


XGBOOST = b'{"learner":{"attributes":{},"gradient_booster":{"model":{}}},"version":[3,2,0]}'
LIGHTGBM = b"tree\nversion=v4\nnum_class=1\n\nTree=0\n\nend of trees\n\nparameters:\nend of parameters"
CATBOOST = b"CBM1" + struct.pack("<I", 12) + bytes(12)
TFJS = json.dumps(
    {"format": "layers-model", "modelTopology": {}, "weightsManifest": [{"paths": ["group1-shard1of1.bin"]}]}
)
OPENVINO = b'<?xml version="1.0"?>\n<net name="g" version="11"><layers/></net>\n'
ESTIMATOR = learner()

WHOLE: list[tuple[str, bytes, str]] = [
    ("a.msgpack", flax(), "a Flax msgpack"),
    ("checkpoint_500", flax(), "a Flax msgpack"),
    ("net-0010.params", mxnet(), "MXNet parameters"),
    ("a.pdiparams", 3 * paddle(), "Paddle inference parameters"),
    ("a.gguf", gguf(), "a GGUF file"),
    ("a.tflite", tflite(), "a TFLite model"),
    ("a.onnx", onnx(), "an ONNX model"),
    ("frozen.pb", graph_def(), "a frozen TensorFlow graph"),
    ("a.pdmodel", paddle_program(), "a Paddle inference program"),
    ("a.ckpt", mindspore(), "a MindSpore checkpoint"),
    ("a.caffemodel", caffe(), "a Caffe model"),
    ("a.mlmodel", coreml(), "a Core ML model"),
    ("yolo.weights", darknet(), "Darknet weights"),
    ("a.joblib", ESTIMATOR, "a scikit-learn pickle (joblib)"),
    ("a.pkl", pickle.dumps({"model": LogisticRegression(), "accuracy": 0.9}, 2), "a scikit-learn pickle (joblib)"),
    ("z.joblib", learner(compress=3), "a scikit-learn pickle (joblib)"),
    ("x.joblib", learner(compress=("xz", 3)), "a scikit-learn pickle (joblib)"),
    ("l.joblib", learner(compress=("lzma", 3)), "a scikit-learn pickle (joblib)"),
    ("b.joblib", learner(compress=("bz2", 3)), "a scikit-learn pickle (joblib)"),
    ("g.pkl", gzip.compress(ESTIMATOR, mtime=0), "a scikit-learn pickle (joblib)"),
    ("a.json", XGBOOST, "an XGBoost model"),
    ("a.ubj", xgboost_ubjson(), "an XGBoost model"),
    ("a.txt", LIGHTGBM, "a LightGBM model"),
    ("a.cbm", CATBOOST, "a CatBoost model"),
    ("model.json", TFJS.encode(), "a TensorFlow.js model"),
    ("a.xml", OPENVINO, "an OpenVINO model"),
    ("a.t7", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1" + bytes(20), "a Torch7 file"),
    ("a.bin", struct.pack("<2i", 793712314, 12), "a fastText model"),
    ("a.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128), "a MATLAB file"),
    ("a.pte", b"\x10\0\0\0ET12" + bytes(20), "an ExecuTorch program"),
    ("a.pt", bz2.compress(b"x" * 99), "compressed as a whole with bzip2"),
    ("b.pt", lzma.compress(b"x" * 99), "compressed as a whole with xz"),
]
NOT_CHECKED = {"a.t7", "a.bin", "a.mat", "a.pte", "yolo.weights", "a.xml"}
"""Kinds without a length of their own, or of which only the beginning is known."""


def verdict(path: Path, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    (found,) = find([str(path)])
    assert found.failure is not None
    assert (found.format, found.path) == (None, str(path))
    assert found.state == ("writing" if found.failure[0] == "torn" else "failed")
    return found.failure


@pytest.mark.parametrize(("name", "content", "what"), WHOLE, ids=[name for name, _, _ in WHOLE])
def test_a_whole_file_is_named_and_never_called_corrupt(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    kind, message = verdict(tmp_path / name, content)
    assert kind == "unsupported"
    assert message.startswith(f"{tmp_path / name}: {what}, which Milepost does not read: ")


@pytest.mark.parametrize(("name", "content", "what"), WHOLE, ids=[name for name, _, _ in WHOLE])
def test_a_scan_that_finds_only_such_a_file_names_it(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / name).write_bytes(content)
    (tmp_path / "export" / "log.txt").write_text("epoch 1\n")
    (found,) = find([str(tmp_path)])
    assert found.failure is not None
    assert found.failure[0] == "unsupported"
    assert what in found.failure[1]


def test_the_graph_of_a_saved_model_is_one_row_with_its_folder(tmp_path: Path) -> None:
    graph = proto(1, 1) + proto(2, proto(1, b""))
    kind, message = verdict(tmp_path / "saved_model.pb", graph)
    assert (kind, "name its folder" in message) == ("unsupported", True)
    assert [one.failure and one.failure[0] for one in find([str(tmp_path)])] == ["program"]


def test_a_scan_that_finds_only_such_files_names_all(tmp_path: Path) -> None:
    for name, content in (("a.onnx", onnx()), ("model.pb", graph_def()), ("trees.ubj", xgboost_ubjson())):
        (tmp_path / name).write_bytes(content)
    assert [Path(one.path).name for one in find([str(tmp_path)])] == ["a.onnx", "model.pb", "trees.ubj"]


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, content, _ in WHOLE if name not in NOT_CHECKED],
    ids=lambda one: str(one)[:20],
)
def test_a_file_that_is_cut_is_not_called_whole(name: str, content: bytes, tmp_path: Path) -> None:
    for length in {len(content) - 1, len(content) * 3 // 4, len(content) // 2}:
        assert verdict(tmp_path / name, content[:length])[0] in {"torn", "corrupt"}, f"cut to {length} bytes"


def _changed(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.msgpack", flax() + b"x", "1 bytes are left after its last item"),
        ("a.msgpack", _changed(flax(), len(flax()) - 1, b"\xc1"), "no item begins with 0xc1"),
        ("a.params", mxnet() + b"x", "1 bytes follow the last name"),
        ("a.params", _changed(mxnet(), 32, b"\xff\0\0\0"), "it has an array of 255 dimensions"),
        ("a.params", _changed(mxnet(), 16, b"\xff" * 8), "it declares 18,446,744,073,709,551,615 items"),
        ("a.pdiparams", paddle() + b"x" * 40, "no tensor begins at byte"),
        ("a.gguf", _changed(gguf(), 4, b"\xff"), "its version is 255"),
        ("a.gguf", _changed(gguf(), 8, b"\xff" * 8), "it declares 18,446,744,073,709,551,615 items"),
        ("a.onnx", onnx() + b"\x0b", "it has field 1 of wire type 3"),
        ("a.pb", graph_def() + proto(9, b"x"), "it has field 9 of wire type 2"),
        ("z.joblib", _changed(learner(2000, compress=3), 9000, b"\0" * 20), "it cannot be unpacked"),
    ],
)
def test_a_damaged_file_is_corrupt(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    kind, message = verdict(tmp_path / name, content)
    assert kind == "corrupt", message
    assert "damaged: it begins as a" in message or "damaged: it begins as MXNet" in message or "Paddle" in message
    assert words in message


def test_other_files_are_no_such_kind(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(np.random.default_rng(1).bytes(9000))
    (tmp_path / "config.json").write_text('{"format": "x", "version": [1]}')
    (tmp_path / "settings.msgpack.bak").write_bytes(b"\x81\xa4step\x07")  # msgpack, but no arrays
    (tmp_path / "text.weights").write_text("0.1 0.2 0.3\n" * 9)
    (tmp_path / "zlib.dat").write_bytes(zlib.compress(b"x" * 99))
    assert find([str(tmp_path)]) == []


def test_beside_a_checkpoint_such_a_file_is_not_listed_unless_it_is_named_like_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "step-1.npz", w=np.ones(2))
    (tmp_path / "model.pb").write_bytes(graph_def())
    (tmp_path / "trees.ubj").write_bytes(xgboost_ubjson())
    assert [one.format for one in find([str(tmp_path)])] == ["npz"]


@pytest.mark.parametrize(
    ("name", "described", "content"),
    [
        ("group1-shard1of1.bin", "model.json", TFJS.encode()),
        ("a.bin", "a.xml", OPENVINO),
        ("a.bin", "a.param", b"7767517\n2 2\n"),
        ("big.bin", "a.onnx", onnx()[:-2].replace(b"pytorch", b"big.bin") + onnx()[-2:]),
    ],
)
def test_raw_numbers_are_named_by_the_file_that_describes_them(
    name: str, described: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / described).write_bytes(content)
    kind, message = verdict(tmp_path / name, W)
    assert (kind, f"for which {described} stands" in message) == ("unsupported", True)
    (found,) = find([str(tmp_path)])
    assert found.path == str(tmp_path / described)


def test_an_unpacked_size_without_end_is_not_waited_for(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    head = packer.compress(ESTIMATOR[:-1])
    bomb = head + b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    assert verdict(tmp_path / "a.joblib", bomb)[0] == "unsupported"


def test_a_pickle_that_names_a_learner_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (str(tmp_path / "executed"),)

    verdict(tmp_path / "a.pkl", pickle.dumps({"model": LogisticRegression(), "trap": Trap()}))
    assert not (tmp_path / "executed").exists()
