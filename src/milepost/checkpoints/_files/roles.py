"""What a tensor is for, and which number is the step, by the names that trainers use."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from milepost.checkpoints._files.layout import dtype_of, is_readable, total
from milepost.core.types import Role, Tensor

STEP_NAMES = ("global_step", "step", "iteration", "iter")
"""Names of the training step, the clearest first.  An epoch is no step."""

STEP_LIMIT = 2**63
_KEY_LIMIT = 200

_OPTIMIZER = re.compile(r"(?:\w*_)?(?:optimizers?|optims?)(?:[A-Z0-9]\w*|_\w*)?|opts?(?:_(?:states?|dict|state_dict))?")
_BOOKKEEPING = re.compile(
    r"(?:lr_?)?sched(?:uler)?s?(?:_?(?:states?|dict|state_dict|state_dicts))?"
    r"|(?:\w+_)?rng(?:_states?)?|random_states?|loops|callbacks|hyper_parameters|datamodule\w*|train_?loader\w*"
    r"|(?:grad_|amp_)?scalers?(?:_?(?:states?|dict|state_dict))?|amp|native_amp_scaling_state"
    r"|global_step|step|steps|num_steps|iteration|iterations|iter|iters|iter_num|epoch|epochs|num_epochs",
)


def role_of(group: str, name: str) -> Role:
    """Return a tensor's role by its wrapper and its name.

    >>> role_of("optimizer_state_dict/state/0", "exp_avg"), role_of("", "opt/mu/dense"), role_of("", "global_step")
    ('optimizer', 'optimizer', 'bookkeeping')
    >>> role_of("model_state_dict", "step.weight")
    'weights'
    """
    if not group:
        head, slash, _ = name.partition("/")
        if (slash and _is_like(_OPTIMIZER, head)) or name.startswith(("optimizer.", "optimizer_state.")):
            return "optimizer"
        return "bookkeeping" if _is_like(_BOOKKEEPING, head) else "weights"
    return _role_of_group(group)


@lru_cache(maxsize=1024)
def _role_of_group(group: str) -> Role:
    keys = group.split("/")
    if any(_is_like(_OPTIMIZER, key) for key in keys):
        return "optimizer"
    return "bookkeeping" if any(_is_like(_BOOKKEEPING, key) for key in keys) else "weights"


def _is_like(pattern: re.Pattern[str], key: str) -> bool:
    return len(key) <= _KEY_LIMIT and bool(pattern.fullmatch(key))  # trainers' keys are short, and time is not


def step_of(
    numbers: Mapping[object, object], tensors: Sequence[Tensor], inside: str = ""
) -> tuple[int | None, str | None]:
    """Return the step among a file's own `numbers`, and where it stands, as `inside` begins it.

    None twice where there is none, or where a tensor has a clearer name: the reader takes the step from there.
    """
    held = _single_integers(tensors)
    for name in STEP_NAMES:
        number = numbers.get(name)
        if type(number) is int and 0 <= number < STEP_LIMIT:
            return number, f"content: {inside}{name}"
        if name in held:
            break
    return None, None


def step_among(
    tensors: Sequence[Tensor], read: Callable[[Tensor], bytes | memoryview]
) -> tuple[int | None, str | None]:
    """Return the step that a tensor at the top level holds, and where it stands; None twice where there is none."""
    held = _single_integers(tensors)
    for name in STEP_NAMES:
        value = integer(read(held[name]), held[name].dtype) if name in held else None
        if value is not None:
            return value, f"content: {name}"
    return None, None


def _single_integers(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the tensors at the top level that hold one integer."""
    top = [item for item in tensors if not item.group and item.role != "optimizer" and is_readable(item.where)]
    return {item.name: item for item in top if total(item.shape) == 1 and dtype_of(item.dtype).kind in "iu"}


def integer(data: bytes | memoryview, dtype: str) -> int | None:
    """Return the one integer that bytes hold, as a count; None where they hold another type, or it cannot be one.

    >>> integer(bytes([7, 0]), "int16"), integer(bytes([255]), "int8"), integer(bytes(4), "float32")
    (7, None, None)
    """
    kind = dtype_of(dtype)
    if kind.kind not in "iu" or len(data) != kind.itemsize:
        return None
    value = int(np.frombuffer(data, kind)[0])
    return value if 0 <= value < STEP_LIMIT else None


def scalars_beside(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Make single numbers at the top level bookkeeping where the weights lie in a wrapper (`best_acc1`, `loss`)."""
    if not any(item.group and item.role == "weights" for item in tensors):
        return tuple(tensors)
    return tuple(
        replace(item, role="bookkeeping")
        if not item.group and item.shape == () and item.role == "weights" and item.where.nbytes
        else item
        for item in tensors
    )
