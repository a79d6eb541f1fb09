"""What a file is that is named like a checkpoint and that no format claims, and what its user can do."""

import os
import re
from collections.abc import Sequence

from milepost._internal import npy
from milepost._internal import zip as zip_codec
from milepost._internal.bounded import AGAIN, CUT, HEADER_LIMIT
from milepost._internal.text import listed
from milepost.checkpoints._codecs.hdf5.window import MAGIC as HDF5
from milepost.checkpoints._codecs.sstable import MAGIC as SSTABLE
from milepost.checkpoints._files.lfs import pointer
from milepost.checkpoints.names import (
    HF_INDEXES,
    INDEX,
    ORBAX,
    SAFETENSORS,
    UNKNOWN,
    hf_index,
    is_candidate,
    keras_index,
    sibling_shards,
)
from milepost.checkpoints.others._kind import Start
from milepost.checkpoints.others.described import raw_of
from milepost.checkpoints.others.recognition import Diagnosis, recognise

_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}", re.DOTALL)
_OLD_PICKLE = re.compile(
    rb"c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\(i?[dl]p\d+\n|[\]}]q[\x00-\x10]|\((?:[dl]|c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n)|[IL]\d+L?\n\.|\(S'"
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]|" + _OLD_PICKLE.pattern)
_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_HEAD, _LENGTH = 4096, 8

_SAVE = "save the weights as .npz, safetensors or with torch.save"


def diagnose(path: str, head: bytes, tail: bytes, size: int) -> Diagnosis | None:
    """Return why a file is no checkpoint that is read; None for one that a search passes over (an ordinary tar file).

    `head` are its first 4096 bytes at most, `tail` its last 8.
    """
    index = hf_index(os.path.basename(path))
    if index:
        return _shard(path, index)
    begun = _begun(path, head, size)
    if begun:
        return "torn", f"{path}: {begun}{AGAIN}"
    if lfs := pointer(head):
        return "corrupt", f"{path}: not a checkpoint: {lfs}"
    beside = _tensorflow(path, head, tail)
    if beside is not None or path.endswith(INDEX):
        return beside
    if head[257:262] == b"ustar" or _is_old_torch(head):
        return _tar(path, head)
    start = Start(path, head, tail, size)
    known = (
        recognise(start) or _raw(start) or _by_first_bytes(path, head) or _text(path, head) or _long_header(path, head)
    )
    if known:
        return known
    what = f"named like a checkpoint, but no format knows its first bytes ({head[:12].hex(' ')}); {size:,} bytes in all"
    if not any(head):
        what = f"its first {len(head):,} bytes are all zero, as after a crash of the machine that wrote it"
    return "corrupt", f"{path}: {what}"


def folder_diagnosis(path: str, names: Sequence[str]) -> Diagnosis | None:
    """Return why a folder that is a checkpoint as a whole is not read; None for an ordinary folder.

    >>> folder_diagnosis("step-1", ["__0_0.distcp", ".metadata"])[0], folder_diagnosis("export", ["saved_model.pb"])[0]
    ('unsupported', 'program')
    """
    if any(name.endswith(".distcp") for name in names):
        if ".metadata" not in names:
            what = "a torch distributed checkpoint without .metadata, which is written last"
            return "torn", f"{path}: {CUT}: {what}{AGAIN}"
        return "unsupported", (
            f"{path}: a torch distributed checkpoint: not read yet; make one file of it with python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
        )
    if "saved_model.pb" in names:
        return "program", (
            f"{path}: a TensorFlow SavedModel without variables/variables.index: only a program is left of it, which "
            "is not read; save the variables (tf.train.Checkpoint, or tf.saved_model.save of what holds them)"
        )
    if not ORBAX.isdisjoint(names) or "manifest.ocdbt" in names:
        return "unsupported", f"{path}: an Orbax checkpoint: not read yet; {_SAVE}"
    if "checkpoint" in names and any(name.startswith(("target.", "state.")) for name in names):
        return "unsupported", f"{path}: a T5X checkpoint: not read yet; {_SAVE}"
    return None


def _one_of(path: str, index: str) -> Diagnosis:
    return "unsupported", f"{path}: one shard of several, for all of which {index} stands; by itself {UNKNOWN}"


def _shard(path: str, index: str) -> Diagnosis:
    """Name a shard of Hugging Face's; where their index is absent, the first that is there speaks for all."""
    folder, name = os.path.split(path)
    if os.path.lexists(os.path.join(folder, index)):
        return _one_of(path, index)
    try:
        listing = os.listdir(folder or os.curdir)
    except OSError:  # it may be read, but its folder may not be listed
        listing = [name]
    there, absent = sibling_shards(name, listing)
    if there[:1] not in ([], [name]):
        return _one_of(path, index)
    lacking = f"{listed(absent)}, and their index" if absent else "the index of all"
    return "torn", f"{path}: {CUT}: one of {len(there) + len(absent)} shards: {lacking} {index} is not there{AGAIN}"


def _raw(start: Start) -> Diagnosis | None:
    """Name raw numbers for which a file beside them stands."""
    found = raw_of(start)
    what = f"raw numbers of {found[1]}, for which {found[0]} stands" if found else ""
    return ("unsupported", f"{start.path}: {what}; by themselves {UNKNOWN}") if found else None


def _begun(path: str, head: bytes, size: int) -> str | None:
    """Return why a file may be one whose writer has just begun; None where it is too long for that."""
    if size == 0:
        return "0 bytes: nothing was written yet, or writing it failed"
    if zip_codec.MAGIC.startswith(head):
        return f"{CUT}: {size} bytes, with which a zip archive begins"
    if path.endswith(HF_INDEXES) and head.lstrip().startswith(b"{") and not head.rstrip().endswith(b"}"):
        return f"{CUT}: the index of the shards has no end"
    if path.endswith(SAFETENSORS) and size <= _LENGTH:
        return f"{CUT}: {size} bytes, and the length of its header alone takes {_LENGTH}"
    return None


def _tensorflow(path: str, head: bytes, tail: bytes) -> Diagnosis | None:
    """Name what belongs to a TensorFlow checkpoint and is none by itself."""
    shard = _SHARD.fullmatch(path)
    if shard:
        return "unsupported", f"{path}: a shard of the TensorFlow checkpoint {shard[1]}; name {shard[1]} instead"
    if path.endswith(".meta") and tail != SSTABLE:
        return "program", f"{path}: the graph beside a TensorFlow checkpoint; name {path.removesuffix('.meta')} instead"
    if head.startswith((b"model_checkpoint_path:", b"all_model_checkpoint_paths:")):
        what = "a TensorFlow state file, which only names checkpoints"
        return "unsupported", f"{path}: {what}; name the folder: all checkpoints in it are found"
    if tail == SSTABLE:
        return "corrupt", (
            f"{path}: it ends as TensorFlow's checkpoints (and LevelDB's databases) do, but it begins neither as a "
            "bundle's index called PREFIX.index nor as a Saver V1 checkpoint: renamed, or damaged"
        )
    return None


def _by_first_bytes(path: str, head: bytes) -> Diagnosis | None:
    if head.startswith(HDF5):  # only a shard whose index is there is left to no format
        return _one_of(path, str(keras_index(os.path.basename(path))))
    if head.startswith(npy.MAGIC):
        return "unsupported", f"{path}: a single NumPy array (.npy), without names: not read yet; {_SAVE}"
    if _PICKLE.match(head):
        return "unsafe", f"{path}: a bare Python pickle: reading it would run whatever code it names; {_SAVE}"
    if head.startswith((zip_codec.MAGIC, b"PK\x05\x06")):
        what = "a zip archive, but neither a torch file, nor Keras', nor an .npz"
        return "unsupported", f"{path}: {what}: unpack it, and name what is within"
    return None


def _text(path: str, head: bytes) -> Diagnosis | None:
    """Name what is text: web pages that a download saved in a checkpoint's place, error messages, notes."""
    try:
        text = head.decode("utf-8") if len(head) < _HEAD else head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return None
    if not all(sign.isprintable() or sign.isspace() for sign in text):
        return None
    if text.lstrip().lower().startswith(("<!doctype html", "<html")):
        title = _TITLE.search(text)
        titled = f", titled {' '.join(title[1].split())[:60]!r}" if title else ""
        what = f"an HTML page{titled}, not a checkpoint"
        return "corrupt", f"{path}: {what}: the download failed or asked to log in; download it again"
    begins = f"plain text, not a checkpoint: it begins with {' '.join(text.split())[:60]!r}"
    if is_candidate(os.path.basename(path)):
        return "corrupt", f"{path}: {begins}; its name is that of a checkpoint: fetch it again, or rename the text"
    return "unsupported", f"{path}: {begins}; name a checkpoint, or a folder of them"


def _long_header(path: str, head: bytes) -> Diagnosis | None:
    """Name a safetensors header that declares more than any may have, which no format claims."""
    length = int.from_bytes(head[:_LENGTH], "little")
    if len(head) <= _LENGTH or length <= HEADER_LIMIT or not (head[8:9] == b"{" or path.endswith(SAFETENSORS)):
        return None
    what = f"its header declares {length:,} bytes, at most {HEADER_LIMIT:,} are allowed"
    return "corrupt", f"{path}: if it is safetensors, {what}: damaged, or made to exhaust memory"


def _tar(path: str, head: bytes) -> Diagnosis | None:
    if _is_old_torch(head):
        return "unsupported", (
            f"{path}: torch's tar format (torch before 0.1.10, 2017): not read; torch.load reads it only with "
            "weights_only=False, which runs whatever code the file names: convert it that way only if you trust who "
            "wrote it, and torch.save its state_dict"
        )
    what = "a tar archive: unpack it, and name what is within"
    return "unsupported", f"{path}: {what}{f'; by itself {UNKNOWN}' if path.lower().endswith('.tar') else ''}"


def _is_old_torch(head: bytes) -> bool:
    """Tell a tar by its first members: each has a header block of 512 bytes, some one with more of its own before."""
    return any(head.startswith(_TAR_MEMBERS, place) for place in range(0, len(head), 512))
