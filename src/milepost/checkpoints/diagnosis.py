"""Files that are named like a checkpoint but that no format claims: what they are, said so that the user can act."""

import os
import re
from collections.abc import Sequence

from milepost.checkpoints._codecs import zip as zip_codec
from milepost.checkpoints._files.bounded import AGAIN, CUT, HEADER_LIMIT
from milepost.checkpoints.formats._keras.shards import index_of

_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}", re.DOTALL)
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_OLD_PICKLE = re.compile(
    rb"c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\(i?[dl]p\d+\n|[\]}]q[\x00-\x10]|\((?:[dl]|c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n)|[IL]\d+L?\n\.|\(S'"
)
_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_MINDSPORE = re.compile(rb"\n[\x80-\xff]{0,9}[\x00-\x7f]\n[\x01-\x7f][\w./-]+\x12")
_WAY_OUT = "not read yet; save the weights as .npz, safetensors or with torch.save"
_HEAD, _LENGTH = 4096, 8
_LFS_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)

UNKNOWN = "not a checkpoint that any format knows"
"""How the message ends of a file that a search of its folder passes over."""

Verdict = tuple[str, str]
"""A failure: its kind and its message."""


def verdict(path: str, head: bytes, tail: bytes, size: int) -> Verdict | None:
    """Say why a file is no checkpoint that we read; None where it is none of our business (an ordinary tar file).

    `head` are its first 4096 bytes at most, `tail` its last 8.
    """
    begun = _begun(path, head, size)
    if begun:
        return "torn", f"{path}: {begun}{AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        found = _LFS_SIZE.search(head)
        expected = f" ({int(found[1]):,} bytes expected)" if found else ""
        return "corrupt", f"{path}: not a checkpoint: a Git LFS pointer{expected}; run git lfs pull"
    beside = _tensorflow(path, head, tail)
    if beside is not None or path.endswith(".index"):
        return beside
    if head[257:262] == b"ustar" or _old_torch(head):
        return _tar(path, head)
    for known in (_shard, _other_formats, _pickled, _zipped, _packed, _text, _long_header):
        found_out = known(path, head)
        if found_out:
            return found_out
    shown = head[:12].hex(" ")
    if not any(head):
        return (
            "corrupt",
            f"{path}: its first {len(head):,} bytes are all zero, as after a crash of the machine that wrote it",
        )
    return (
        "corrupt",
        f"{path}: named like a checkpoint, but no format knows its first bytes ({shown}); {size:,} bytes in all",
    )


def _tensorflow(path: str, head: bytes, tail: bytes) -> Verdict | None:
    """Name what belongs to a TensorFlow checkpoint and is none by itself."""
    shard = _SHARD.fullmatch(path)
    if shard:
        return "corrupt", f"{path}: a part of the TensorFlow checkpoint {shard[1]}, not one by itself; name {shard[1]}"
    if path.endswith(".meta") and tail != _TABLE_MAGIC:
        return "program", f"{path}: the graph beside a TensorFlow checkpoint; name {path.removesuffix('.meta')} instead"
    if head.startswith((b"model_checkpoint_path:", b"all_model_checkpoint_paths:")):
        return "corrupt", (
            f"{path}: a TensorFlow state file, which only names checkpoints; name the folder, and all that lie in it "
            "are found"
        )
    if tail == _TABLE_MAGIC:
        return "corrupt", (
            f"{path}: it ends as TensorFlow's checkpoints (and LevelDB's databases) do, but its beginning is neither a "
            "bundle's index called PREFIX.index nor a Saver V1 checkpoint: renamed, or damaged"
        )
    return None


def _begun(path: str, head: bytes, size: int) -> str | None:
    """Say that a file is too short to be told from one whose writer has just begun, where it is."""
    if size == 0:
        return "0 bytes: nothing was written yet, or writing it failed"
    if zip_codec.MAGIC.startswith(head):
        return f"{CUT}: {size} bytes, with which a zip archive begins"
    if path.endswith(".safetensors") and size <= _LENGTH:
        return f"{CUT}: {size} bytes, and the length of its header alone takes {_LENGTH}"
    return None


def folder_verdict(path: str, names: Sequence[str]) -> Verdict | None:
    """Say why a folder that is a checkpoint as a whole is none that we read; None for an ordinary folder.

    >>> folder_verdict("step-100", ["__0_0.distcp", ".metadata"])[0], folder_verdict("export", ["saved_model.pb"])[0]
    ('unsupported', 'program')
    """
    if any(name.endswith(".distcp") for name in names):
        if ".metadata" not in names:
            return (
                "torn",
                f"{path}: {CUT}: a torch distributed checkpoint without .metadata, which is written last{AGAIN}",
            )
        return "unsupported", (
            f"{path}: a torch distributed checkpoint: not read yet; make one file of it with python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
        )
    if "saved_model.pb" in names:
        return "program", (
            f"{path}: a TensorFlow SavedModel without variables/variables.index: all that is left of it is a program, "
            "which is not read; save the variables (tf.train.Checkpoint, or tf.saved_model.save of what holds them)"
        )
    if "_CHECKPOINT_METADATA" in names or "manifest.ocdbt" in names:
        return "unsupported", f"{path}: an Orbax checkpoint: {_WAY_OUT}"
    return None


def _shard(path: str, head: bytes) -> Verdict | None:
    """Name a shard, which is no checkpoint by itself: only those whose index is there are left to nobody."""
    if not head.startswith(b"\x89HDF\r\n\x1a\n"):
        return None
    index = index_of(os.path.basename(path))
    return "corrupt", f"{path}: one shard of several, for all of which {index} stands; by itself {UNKNOWN}"


def _other_formats(path: str, head: bytes) -> Verdict | None:
    kinds = (
        (head[4:8] == b"TFL3", "a TensorFlow Lite model"),
        (head.startswith(b"GGUF"), "a GGUF file"),
        (path.endswith(".ckpt") and _MINDSPORE.match(head), "a MindSpore checkpoint"),
        (path.endswith(".onnx") and head[:1] == b"\x08", "an ONNX model"),
        (head.startswith(b"\x93NUMPY"), "a single NumPy array (.npy), without names"),
    )
    return next((("unsupported", f"{path}: {what}: {_WAY_OUT}") for true, what in kinds if true), None)


def _long_header(path: str, head: bytes) -> Verdict | None:
    """Name a safetensors header that declares more than any may have, which no format claims."""
    length = int.from_bytes(head[:8], "little")
    if len(head) <= _LENGTH or length <= HEADER_LIMIT or not (head[8:9] == b"{" or path.endswith(".safetensors")):
        return None
    return "corrupt", (
        f"{path}: if it is safetensors, its header declares {length:,} bytes, at most {HEADER_LIMIT:,} are allowed: "
        "damaged, or made to exhaust memory"
    )


def _packed(path: str, head: bytes) -> Verdict | None:
    kinds = (
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf", "7-zip"),
    )
    found = next((name for magic, name in kinds if head.startswith(magic)), None)
    return ("unsupported", f"{path}: compressed as a whole with {found}: unpack it first") if found else None


def _text(path: str, head: bytes) -> Verdict | None:
    """Name what is text: web pages that a download saved in a checkpoint's place, error messages, notes."""
    try:
        shown = head.decode("utf-8") if len(head) < _HEAD else head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return None
    if not all(sign.isprintable() or sign.isspace() for sign in shown):
        return None
    line = " ".join(shown.split())[:60]
    if shown.lstrip().lower().startswith(("<!doctype html", "<html")):
        title = _TITLE.search(shown)
        said = f", titled {' '.join(title[1].split())[:60]!r}" if title else ""
        return (
            "corrupt",
            f"{path}: an HTML page{said}, not a checkpoint: the download failed or asked to log in; download it anew",
        )
    return "corrupt", f"{path}: plain text, not a checkpoint: it begins with {line!r}"


def _pickled(path: str, head: bytes) -> Verdict | None:
    modern = len(head) > 1 and head[0] == 0x80 and head[1] in (2, 3, 4, 5)  # noqa: PLR2004 - pickle protocols
    if not modern and not _OLD_PICKLE.match(head):
        return None
    return "unsafe", (
        f"{path}: a bare Python pickle: reading it would run whatever code it names; save the weights as .npz, "
        "safetensors or with torch.save"
    )


def _zipped(path: str, head: bytes) -> Verdict | None:
    if head[:2] != b"PK" or len(head) < 4 or head[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):  # noqa: PLR2004 - the magic
        return None
    return "corrupt", f"{path}: a zip archive, but neither a torch file, nor Keras', nor an .npz"


def _tar(path: str, head: bytes) -> Verdict | None:
    if _old_torch(head):
        return "unsupported", (
            f"{path}: torch's tar format (torch before 0.1.10, 2017): not read; torch.load reads it only with "
            "weights_only=False, which runs whatever code the file names: convert it that way only if you trust who "
            "wrote it, and torch.save its state_dict"
        )
    return None if path.lower().endswith(".tar") else ("corrupt", f"{path}: a tar archive, not a checkpoint")


def _old_torch(head: bytes) -> bool:
    """Tell a tar by its first members: each has a header block of 512 bytes, some one with more of its own before."""
    return any(head.startswith(_TAR_MEMBERS, place) for place in range(0, len(head), 512))
