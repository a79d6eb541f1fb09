"""The training step that a file's name tells."""

import re

_SURE = re.compile(
    r"(?:^|[^a-z])(?:global[-_]?step|step|iter(?:ation)?)[-_=]?(?P<step>\d{1,18})(?![0-9])", re.IGNORECASE
)
_WORD = re.compile(
    r"(?:^|[^a-z])(?:checkpoint|ckpt|model|weights)[-_=](?P<step>\d{1,18})(?=$|\.(?:[a-z]|$)|-v\d+(?:\.|$))",
    re.IGNORECASE,
)

_EPOCH = re.compile(r"(?:^|[^a-z])epochs?[-_=]?(?P<epoch>\d{1,18})(?![0-9])", re.IGNORECASE)

_FOLDER = re.compile(r"^(?:global[-_]?step|step|iter(?:ation)?|checkpoint)[-_=]?(?P<step>\d{1,18})$", re.IGNORECASE)


def step_of_name(name: str) -> int | None:
    """Return the step in the name of a file or folder, None where it tells none.

    A number counts only after a word for it (`step`, `iter`, `checkpoint`, `ckpt`, `model`, `weights`); bare digits do
    not, and neither does an epoch.  Where several words stand, `step` and `iter` outweigh the others, and the last
    counts.  Of a path whose last part tells nothing, the folder `checkpoint-900` or `step_900` around it counts.

    >>> step_of_name("epoch=3-step=900-v1.ckpt"), step_of_name("checkpoint-0900"), step_of_name("model.ckpt-12")
    (900, 900, 12)
    >>> step_of_name("mnist_lenet5.pt"), step_of_name("epoch_12.pt"), step_of_name("checkpoint-7/model.safetensors")
    (None, None, 7)
    """
    folder, _, base = name.replace("\\", "/").rstrip("/").rpartition("/")
    found = _SURE.findall(base) or _WORD.findall(base)
    if not found:
        found = _FOLDER.findall(folder.rpartition("/")[2])
    return int(found[-1]) if found else None


def epoch_of_name(name: str) -> int | None:
    """Return the epoch in the name of a file, None where it tells none: no step, but an order within one run.

    >>> epoch_of_name("runs/epoch_07.pt"), epoch_of_name("weights.epoch=3-loss=0.2.h5"), epoch_of_name("last.pt")
    (7, 3, None)
    """
    found = _EPOCH.findall(name.replace("\\", "/").rpartition("/")[2])
    return int(found[-1]) if found else None
