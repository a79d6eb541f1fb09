"""Tensors to variables, for every format and every framework: every variable exactly once, or a reason why not.

A checkpoint keeps its weights at top level or under a wrapper (`state_dict`, `model_state_dict`, ...), and may hold
several variants of them (`variants`).  Nothing is restored in part: names that are missing, unexpected or misshapen
are refused, with the nearest names.  Only where the user allows for missing variables, or names them, do these keep
the values that the model was built with; every result then says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 kinds with NumPy
import numpy as np

from milepost._internal.dtypes import is_float
from milepost._internal.serialization import digest
from milepost._internal.text import listed
from milepost.checkpoints.mapping import dtype_in_file, map_tensor
from milepost.core.types import Array, Overrides, Table, Tensor, Variable
from milepost.errors import Mismatch
from milepost.restore.adapters import refuse_adapter
from milepost.restore.differences import families
from milepost.restore.overrides import kept_by, spec_of_overrides
from milepost.restore.readings import choose
from milepost.restore.suggestions import suggestion
from milepost.restore.values import Unread, Values, fit
from milepost.restore.variants import absent, averaging, candidates

Initial = Callable[[Sequence[str]], Mapping[str, Array]]
"""Gives, by name, the values that a model was built with."""

_SHOWN = 5
_RULES = 3
"""Counts the changes of what a file's tensors are taken for: a checkpoint is then identified again, under its key."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The arrays of a model's variables, the digest of their values, and what was done to get them."""

    arrays: Values
    digest: str
    notes: Mapping[str, object]


def signature(variables: Sequence[Variable] | None) -> str:
    """Digest a model's variables; weights digests are under these names, so they hold for one signature only.

    So does what the rules of this room make of a file: `_RULES` counts their changes.

    >>> signature(None)
    'any, rules 3'
    """
    if variables is None:
        return f"any, rules {_RULES}"
    named = [[item.name, item.dtype, item.shape and list(item.shape), item.tied_to] for item in variables]
    return digest([_RULES, named])


def restore(
    table: Table,
    variables: Sequence[Variable] | None,
    variant: str,
    initial: Initial | None = None,
    overrides: Overrides | None = None,
    place: str | None = None,
    mapped: Callable[[str], bool] = lambda _: False,
) -> Restored:
    """Match a checkpoint's tensors to variables.

    With `variables` None the function takes all tensors of the one set there is, under their own names.  `initial`
    allows for missing variables, and gives their values; `overrides` may rename, and name variables that keep theirs.
    `place` is where the user declared the variant to stand.  Values are read when they are asked for; files that are
    `mapped`, which they may be where one that is cut short does no harm, stay so.
    Then `notes["missing"]` names these, and the digest differs from that of any whole checkpoint.
    Raises Mismatch (names, shapes or kinds), NonfiniteWeights, and what reading the bytes raises.
    """
    sets = candidates(table, variant, variables, overrides, place)
    if not sets:
        raise Mismatch(absent(table, variant, variables))
    try:
        # The base's built values would stand in for all that an adapter lacks: its number would be the base's.
        partial = initial is not None and table.adapter is None
        chosen = choose(sets, variables, variant, _kept_names(variables, overrides), partial=partial)
    except Mismatch as error:
        refuse_adapter(table, error)
        option = suggestion(sets, variables or (), variant) if overrides is not None and not overrides else ""
        raise Mismatch(f"{error}{option}") from error
    if variables is None:
        variables = [Variable(name, item.dtype, item.shape) for name, item in sorted(chosen.tensors.items())]
    arrays, ties, changes = _values(chosen.tensors, variables, mapped)
    notes: dict[str, object] = {"place": chosen.place or "top level", "variables": len(arrays)}
    averaged = averaging(chosen, variables)
    if averaged:
        notes["averaging"] = averaged
    if chosen.others:
        notes["also holds"] = chosen.others
    if chosen.renamed:
        notes["names"] = chosen.renamed
    notes |= {key: _cut(items) for key, items in changes.items() if items}
    return _restored_of(arrays, notes, variables, initial, overrides, ties)


def adopt(
    arrays: Mapping[str, Array], variables: Sequence[Variable], place: str, overrides: Overrides | None = None
) -> Restored:
    """Take the values that a model's user restored by means of his own (`place` names them), as `restore` would.

    Raises Mismatch for a variable that got none, or got one although `overrides` says that it keeps its own, and
    NonfiniteWeights.
    """
    kept = _kept_names(variables, overrides)
    wanted = [item for item in variables if item.name not in kept]
    missing = [name for name in families(wanted) if name not in arrays]
    if missing:
        raise Mismatch(
            f"{place} left {len(missing)} of {len(families(wanted))} variables without a value: "
            f"{listed(missing)}; it must restore all: name in keep=(...) those that keep their built values"
        )
    spared = [item.name for item in variables if item.name in kept and item.name in arrays]
    if spared:
        raise Mismatch(f"{place} restored {listed(spared)}, which keep=(...) leaves as built")
    notes: dict[str, object] = {"place": place, "variables": len(arrays)}
    return _restored_of(Values(arrays, {}), notes, variables, None, overrides)


def _kept_names(variables: Sequence[Variable] | None, overrides: Overrides | None) -> set[str]:
    """Return the variables that keep their values whatever the checkpoint holds."""
    names = [item.name for item in variables or ()]
    return set() if overrides is None else kept_by(overrides, names)


def _restored_of(
    arrays: Values,
    notes: dict[str, object],
    variables: Sequence[Variable],
    initial: Initial | None,
    overrides: Overrides | None,
    ties: Sequence[Unread] = (),
) -> Restored:
    """Complete arrays by the values that variables keep, check them all, and digest them."""
    missing = [owner for owner in families(variables) if owner not in arrays]
    values = initial if initial is not None or overrides is None else overrides.built
    if overrides:
        notes["overrides"] = spec_of_overrides(overrides)
    if missing and values is not None:
        arrays = arrays.with_held(_kept(values, missing, variables))
        notes["missing"] = {"variables": len(missing), "of": len(families(variables)), "names": missing}
    for value in ties:
        _check_tied(value.variable, arrays[str(value.variable.tied_to)], value.array())
    found = arrays.checked_digest(frozenset(item.name for item in variables if item.optional))
    return Restored(arrays, digest(["partial", found, missing]) if missing else found, notes)


def _values(
    tensors: Mapping[str, Tensor], variables: Sequence[Variable], mapped: Callable[[str], bool]
) -> tuple[Values, list[Unread], dict[str, list[str]]]:
    """Return what the checkpoint holds, a shared value once under its owner's name.

    Beside it, the values of variables that are tied to one that it holds, which must be the same; and lists of what was
    cast, and what stood in for another.
    """
    held: dict[str, Array] = {}
    unread: dict[str, Unread] = {}
    ties: list[Unread] = []
    casts: list[str] = []
    tied: list[str] = []
    for variable in variables:
        tensor = tensors.get(variable.name)
        if tensor is None:
            continue  # optional, allowed to be missing, or a tied name whose owner is there: `choose` saw to it
        value = Unread(tensor, variable, _wanted(dtype_in_file(tensor), variable, casts))
        name = variable.tied_to or variable.name
        if name in held or name in unread:
            ties.append(value)
            continue
        if mapped(tensor.where.file):
            held[name] = fit(map_tensor(tensor), variable, value.dtype)
        else:
            unread[name] = value
        if variable.tied_to is not None:
            tied.append(f"{variable.name} stood in for {variable.tied_to}, to which it is tied")
    return Values(held, unread), ties, {"tied": tied, "casts": casts}


def _kept(initial: Initial, missing: Sequence[str], variables: Sequence[Variable]) -> dict[str, Array]:
    known = {item.name: item for item in variables}
    values = initial(missing)
    return {name: fit(values[name], known[name], _wanted(values[name].dtype, known[name], [])) for name in missing}


def _cut(items: list[str]) -> list[str]:
    return items[:_SHOWN] + [f"and {len(items) - _SHOWN} more"] * (len(items) > _SHOWN)


def _wanted(found: np.dtype[Any], variable: Variable, casts: list[str]) -> np.dtype[Any]:
    """Return the dtype that a variable is to have; only floats are cast, and it is noted."""
    found = found.newbyteorder("=")
    wanted = found if variable.dtype is None else np.dtype(variable.dtype)
    if found != wanted:
        if not (is_float(found) and is_float(wanted)):
            what = f"{variable.name} is {found} in the checkpoint, the model wants {wanted}"
            raise Mismatch(f"{what}; only floats are cast")
        casts.append(f"{variable.name}: {found} to {wanted}")
    return wanted


def _check_tied(variable: Variable, owner: Array, array: Array) -> None:
    if not np.array_equal(owner, array):
        tied = f"{variable.name} is tied to {variable.tied_to} in the model"
        raise Mismatch(f"{tied}, but the checkpoint holds two different values")
