"""What a tensor is for, and which number is the step, told by the names that trainers use."""

import re
from collections.abc import Sequence

from milepost.core.types import Role, Tensor

STEP_NAMES = ("global_step", "step", "iteration", "iter")
"""Names of the training step, the clearest first.  An epoch is no step."""

STEP_LIMIT = 2**63

_OPTIMIZER = re.compile(r"(?:\w*_)?(?:optimizers?|optims?)(?:[A-Z0-9]\w*|_\w*)?|opts?(?:_(?:states?|dict|state_dict))?")
_BOOKKEEPING = re.compile(
    r"(?:lr_?)?sched(?:uler)?s?(?:_?(?:states?|dict|state_dict|state_dicts))?"
    r"|(?:\w+_)?rng(?:_states?)?|random_states?|loops|callbacks|hyper_parameters|datamodule\w*|train_?loader\w*"
    r"|(?:grad_|amp_)?scalers?(?:_?(?:states?|dict|state_dict))?|amp|native_amp_scaling_state"
    r"|global_step|step|steps|num_steps|iteration|iterations|iter|iters|iter_num|epoch|epochs|num_epochs",
)


def role_of(group: str, name: str) -> Role:
    """Tell a tensor's role from its wrapper and its name.

    >>> role_of("optimizer_state_dict/state/0", "exp_avg"), role_of("", "opt/mu/dense"), role_of("", "global_step")
    ('optimizer', 'optimizer', 'bookkeeping')
    >>> role_of("model_state_dict", "step.weight")
    'weights'
    """
    if not group:
        head, slash, _ = name.partition("/")
        if (slash and _OPTIMIZER.fullmatch(head)) or name.startswith(("optimizer.", "optimizer_state.")):
            return "optimizer"
        return "bookkeeping" if _BOOKKEEPING.fullmatch(head) else "weights"
    keys = group.split("/")
    if any(_OPTIMIZER.fullmatch(key) for key in keys):
        return "optimizer"
    return "bookkeeping" if any(_BOOKKEEPING.fullmatch(key) for key in keys) else "weights"


def scalars_beside(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Call single numbers at the top level bookkeeping where the weights lie in a wrapper (`best_acc1`, `loss`)."""
    wrapped = any(item.group and item.role == "weights" for item in tensors)
    if not wrapped:
        return tuple(tensors)
    return tuple(
        Tensor(item.name, item.dtype, item.shape, item.where, "bookkeeping", item.group)
        if not item.group and item.shape == () and item.role == "weights" and item.where.nbytes
        else item
        for item in tensors
    )
