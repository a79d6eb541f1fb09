"""Tensors to variables, for every format and every framework: every variable exactly once, or a reason why not.

A checkpoint keeps its weights at top level or under a wrapper (`state_dict`, `model_state_dict`, ...), and may hold
several variants of them (`variants`).  Nothing is restored in part: names that are missing, unexpected or misshapen
are refused, with the nearest names.  Only where the user allows for missing variables, or names them, do these keep
the values that the model was built with; every result then says so.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 kinds with NumPy
import numpy as np

from milepost._internal.dtypes import is_float
from milepost._internal.serialization import digest
from milepost._internal.text import listed
from milepost.checkpoints.mapping import map_tensor
from milepost.core.types import Array, Overrides, Table, Tensor, Variable
from milepost.errors import Mismatch, NonfiniteWeights
from milepost.restore.adapters import refuse_adapter
from milepost.restore.differences import families
from milepost.restore.overrides import kept_by, spec_of_overrides
from milepost.restore.readings import choose
from milepost.restore.suggestions import suggestion
from milepost.restore.variants import absent, averaging, candidates

Initial = Callable[[Sequence[str]], Mapping[str, Array]]
"""Gives, by name, the values that a model was built with."""

_SHOWN = 5
_RULES = 3
"""Counts the changes of what a file's tensors are taken for: a checkpoint is then identified again, under its key."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The arrays of a model's variables, the digest of their values, and what was done to get them."""

    arrays: Mapping[str, Array]
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
) -> Restored:
    """Match a checkpoint's tensors to variables and map their bytes.

    With `variables` None the function takes all tensors of the one set there is, under their own names.  `initial`
    allows for missing variables, and gives their values; `overrides` may rename, and name variables that keep theirs.
    `place` is where the user declared the variant to stand.
    Then `notes["missing"]` names these, and the digest differs from that of any whole checkpoint.
    Raises Mismatch (names, shapes or kinds), NonfiniteWeights, and what mapping the bytes raises.
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
    arrays, changes = _arrays(chosen.tensors, variables)
    notes: dict[str, object] = {"place": chosen.place or "top level", "variables": len(arrays)}
    averaged = averaging(chosen, variables)
    if averaged:
        notes["averaging"] = averaged
    if chosen.others:
        notes["also holds"] = chosen.others
    if chosen.renamed:
        notes["names"] = chosen.renamed
    notes |= {key: _cut(items) for key, items in changes.items() if items}
    return _restored_of(arrays, notes, variables, initial, overrides)


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
    for name, array in arrays.items():
        check_finite(name, array)
    return _restored_of(dict(arrays), {"place": place, "variables": len(arrays)}, variables, None, overrides)


def _kept_names(variables: Sequence[Variable] | None, overrides: Overrides | None) -> set[str]:
    """Return the variables that keep their values whatever the checkpoint holds."""
    names = [item.name for item in variables or ()]
    return set() if overrides is None else kept_by(overrides, names)


def _restored_of(
    arrays: dict[str, Array],
    notes: dict[str, object],
    variables: Sequence[Variable],
    initial: Initial | None,
    overrides: Overrides | None,
) -> Restored:
    """Complete arrays by the values that variables keep, and digest them."""
    missing = [owner for owner in families(variables) if owner not in arrays]
    values = initial if initial is not None or overrides is None else overrides.built
    if overrides:
        notes["overrides"] = spec_of_overrides(overrides)
    if missing and values is not None:
        arrays |= _kept(values, missing, variables)
        notes["missing"] = {"variables": len(missing), "of": len(families(variables)), "names": missing}
    optional = {item.name for item in variables if item.optional}
    found = weights_digest({name: array for name, array in arrays.items() if name not in optional})
    return Restored(arrays, digest(["partial", found, missing]) if missing else found, notes)


def _arrays(
    tensors: Mapping[str, Tensor], variables: Sequence[Variable]
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """Map what the checkpoint holds, a shared value once under its owner's name; and list what was cast or stood in."""
    arrays: dict[str, Array] = {}
    casts: list[str] = []
    tied: list[str] = []
    for variable in variables:
        tensor = tensors.get(variable.name)
        if tensor is None:
            continue  # optional, allowed to be missing, or a tied name whose owner is there: `choose` saw to it
        array = _fit(map_tensor(tensor), variable, casts)
        if variable.tied_to in arrays:
            _check_tied(variable, arrays[variable.tied_to], array)
            continue
        check_finite(variable.name, array)
        arrays[variable.tied_to or variable.name] = array
        if variable.tied_to is not None:
            tied.append(f"{variable.name} stood in for {variable.tied_to}, to which it is tied")
    return arrays, {"tied": tied, "casts": casts}


def _kept(initial: Initial, missing: Sequence[str], variables: Sequence[Variable]) -> dict[str, Array]:
    known = {item.name: item for item in variables}
    values = initial(missing)
    kept = {name: _fit(values[name], known[name], []) for name in missing}
    for name, array in kept.items():
        check_finite(name, array)
    return kept


def _cut(items: list[str]) -> list[str]:
    return items[:_SHOWN] + [f"and {len(items) - _SHOWN} more"] * (len(items) > _SHOWN)


def _fit(array: Array, variable: Variable, casts: list[str]) -> Array:
    """Bring an array to its variable's dtype and shape; only floats are cast, and it is noted."""
    found = array.dtype.newbyteorder("=")
    wanted = found if variable.dtype is None else np.dtype(variable.dtype)
    if found != wanted:
        if not (is_float(found) and is_float(wanted)):
            what = f"{variable.name} is {found} in the checkpoint, the model wants {wanted}"
            raise Mismatch(f"{what}; only floats are cast")
        casts.append(f"{variable.name}: {found} to {wanted}")
    fitted = array.astype(wanted, copy=False)
    return fitted if variable.shape is None else fitted.reshape(variable.shape)


def _check_tied(variable: Variable, owner: Array, array: Array) -> None:
    if not np.array_equal(owner, array):
        tied = f"{variable.name} is tied to {variable.tied_to} in the model"
        raise Mismatch(f"{tied}, but the checkpoint holds two different values")


def check_finite(name: str, array: Array) -> None:
    """Raise NonfiniteWeights where a tensor of floats holds what is no number."""
    bad = array.size - int(np.count_nonzero(np.isfinite(array))) if is_float(array.dtype) else 0
    if bad:
        raise NonfiniteWeights(f"{bad} of {array.size} values of {name} are NaN or infinite; the training diverged")


def weights_digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of variables: names, dtypes, shapes and little-endian bytes, in order of names.

    >>> weights_digest({"w": np.zeros(2, np.float32)})[:12]
    'e0c72b6659e2'
    """
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        total.update(f"{name}\0{array.dtype.name}\0{list(array.shape)}\0".encode())
        total.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
