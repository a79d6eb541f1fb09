"""What torch.save wrote that holds no weights: metrics, settings, states of random numbers, of an optimizer alone.

Trainers lay such files beside checkpoints: a search passes them over, and who names one learns what it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from milepost._internal.budget import glancing
from milepost._internal.text import listed
from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints._files.layout import is_readable
from milepost.checkpoints.names import UNKNOWN
from milepost.core.types import CheckpointFiles, Tensor
from milepost.errors import CheckpointError, Unsupported

SMALL = 64 << 10
"""Bytes of a file that is looked into while a folder is searched: more could take a hostile pickle seconds."""

_KEYS = 5


def refused_if_without(files: CheckpointFiles, held: Callable[[], tuple[Any, Sequence[Tensor]]]) -> CheckpointFiles:
    """Return a file's claim, "failed" where it holds no weights; `held` reads its object and its tensors.

    A file that cannot be read stays claimed: reading it again says why.
    """
    try:
        with glancing(files.path, files.identity.size):
            value, tensors = held()
    except CheckpointError:
        return files
    if any(_is_weight(item) for item in tensors) or _is_call(value):
        return files
    return refused(files, described(value, tensors))


def refused(files: CheckpointFiles, what: str) -> CheckpointFiles:
    """Return the claim of a file that holds no weights, only what is given in words."""
    why = f"{files.path}: holds no weights, only {what}: name the file that holds them; by itself {UNKNOWN}"
    return replace(files, state="failed", failure=(Unsupported.kind, why))


def described(value: Any, tensors: Sequence[Tensor]) -> str:
    """Return in words what an object holds that is no weights.

    >>> described({"epoch": 3, "lr": 0.1}, []), described(Placeholder("argparse.Namespace"), []), described([1, 2], [])
    ("a dictionary of 'epoch', 'lr'", 'an object of class argparse.Namespace', 'a list of 2 items')
    """
    if isinstance(value, Mapping):
        keys = [repr(str(key)[:40]) if isinstance(key, str | int | float) else type(key).__name__ for key in value]
        text = f"a dictionary of {listed(keys, _KEYS)}" if keys else "an empty dictionary"
    elif isinstance(value, Placeholder):
        text = f"an object of class {value.address[:80]}"
    elif isinstance(value, list | tuple):
        text = f"a {type(value).__name__} of {len(value):,} items"
    else:
        text = f"a value of type {type(value).__name__}"
    roles = dict.fromkeys("random states" if item.role == "weights" else item.role for item in tensors)
    return f"{text} ({', '.join(roles)})" if roles else text


def _is_weight(tensor: Tensor) -> bool:
    """Return whether a tensor may be a weight: what torch keeps of a random generator is one row of bytes."""
    state = tensor.dtype == "uint8" and len(tensor.shape) == 1 and is_readable(tensor.where)
    return tensor.role == "weights" and not state


def _is_call(value: Any) -> bool:
    """Return whether the whole file is a call of something that it names: then reading it says that it is unsafe."""
    return isinstance(value, Placeholder) and bool(value.arguments)
