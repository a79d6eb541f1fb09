"""What a tensor of a TensorFlow checkpoint is for, and which number in it is the step, by the names that TF gives.

Name-based checkpoints (Saver): a slot lies under its variable's name (`fc/weights/Momentum`), an averaged value too
(`fc/weights/ExponentialMovingAverage`, which is a weight).  Object-based ones (TF 2) write `.OPTIMIZER_SLOT`, or keep
whatever belongs to the optimizer under its object.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from milepost._internal.budget import charge
from milepost._internal.text import listed
from milepost.checkpoints._files.roles import STEP_LIMIT, role_of
from milepost.core.types import Role

SAVE_COUNTER = "save_counter"
COUNTERS = ("_iterations", "iterations", "iter")
"""What optimizers call the number of their updates."""

CANDIDATES = ("global_step", "step", "iteration", *COUNTERS, SAVE_COUNTER)
"""Last pieces of the names of numbers that may be the step."""

_SLOT_MARK = "/.OPTIMIZER_SLOT/"
_METRICS = re.compile(r"(?:^|/)keras_api/metrics/")
_AVERAGED = re.compile(r"averag|ema\b|_ema|shadow|avg|mean|polyak", re.IGNORECASE)
_SLOTS = re.compile(
    r"(?:momentum|adam\w*|nadam|adagrad\w*|rmsprop|ftrl|adadelta|lars|lamb|yogi|m|v|vhat|rms|accumulator|accum_\w+"
    r"|gradient_(?:squared_)?accumulator)(?:_\d+)?",
    re.IGNORECASE,
)
_POWERS = re.compile(r"beta[12]_power(?:_\d+)?")
_NUMBERS = re.compile(
    r"(?:global_step|eval_step|local_step|learning_rate|lr|loss_scale|current_loss_scale|good_steps|num_good_steps"
    r"|avg|biased|seed_generator_state)(?:_\d+)?"
)


@dataclass(frozen=True, slots=True)
class Traits:
    """What a tensor's role depends on: its shape, whether it holds integers, and what the object graph says of it."""

    shape: tuple[int, ...]
    integer: bool
    optimizer: bool = False
    full_name: str = ""


def roles_of(tensors: Mapping[str, Traits]) -> dict[str, Role]:
    """Return each tensor's role.

    >>> row, number = Traits((2,), False), Traits((), True)
    >>> roles = roles_of({"w": row, "w/Adam_1": row, "w/ExponentialMovingAverage": row, "global_step": number})
    >>> list(roles.values())
    ['weights', 'optimizer', 'weights', 'bookkeeping']
    """
    homes = {name: _slot_home(name, item, tensors) for name, item in tensors.items()}
    optimizers = {home for home in homes.values() if home}
    found: dict[str, Role] = {}
    for name, item in tensors.items():
        parent = name.rpartition("/")[0]
        setting = item.shape == () and parent in optimizers
        found[name] = "optimizer" if setting or homes[name] is not None else _role(name, item, parent in tensors)
    return found


def _role(name: str, item: Traits, beneath: bool) -> Role:  # noqa: FBT001 - private, and called once
    last = name.rpartition("/")[2]
    if item.optimizer or _SLOT_MARK in name or (item.shape == () and _POWERS.fullmatch(last)):
        return "optimizer"
    if _METRICS.search(name) or name == SAVE_COUNTER or item.full_name.endswith("seed_generator_state"):
        return "bookkeeping"
    if item.shape == () and not beneath and (_NUMBERS.fullmatch(last) or (item.integer and last == "step")):
        return "bookkeeping"
    return role_of("", name)


def _slot_home(name: str, item: Traits, tensors: Mapping[str, Traits]) -> str | None:
    """Return where the optimizer of a slot lies, "" where it is the variable's own place; None for what is no slot.

    A slot lies under its variable's name and has its shape; Keras' lie under an optimizer's scope, and repeat the name.
    """
    parent, _, last = name.rpartition("/")
    if not parent or _AVERAGED.search(last):
        return None
    if parent in tensors:
        return "" if tensors[parent].shape == item.shape or _SLOTS.fullmatch(last) else None
    if _SLOTS.fullmatch(last):
        at = parent.find("/")
        while at > 0:
            inner = parent[at + 1 :]
            charge(made=len(inner))
            if inner in tensors and tensors[inner].shape == item.shape:
                return parent[:at]
            at = parent.find("/", at + 1)
    return None


def is_candidate(name: str, item: Traits) -> bool:
    """Return whether a tensor is one number that may be the step."""
    return item.integer and math.prod(item.shape) == 1 and name.rpartition("/")[2] in CANDIDATES


def step_of(numbers: Mapping[str, int], roles: Mapping[str, Role]) -> tuple[int | None, str | None, list[str]]:
    """Return the step, where it stands, and notes on candidates that disagree, from their names and values.

    A count of training steps outweighs an optimizer's count of updates, and that the number of saves.

    >>> step_of({"save_counter": 3, "optimizer/_iterations": 900}, {"optimizer/_iterations": "optimizer"})
    (900, 'content: optimizer iterations', [])
    >>> step_of({"save_counter": 3}, {})
    (3, 'content: save_counter (the number of saves, not a step)', [])
    """
    notes: list[str] = []
    good = {name: value for name, value in numbers.items() if 0 <= value < STEP_LIMIT}
    own = {name: value for name, value in good.items() if roles.get(name) != "optimizer"}
    for word in CANDIDATES[:-1]:
        if word in own:
            return own[word], f"content: {word}", notes
        nested = {name: value for name, value in own.items() if name.endswith(f"/{word}")}
        if nested and _agree(nested, "a step", notes):
            name, value = next(iter(nested.items()))
            return value, f"content: {name}", notes
    updates = {name: value for name, value in good.items() if name not in own and name.rpartition("/")[2] in COUNTERS}
    if updates and _agree(updates, "updates of one optimizer", notes):
        return next(iter(updates.values())), "content: optimizer iterations", notes
    if SAVE_COUNTER in own:
        return own[SAVE_COUNTER], f"content: {SAVE_COUNTER} (the number of saves, not a step)", notes
    return None, None, notes


def _agree(found: Mapping[str, int], what: str, notes: list[str]) -> bool:
    if len(set(found.values())) == 1:
        return True
    candidates = listed([f"{name} {value:,}" for name, value in found.items()])
    notes.append(f"these may be {what} and disagree, so none was taken: {candidates}")
    return False
