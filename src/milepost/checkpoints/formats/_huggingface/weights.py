"""One file of weights in a folder of Hugging Face's: safetensors, or what torch.save wrote."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from milepost._internal.bounded import opened
from milepost.checkpoints._files.lfs import pointer
from milepost.checkpoints.formats.safetensors import Safetensors
from milepost.checkpoints.formats.torch_legacy import TorchLegacy
from milepost.checkpoints.formats.torch_zip import TorchZip
from milepost.core.protocols import Format
from milepost.core.types import CheckpointFiles, Table
from milepost.errors import CheckpointError, Corrupt, Torn, Vanished

_FORMATS: tuple[Format, ...] = (Safetensors(), TorchZip(), TorchLegacy())
_HEAD, _TAIL = 4096, 8


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    head: bytes
    tail: bytes
    is_dir: bool = False


def state_of(paths: Iterable[str]) -> Literal["complete", "writing"]:
    """Return "writing" where one of the files of weights is absent or not whole."""
    return "complete" if all(map(is_whole, paths)) else "writing"


def is_whole(path: str) -> bool:
    """Return whether a file of weights is there as a whole; where it is damaged, `read_weights` says so."""
    try:
        return _claimed(path)[1].state == "complete"
    except CheckpointError as error:
        return not isinstance(error, Torn | Vanished)


def read_weights(path: str) -> Table:
    """Return the table of a file of weights.

    Raises as the formats' own `read`, and `Corrupt` for a file that is neither safetensors nor torch's.
    """
    form, files = _claimed(path)
    return form.read(files)


def _claimed(path: str) -> tuple[Format, CheckpointFiles]:
    with opened(path) as file:
        tail = min(_TAIL, file.size)
        head = file.at(0, min(_HEAD, file.size), "its beginning")
        entry = _File(path, head, file.at(file.size - tail, tail, "its end"))
    if not head:
        raise Torn(f"{path}: 0 bytes: nothing was written yet, or writing it failed")
    for form in _FORMATS:
        for files in form.find([entry]):
            return form, files
    what = pointer(head) or f"neither safetensors nor a file of torch.save's: it begins with {head[:12].hex(' ')}"
    raise Corrupt(f"{path}: not weights: {what}")


def beside(path: str, name: str) -> str:
    """Return the path of another file in the folder of `path`."""
    return os.path.join(os.path.dirname(path), name)
