"""What the name of a file says of a checkpoint: the step, the epoch, whether it is one at all.

This is the only list of the endings that checkpoints have.
"""

import os
import re
from collections.abc import Callable, Sequence

from milepost.checkpoints.folders import inside_run, own_folder

UNKNOWN = "not a checkpoint that any format knows"
"""How the message ends of a file that a search of its folder passes over."""
INDEX = ".index"
"""What TensorFlow puts behind a prefix, which is how its users write a checkpoint's address."""
SAFETENSORS = ".safetensors"
ORBAX = frozenset({"_CHECKPOINT_METADATA", "orbax.checkpoint"})
"""What lies in a folder of Orbax': its name may be the step alone."""
HF_INDEXES = (".safetensors.index.json", ".bin.index.json")
"""How the index ends that Hugging Face's libraries write beside weights in several files."""
ENDINGS = (
    *(
        ".pt",
        ".pth",
        ".ckpt",
        ".npz",
        SAFETENSORS,
        ".bin",
        ".pkl",
        ".pickle",
        ".pdparams",
        ".h5",
        ".hdf5",
        ".keras",
        ".th",
        ".tar",
    ),
    *(".pt2", INDEX, ".msgpack", ".onnx", ".gguf", ".tflite", *HF_INDEXES),
)
"""Endings of files that trainers write checkpoints to, those of formats that are not read included."""

_SURE = re.compile(
    r"(?:^|[^a-z])(?:global[-_]?step|step|iter(?:ation)?)[-_=]?(?P<step>\d{1,18})(?![0-9])", re.IGNORECASE
)
_WORD = re.compile(
    r"(?:^|[^a-z])(?:checkpoint|ckpt|model|weights)[-_=](?P<step>\d{1,18})(?=$|\.(?:[a-z]|$)|-v\d+(?:\.|$))",
    re.IGNORECASE,
)
_UPDATES = re.compile(r"(?:^ep\d+-ba|^checkpoint_\d+_)(?P<step>\d{1,18})(?![0-9])")
"""Batches as Composer names them (`ep3-ba400-rank0.pt`), updates as fairseq does (`checkpoint_3_5000.pt`)."""
_FOLDER = re.compile(r"(?:^|[^a-z])(?:checkpoint|ckpt)[-_=]?(?P<step>\d{1,18})(?![0-9])", re.IGNORECASE)
_EPOCH = re.compile(
    r"(?:^|[^a-z])epochs?[-_=]?(?P<epoch>\d{1,18})(?![0-9])"
    r"|^ep(\d{1,18})-ba\d|^checkpoint(\d{1,18})(?=[._]|$)|^checkpoint_(\d{1,18})_\d|^(\d{1,18})epoch(?=[._]|$)",
    re.IGNORECASE,
)
"""Then Composer's, that of DETR and DINO, fairseq's and ESPnet's."""
_ENDING = re.compile(
    rf"(?:{'|'.join(re.escape(ending) for ending in ENDINGS)}|\.weights|\.index\.json|\.weights\.json)$", re.IGNORECASE
)
_SAVER_SHARD = re.compile(r"(.+)-(?:\d{5}|\?{5})-of-(\d{5})", re.DOTALL)
_MOST_SHARDS = 1000
_UNNAMED = re.compile(r"\.(?:index|meta|data-\d{5}-of-\d{5})")
"""What TensorFlow calls the files of a checkpoint whose prefix is a folder: saver.save(session, "folder/")."""
_KERAS_SHARD = re.compile(r"(.+)_\d{5}\.weights\.h5", re.DOTALL)
_HF_SHARD = re.compile(r"(.+)-(\d{5,6})-of-(\d{5,6})(\.safetensors|\.bin)", re.DOTALL)
_MOST = 10_000  # shards of one checkpoint
_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d)")
"""Ray Train's `checkpoint_2025-05-01_12-00-00.123456` is of no step 2025."""
_NUMBERED = re.compile(r"\.ckpt-\d+$", re.IGNORECASE)
_COMPANIONS = re.compile(
    r"(?:optimizer|scheduler|scaler|sampler)(?:_\d+)?\.(?:pt|pth|bin)|\w+_optim_states\.pt|(?:distrib_)?optim\.pt|training_args\.bin"
    r"|(?:optim|extra_state)_world_size_\d+_rank_\d+\.pt"
    r"|(?:rng_state|random_states)[\w-]*\.(?:pth|pt|pkl)|\.?tokenizer\.(?:pkl|bin)"
    r"|.+\.pdopt|part-\d{5}-of-\d{5}\.index|.+\.tempstate\d+",  # what TensorFlow has in hand while it writes
    re.IGNORECASE,
)


def step_of_name(name: str) -> int | None:
    """Return the step in the name of a file or folder, None where it has none.

    A number counts only after a word for it (`step`, `iter`, `checkpoint`, `ckpt`, `model`, `weights`); bare digits do
    not, but for those of Orbax' folders, and neither does an epoch.  Of several the last counts.  `step` and `iter`
    come first, then the checkpoint's own folder around the file (`checkpoint-900`), then the other words.

    >>> step_of_name("epoch=3-step=900-v1.ckpt"), step_of_name("checkpoint-0900"), step_of_name("model.ckpt-12")
    (900, 900, 12)
    >>> step_of_name("mnist_lenet5.pt"), step_of_name("epoch_12.pt"), step_of_name("checkpoint-7/model.safetensors")
    (None, None, 7)
    """
    folder, _, base = name.replace("\\", "/").rstrip("/").rpartition("/")
    base = _DATE.sub("", base)
    found = _last(_SURE.findall(base) or _UPDATES.findall(base))
    found = _in_own_folder(folder, base, _step_of_folder) if found is None else found
    found = _last(_WORD.findall(base)) if found is None else found
    return _step_of_orbax(name) if found is None else found


def epoch_of_name(name: str) -> int | None:
    """Return the epoch in the name of a file, or of its checkpoint's own folder: no step, but an order within one run.

    >>> epoch_of_name("runs/epoch_07.pt"), epoch_of_name("weights.epoch=3-loss=0.2.h5"), epoch_of_name("last.pt")
    (7, 3, None)
    """
    folder, _, base = name.replace("\\", "/").rstrip("/").rpartition("/")
    found = _epoch_of(base)
    return _in_own_folder(folder, base, _epoch_of) if found is None else found


def _in_own_folder(folder: str, base: str, number_of: Callable[[str], int | None]) -> int | None:
    """Return a number in the name of a checkpoint's own folder, or of those between it and the file, the nearest."""
    own = own_folder(f"{folder}/{base}") if folder else None
    found = None
    while found is None and own is not None and f"{folder}/".startswith(f"{own}/"):
        folder, _, name = folder.rpartition("/")
        found = number_of(name)
    return found


def _step_of_folder(name: str) -> int | None:
    name = _DATE.sub("", name)
    return _last(_SURE.findall(name) or _UPDATES.findall(name) or _FOLDER.findall(name))


def _step_of_orbax(path: str) -> int | None:
    base = os.path.basename(path)
    is_number = base.isdecimal() and base.isascii()
    return int(base) if is_number and any(os.path.exists(os.path.join(path, mark)) for mark in ORBAX) else None


def _epoch_of(base: str) -> int | None:
    return _last(["".join(found) for found in _EPOCH.findall(base)])


def _last(found: list[str]) -> int | None:
    return int(found[-1]) if found else None


def is_candidate(name: str) -> bool:
    """Return whether a file's name is one that trainers give to checkpoints.

    >>> is_candidate("model.PTH"), is_candidate("model.ckpt-900"), is_candidate("log.txt"), is_candidate("optimizer.pt")
    (True, True, False, False)
    """
    return not is_companion(name) and (name.lower().endswith(ENDINGS) or bool(_NUMBERED.search(name)))


def is_companion(name: str) -> bool:
    """Return whether a file is a companion of a checkpoint that an evaluation never needs (`optimizer.pt`)."""
    return bool(_COMPANIONS.fullmatch(name))


def short_name(path: str) -> str:
    """Return a file's short name: without its endings; its folder's, where the file has no other name.

    >>> short_name("/runs/a/step-900.pt"), short_name("model.ckpt-40.index"), short_name("model_best.pth.tar")
    ('step-900', 'model.ckpt-40', 'model_best')
    >>> short_name("runs/export/.index")
    'export'
    """
    name = os.path.basename(path)
    while (shorter := _ENDING.sub("", name)) != name:
        name = shorter
    return name or os.path.basename(os.path.dirname(path)) or os.path.basename(path)


def checkpoint_name(path: str, others: int = 0) -> str:
    """Return a checkpoint's name: its own folder's where it has one, else its file's without the endings.

    Where there are `others` in its own folder, or the file has a step of its own, its name is put behind the folder's.

    >>> path = "/runs/bert/checkpoint-500/model.safetensors"
    >>> checkpoint_name(path), checkpoint_name(path, others=1), checkpoint_name("/runs/bert/model_best.pth.tar")
    ('checkpoint-500', 'checkpoint-500/model', 'model_best')
    """
    folders, inside = inside_run(path)
    if not folders:
        return short_name(path)
    own = "/".join(map(short_name, folders.split("/")))
    step = _last(_SURE.findall(os.path.basename(inside)))
    several = others or step not in (None, _step_of_folder(own.rpartition("/")[2]))
    return f"{own}/{os.path.join(os.path.dirname(inside), short_name(inside))}" if several else own


def is_hidden(name: str) -> bool:
    """Return whether an entry of a folder is hidden; files of a TensorFlow checkpoint without a name are not.

    >>> is_hidden(".tmp-1.npz"), is_hidden(".index"), is_hidden(".data-00000-of-00001"), is_hidden("model.pt")
    (True, False, False, False)
    """
    return name.startswith(".") and not _UNNAMED.fullmatch(name)


def is_passed_over(name: str) -> bool:
    """Return whether a search passes an entry over by its name: hidden ones, and companions of checkpoints.

    >>> is_passed_over(".tmp-1.npz"), is_passed_over("optimizer.pt"), is_passed_over("model.pt")
    (True, True, False)
    """
    return is_hidden(name) or is_companion(name)


def saver_shards(path: str) -> list[str]:
    """Return the paths of all files of a sharded Saver V1 by that of any, or by the pattern that the Saver returns.

    [] where a path is called otherwise.

    >>> saver_shards("runs/m-?????-of-00002")
    ['runs/m-00000-of-00002', 'runs/m-00001-of-00002']
    >>> saver_shards("runs/m-00001-of-00002") == saver_shards("runs/m-?????-of-00002"), saver_shards("runs/m-7")
    (True, [])
    """
    match = _SAVER_SHARD.fullmatch(path)
    count = int(match[2]) if match else 0
    return (
        [f"{match[1]}-{number:05d}-of-{count:05d}" for number in range(count)]
        if match and count <= _MOST_SHARDS
        else []
    )


def keras_index(name: str) -> str | None:
    """Return the name of the index of Keras' sharded weights that a file of this name would be a shard of, or None.

    >>> keras_index("big_00003.weights.h5"), keras_index("big.weights.h5"), keras_index("big.weights.json")
    ('big.weights.json', None, None)
    """
    found = _KERAS_SHARD.fullmatch(name)
    return f"{found[1]}.weights.json" if found else None


def hf_index(name: str) -> str | None:
    """Return the name of the index of Hugging Face's sharded weights that a file of this name is a shard of, or None.

    The only file of one is no shard: it is whole by itself.

    >>> hf_index("model-00001-of-00002.safetensors"), hf_index("pytorch_model-00002-of-00002.bin")
    ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
    >>> hf_index("model-00001-of-00001.safetensors"), hf_index("model.safetensors")
    (None, None)
    """
    found = _HF_SHARD.fullmatch(name)
    return f"{found[1]}{found[4]}.index.json" if found and int(found[3]) > 1 else None


def sibling_shards(name: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return, of all shards that belong together with the one called `name`, those among `names` and those not.

    >>> sibling_shards("m-00001-of-00002.bin", ["m-00001-of-00002.bin", "m-00001-of-00003.bin"])
    (['m-00001-of-00002.bin'], ['m-00002-of-00002.bin'])
    """
    found = _HF_SHARD.fullmatch(name)
    if found is None:
        return [name], []
    before, number, count, ending = found.groups()
    every = (f"{before}-{one:0{len(number)}}-of-{count}{ending}" for one in range(1, min(int(count), _MOST) + 1))
    there = set(names)
    split: tuple[list[str], list[str]] = [], []
    for one in every:
        split[one not in there].append(one)
    return split
