"""Forty bad files: damaged, foreign, hostile, and good ones of another model; each with its class and message."""

import io
import json
import os
import pickle
import posix
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safe
from tests.sixty.good import Trap
from tests.sixty.pieces import (
    Part,
    archive,
    arrays_of,
    flipped,
    npy,
    npy_header,
    npz,
    parts_of,
    repacked,
    saved,
    weights_of,
    write,
)


@dataclass(frozen=True)
class Bad:
    """A file by its name, the class of its failure, and pieces of the message, in order."""

    file: str
    kind: str
    says: tuple[str, ...]
    make: Callable[[Path], Any]


class Shell:
    """Pickles as a call of a shell that would make the marker."""

    def __init__(self, marker: Path, function: Any = posix.system) -> None:
        """Keep what would be called."""
        self.function = function
        self.marker = marker

    def __reduce__(self) -> Any:
        """Ask for the call."""
        return self.function, (_touch(self.marker, self.function),)


def _touch(marker: Path, function: Any = posix.system) -> str:
    return f"open({str(marker)!r}, 'w')" if function is eval else f"touch {marker}"


def _changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**weights_of(0), **changes}


# ------------------------------------------------------------------------------------------------------------- damaged


def _zeroed(_: Path) -> bytes:
    made = saved(weights_of(0))
    begin = made.index(weights_of(0)["fc2.weight"].numpy().tobytes())
    return made[:begin] + bytes(4096) + made[begin + 4096 :]


def _flipped_in(made: bytes, data: bytes) -> bytes:
    return flipped(made, made.index(data) + len(data) // 2)


def _flipped_deflated(_: Path) -> bytes:
    made = npz(arrays_of(0), packed=True)
    return flipped(made, made.index(b"fc2.weight.npy") + 5000)


def _pipe(_: Path) -> Callable[[Path], None]:
    return os.mkfifo


def _locked(_: Path) -> Callable[[Path], None]:
    return lambda path: write(path, saved(weights_of(0))).chmod(0)


def _dangling(_: Path) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(path.parent / "epoch=3-step=900.ckpt")


# ------------------------------------------------------------------------------------------------------------- headers


def _safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _entry(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def _overlapping(_: Path) -> bytes:
    return _safetensors(json.dumps({"a": _entry([4], 0, 16), "b": _entry([4], 8, 24)}).encode(), bytes(24))


def _negative(_: Path) -> bytes:
    return _safetensors(json.dumps({"a": _entry([4], -16, 0)}).encode(), bytes(16))


def _overflowing(_: Path) -> bytes:
    # 2**63 * 2 items of four bytes: 0 in 64-bit arithmetic.
    return _safetensors(json.dumps({"a": _entry([1 << 61, 8], 0, 0)}).encode())


def _twice(_: Path) -> bytes:
    entry = json.dumps(_entry([4], 0, 16))
    return _safetensors(f'{{"a": {entry}, "a": {entry}}}'.encode(), bytes(16))


def _petabyte(_: Path) -> bytes:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (250000000000000,), }"
    return archive([Part("fc1.weight.npy", npy_header(header, bytes(64)))])


def _code(marker: Path) -> bytes:
    call = f"__import__('os').system('touch {marker}')"
    return archive([Part("w.npy", npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({call},), }}"))])


def _bomb(_: Path) -> bytes:
    """Declare 1.2 GB and hold it: zeros, deflated once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    head = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1258291200,), }".ljust(117))
    start = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = start.compress(head) + start.flush(zlib.Z_FULL_FLUSH) + 1200 * block + b"\x03\x00"
    return archive([Part("w.npy", packed, len(head) + (1200 << 20), 0, 8)])


def _traversing(_: Path) -> bytes:
    return archive([Part(f"../../{name}.npy", npy(array)) for name, array in arrays_of(0).items()])


def _encrypted(_: Path) -> bytes:
    return archive([Part(f"{name}.npy", npy(array), flags=1) for name, array in arrays_of(0).items()])


# ------------------------------------------------------------------------------------------------------------- pickles


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _tensor(shape: tuple[int, ...], strides: tuple[int, ...], identifier: bytes = b"") -> bytes:
    """Return a pickle of {"fc1.weight": tensor} on the storage "0" of 2048 floats, as torch would not write it."""
    numbers = [
        b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", item) for item in many) + b"t" for many in (shape, strides)
    ]
    named = _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"M\x00\x08"
    storage = b"(" + (identifier or named) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + b"".join(numbers) + b"\x89NtR"
    return b"\x80\x02}" + _text("fc1.weight") + call + b"s."


def _pickled(content: bytes) -> bytes:
    return repacked(saved({"fc1.weight": torch.zeros(2048)}), {"data.pkl": content})


def _old_instance(marker: Path) -> bytes:
    """Write torch's non-zip layout with an object of protocol 0: INST names a function and its arguments."""
    start = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b".\x80\x02M\xe9\x03.\x80\x02}."
    return start + b"(S'" + _touch(marker).encode() + b"'\niposix\nsystem\n.\x80\x02]."


def _short_storage(_: Path) -> bytes:
    made = saved(weights_of(0))
    name = next(name for name, data in parts_of(made).items() if len(data) == 8 * 256 * 4)
    return repacked(made, {name.partition("/")[2]: bytes(8 * 256 * 4 - 4)})


def _object_array(marker: Path) -> bytes:
    return npz({**arrays_of(0), "fc2.bias": np.array([Trap(marker)] * 10, dtype=object)})


# ------------------------------------------------------------------------------------------------------------- foreign


def _script(_: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; its files are around
            traced = torch.jit.trace(torch.nn.Linear(8, 10), torch.zeros(1, 8))  # type: ignore[no-untyped-call]
            torch.jit.save(traced, str(path))

    return make


def _exported(_: Path) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's own code warns of is not ours
        torch.export.save(torch.export.export(torch.nn.Linear(8, 10), (torch.zeros(1, 8),)), made)
    return made.getvalue()


def _page(_: Path) -> bytes:
    return b"\n<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>no such file</body></html>\n"


def _protobuf(_: Path) -> bytes:
    return b"\x08\x08\x12\x07pytorch\x1a\x032.9" + bytes(64)


# ------------------------------------------------------------------------------------------- good files of other models


def _other_architecture(_: Path) -> bytes:
    return saved({"conv1.weight": torch.ones(6, 1, 3, 3), "fc1.weights": torch.ones(256, 8), "fc.bias": torch.ones(10)})


def _two_candidates(_: Path) -> bytes:
    return saved({"model": weights_of(0), "state_dict": weights_of(1)})


def _diverged(_: Path) -> bytes:
    weights = weights_of(0)
    weights["fc2.weight"][3, 5:8] = float("nan")
    return safe(weights)


ZIP = saved(weights_of(0))
LEGACY = saved(weights_of(0), _use_new_zipfile_serialization=False)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"

BAD = [
    Bad("empty.pt", "torn", ("0 bytes: nothing was written yet",), lambda _: b""),
    Bad(
        "half.pt.pt",
        "torn",
        ("still being written, or was cut off", "without its directory", "copy it again"),
        lambda _: ZIP[: len(ZIP) // 2],
    ),
    Bad(
        "short.safetensors",
        "torn",
        ("still being written", "1 missing; the next run looks again"),
        lambda _: safe(weights_of(0))[:-1],
    ),
    Bad("short.npz", "torn", ("without its directory",), lambda _: npz(arrays_of(0))[:-1]),
    Bad("short.pth", "torn", ("1 missing, from tensor",), lambda _: LEGACY[:-1]),
    Bad(
        "flipped.pt",
        "corrupt",
        ("damaged", "(tensor 'fc1.weight')", "CRC-32", "another copy"),
        lambda _: _flipped_in(ZIP, arrays_of(0)["fc1.weight"].tobytes()),
    ),
    Bad(
        "flipped.npz",
        "corrupt",
        ("damaged", "fc1.weight", "CRC-32"),
        lambda _: _flipped_in(npz(arrays_of(0)), arrays_of(0)["fc1.weight"].tobytes()),
    ),
    Bad("flipped-deflated.npz", "corrupt", ("damaged", "fc2.weight"), _flipped_deflated),
    Bad("zeroed.ckpt", "corrupt", ("damaged", "(tensor 'fc2.weight')", "CRC-32"), _zeroed),
    Bad("crash.pt", "corrupt", ("all zero, as after a crash of the machine",), lambda _: bytes(9000)),
    Bad(
        "pointer.safetensors", "corrupt", ("Git LFS pointer (12,345 bytes expected)", "git lfs pull"), lambda _: POINTER
    ),
    Bad("locked.pt", "corrupt", ("may not be read: mode 0000", "chmod"), _locked),
    Bad("pipe.ckpt", "corrupt", ("a named pipe, not a file",), _pipe),
    Bad("last.ckpt", "vanished", ("a symbolic link to", "epoch=3-step=900.ckpt", "not there"), _dangling),
    Bad(
        "huge-header.safetensors",
        "corrupt",
        ("header declares 4,611,686,018,427,387,904 bytes",),
        lambda _: struct.pack("<Q", 1 << 62) + b"{}",
    ),
    Bad("deep.safetensors", "corrupt", ("not proper JSON",), lambda _: _safetensors(b'{"a":' + b"[" * 200_000)),
    Bad("twice.safetensors", "corrupt", ("a key stands twice",), _twice),
    Bad("overlap.safetensors", "corrupt", ("tensor 'b' begins at byte 8",), _overlapping),
    Bad("negative.safetensors", "corrupt", ("other items than integers from 0",), _negative),
    Bad("overflow.safetensors", "corrupt", ("needs 73,786,976,294,838,206,464 bytes",), _overflowing),
    Bad("petabyte.npz", "corrupt", ("needs 1,000,000,000,000,000 bytes, 64 are there",), _petabyte),
    Bad("bomb.npz", "corrupt", ("would unpack to 1,258,291,200: a bomb, not read",), _bomb),
    Bad("code.npz", "corrupt", ("header is not a Python literal",), _code),
    Bad("traversal.npz", "corrupt", ("'../../fc1.weight.npy'", "leaves the archive"), _traversing),
    Bad("storage.pt", "corrupt", ("8,192 bytes are declared, the archive holds 8,188",), _short_storage),
    Bad(
        "view.pt",
        "corrupt",
        ("reaches byte 16,384, the storage has 8,192",),
        lambda _: _pickled(_tensor((512, 8), (8, 1))),
    ),
    Bad(
        "persistent.pt",
        "corrupt",
        ("a persistent id that is no storage",),
        lambda _: _pickled(_tensor((8,), (1,), _text("x"))),
    ),
    Bad("objects.npz", "unsafe", ("'fc2.bias'", "holds Python objects (a pickle)", "save plain arrays"), _object_array),
    Bad(
        "needed.pt",
        "unsafe",
        ("fc1.weight", "posix.system"),
        lambda marker: saved(_changed({"fc1.weight": Shell(marker)})),
    ),
    Bad(
        "whole.pt",
        "unsafe",
        ("builtins.eval", "torch.save"),
        lambda marker: saved(Shell(marker, eval), pickle_protocol=4),
    ),
    Bad("instance.pth", "unsafe", ("posix.system",), _old_instance),
    Bad(
        "joblib.pkl",
        "unsafe",
        ("bare Python pickle", "torch.save"),
        lambda marker: pickle.dumps({"coef": Shell(marker)}),
    ),
    Bad("script.pt", "program", ("TorchScript program", "state_dict()"), _script),
    Bad("exported.pt2", "program", ("torch.export program", "state_dict"), _exported),
    Bad("encrypted.npz", "unsupported", ("is encrypted",), _encrypted),
    Bad("page.pt", "corrupt", ("an HTML page", "404 Not Found", "download"), _page),
    Bad(
        "other.pt",
        "mismatch",
        ("4 of 4 variables are missing", "fc1.weight (nearest: fc1.weights)"),
        _other_architecture,
    ),
    Bad(
        "transposed.npz",
        "mismatch",
        ("fc1.weight has shape [8, 256]", "transposed?"),
        lambda _: npz(arrays_of(0) | {"fc1.weight": arrays_of(0)["fc1.weight"].T}),
    ),
    Bad("two.pt", "mismatch", ("model", "state_dict"), _two_candidates),
    Bad("diverged.safetensors", "nonfinite weights", ("3 of 2560 values of fc2.weight",), _diverged),
]


def make(folder: Path, marker: Path) -> None:
    """Write the forty files."""
    for bad in BAD:
        made = bad.make(marker)
        if callable(made):
            made(folder / bad.file)
        else:
            write(folder / bad.file, made)
