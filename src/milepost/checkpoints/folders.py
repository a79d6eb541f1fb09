"""The folders around a checkpoint, by their names: which is its own, which is its training run's.

A path alone decides, so that every verb finds the same run whatever was named and wherever it was started.
"""

import os
import re

_WORDS = r"(?:global[-_]?step|step|epoch|iter(?:ation)?|checkpoint|ckpt)"
_NUMBERED = re.compile(rf"(?<![a-z]){_WORDS}[-_=]?(?P<number>\d{{1,18}})(?!\d)", re.IGNORECASE)
_BY_FORMAT = re.compile(r"ep\d+-ba\d+.*|CKPT\+\d{4}-.+|.+:v\d+|m-[0-9a-f]{32}|.+\.(?:ckpt|pth?)")
"""Folders of one checkpoint as Composer, SpeechBrain, W&B, MLflow and Lightning's strategies name them."""
_AMOUNT = re.compile(
    r"(?<![a-z])(?:max|num|total|warm-?up|per|every|n)[-_]?(?:global[-_]?step|step|epoch|iter)"
    r"|(?<![a-z])(?:lr|bs|wd|batch(?:[-_]?size)?|dropout|hidden|dim|layers?)[-_=]?\d"
    r"|,\w+=",
    re.IGNORECASE,
)
"""What says that a number is a setting of the training, and the folder a run's: `lr0.1_bs32_epoch90`."""
_STAGE = re.compile(r"(?:step|iter(?:ation)?)[-_]?\d[-_][a-z][a-z_-]*", re.IGNORECASE)
_STATE = re.compile(r".+[-_](?:ema|raw|best|last|final|(?:un)?sharded|hf|merged|consolidated|fp32)", re.IGNORECASE)
"""`step1_pretraining` is a stage, `step0-unsharded` a checkpoint."""
_CHOSEN = r"(?:best|last|latest|newest|final)"
_THING = r"(?:checkpoint|ckpt|model|weights)"
_NAMED = re.compile(rf"{_THING}[-_]{_CHOSEN}|{_CHOSEN}[-_]{_THING}", re.IGNORECASE)
_ALIAS = re.compile(rf"{_CHOSEN}|{_NAMED.pattern}", re.IGNORECASE)
_GENERIC = re.compile(
    r"(?:(?:saved|model|trained)[-_]?)?(?:checkpoints?|ckpts?|chkpts?|weights?|models?|snapshots?)"
    r"|saves?|artifacts|files|exports?|(?:\w+[-_])?exporter",
    re.IGNORECASE,
)
_PART = re.compile(r"mp_rank_\d+(?:_\d+)?|huggingface|hf|data|default|state|params|variables", re.IGNORECASE)
_SAYS = re.compile(rf"(?<![a-z])(?:(?:{_WORDS}|{_THING})[-_=]?\d|{_CHOSEN}(?![a-z]))", re.IGNORECASE)
_MLFLOW = re.compile(r"(.*/[0-9a-f]{32})/artifacts/.*", re.DOTALL)
_UNFINISHED = re.compile(
    rf"(?:tmp|temp)[-_.]{_WORDS}[-_=]?\d.*|.+\.orbax-checkpoint-tmp.*"
    rf"|(?:.*[^a-z])?{_WORDS}[-_=]?\d+(?:-(?:un)?sharded)?[._-](?:tmp|temp|incomplete|partial)(?:[-_.]?\d+)*",
    re.IGNORECASE,
)


def own_folder(path: str) -> str | None:
    """Return the folder above that is the own one of the checkpoint at a path, None where its files lie among others.

    Its name holds a step or an epoch.  One called `best` or `last` is so too, where the file's own name says nothing.

    >>> own_folder("runs/bert/checkpoint-500/model.safetensors"), own_folder("runs/bert/best/model.safetensors")
    ('runs/bert/checkpoint-500', 'runs/bert/best')
    >>> own_folder("runs/bert/step_5.pt"), own_folder("runs/seed42/model.pt"), own_folder("lr0.1_epoch90/model.pt")
    (None, None, None)
    """
    folder, base = os.path.split(path)
    says = _SAYS.search(base) is not None
    if not says and _is_alias(folder):
        return folder
    parts = 0 if says else 1  # one folder of a checkpoint's may be called anything: checkpoint-500/unet/model.pt
    while name := os.path.basename(folder):
        if _is_own(name):
            return _outermost(folder)
        if not _is_between(name):
            parts -= 1
        if parts < 0:
            return None
        folder = os.path.dirname(folder)
    return None


def run_folder(path: str) -> str:
    """Return the folder of the training run that a checkpoint is of: the nearest one that is more than a checkpoint's.

    Neither a checkpoint's own folder nor a generic one (`checkpoints`, `weights`) is a run; links count as what they
    point to.  Where all folders above are such, the outermost is taken.

    >>> run_folder("/runs/bert/checkpoint-500/model.safetensors"), run_folder("/runs/exp1/checkpoints/epoch=3.ckpt")
    ('/runs/bert', '/runs/exp1')
    >>> run_folder("/multirun/2024-05-01/0/model.pt"), run_folder("/checkpoints/step_5.pt")
    ('/multirun/2024-05-01/0', '/checkpoints')
    """
    by_path = _run_folder(path)
    if not os.path.islink(by_path):
        return by_path
    return _run_folder(os.path.join(os.path.realpath(by_path), os.path.basename(path)))


def is_unfinished(name: str) -> bool:
    """Return whether a folder is, by its name, one that a trainer is writing and renames once it is whole.

    >>> is_unfinished("tmp-checkpoint-500"), is_unfinished("1000.orbax-checkpoint-tmp-17"), is_unfinished("exp_tmp")
    (True, True, False)
    """
    return _UNFINISHED.fullmatch(name) is not None


def inside_run(path: str) -> tuple[str, str]:
    """Return what a checkpoint's own folder is called within its run, and the file's path within that folder.

    Generic folders are left out; the first is "" where it has no folder of its own.

    >>> inside_run("/runs/bert/checkpoints/epoch_3/weights/model.pt"), inside_run("/runs/bert/epoch_3.pt")
    (('epoch_3', 'model.pt'), ('', 'epoch_3.pt'))
    """
    folder, base = os.path.split(path)
    own = own_folder(path)
    if own is None:
        return "", base
    between = [name for name in os.path.relpath(folder, own).split(os.sep) if name != "." and not _is_generic(name)]
    above, names = os.path.dirname(own), [os.path.basename(own)]
    while _is_own(name := os.path.basename(above)):
        names.insert(0, name)
        above = os.path.dirname(above)
    return "/".join(names), "/".join([*between, base])


def _run_folder(path: str) -> str:
    if found := _MLFLOW.fullmatch(path):
        return found[1]
    folder = os.path.dirname(own_folder(path) or path)
    outermost = os.path.dirname(path)
    while name := os.path.basename(folder):
        if not _is_own(name) and not _is_generic(name):
            return folder
        outermost, folder = folder, os.path.dirname(folder)
    return outermost


def _is_own(name: str) -> bool:
    if _BY_FORMAT.fullmatch(name) or _NAMED.fullmatch(name):
        return True
    if not _NUMBERED.search(name) or _AMOUNT.search(name):
        return False
    return not _STAGE.fullmatch(name) or _STATE.fullmatch(name) is not None


def _is_alias(folder: str) -> bool:
    """Tell a folder called `best`, unless it is a link to what has another kind of name: `latest -> 2024-05-01`."""
    if not _ALIAS.fullmatch(os.path.basename(folder)):
        return False
    target = os.path.basename(os.path.realpath(folder)) if os.path.islink(folder) else "last"
    return _is_own(target) or _ALIAS.fullmatch(target) is not None


def _is_generic(name: str) -> bool:
    return _GENERIC.fullmatch(name) is not None


def _is_between(name: str) -> bool:
    return _is_generic(name) or _PART.fullmatch(name) is not None


def _outermost(folder: str) -> str:
    """Return the folder of a whole checkpoint, in which one of the same step lies: checkpoint-500/global_step500."""
    above = os.path.dirname(folder)
    while _is_own(os.path.basename(above)) and _numbers(above) & _numbers(folder):
        folder, above = above, os.path.dirname(above)
    return folder


def _numbers(folder: str) -> set[int]:
    return {int(found) for found in _NUMBERED.findall(os.path.basename(folder))}
