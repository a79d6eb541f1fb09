"""Raw numbers without a layout of their own: a file beside them says what they are, and stands for both."""

import os
import re
from collections.abc import Iterator

from milepost._internal.bounded import opened
from milepost.checkpoints.others._kind import OtherKind, Start, json_end
from milepost.errors import CheckpointError

_LOOK = 4 << 20
_MOST = 20
_TFJS = re.compile(rb"\"(?:modelTopology|weightsManifest)\"\s*:|\"format\"\s*:\s*\"(?:layers|graph)-model\"")
_TFJS_SHARD = re.compile(r"(?:group\d+-shard\d+of\d+)(?:\.bin)?|.+\.weights\.bin")
_OPENVINO = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<net\s[^>]*(?:version|name)=")
_NCNN = b"7767517\n"

TFJS = "a TensorFlow.js model"
OPENVINO = "an OpenVINO model"


def raw_of(start: Start) -> tuple[str, str] | None:
    """Return, for raw numbers, which file stands for them, and what that is; None where no file beside says so."""
    name = os.path.basename(start.path)
    stem = name.rpartition(".")[0]
    if _TFJS_SHARD.fullmatch(name):
        for other in ("model.json", f"{stem.removesuffix('.weights')}.json"):
            if _TFJS.search(_beginning(start, other)):
                return other, TFJS
    if start.is_called(".bin"):
        if _OPENVINO.match(_beginning(start, f"{stem}.xml")):
            return f"{stem}.xml", OPENVINO
        if _beginning(start, f"{stem}.param").startswith(_NCNN):
            return f"{stem}.param", "an ncnn model"
    if start.is_called(".bin", ".data", ".weight", ".pb.data"):
        needle = name.encode()
        found = next((other for other in _onnx_beside(start) if needle in _beginning(start, other, _LOOK)), None)
        return None if found is None else (found, "an ONNX model with external data")
    return None


def _onnx_beside(start: Start) -> Iterator[str]:
    try:
        names = sorted(os.listdir(os.path.dirname(start.path) or os.curdir))
    except OSError:
        return
    yield from [name for name in names if name.lower().endswith(".onnx")][:_MOST]


def _beginning(start: Start, name: str, length: int = 4096) -> bytes:
    try:
        with opened(start.beside(name)) as file:
            return file.at(0, min(length, file.size), "its beginning")
    except CheckpointError:
        return b""


KINDS = (
    OtherKind(
        TFJS,
        "it is a program: evaluate the checkpoint that it was converted from",
        lambda s: s.is_called(".json") and _TFJS.search(s.head),
        json_end,
    ),
    OtherKind(
        OPENVINO,
        "it is a program: evaluate the checkpoint that it was converted from",
        lambda s: _OPENVINO.match(s.head),
    ),
    OtherKind(
        "an ncnn model",
        "it is a program: evaluate the checkpoint that it was converted from",
        lambda s: s.head.startswith(_NCNN),
    ),
)
