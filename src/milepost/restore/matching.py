"""Tensors to variables, for every format and every framework: every variable exactly once, or a reason why not.

A checkpoint keeps its weights at top level or under a wrapper (`state_dict`, `model_state_dict`, ...), and may hold
several variants of them (`variants`).  Nothing is restored in part: names that are missing, unexpected or misshapen
are refused, with the nearest names.  Only where the user allows for missing variables, or names them, do these keep
the values that the model was built with; every result then says so.
"""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 kinds with NumPy
import numpy as np

from milepost._internal.dtypes import is_float
from milepost._internal.serialization import digest
from milepost._internal.text import listed
from milepost.checkpoints.mapping import map_tensor
from milepost.core.types import Array, Overrides, Table, Tensor, Variable
from milepost.errors import Mismatch, NonfiniteWeights
from milepost.restore.adapters import refuse_adapter
from milepost.restore.overrides import kept_by, spec_of_overrides
from milepost.restore.prefixes import beside, by_scheme, renamings
from milepost.restore.sets import Candidate
from milepost.restore.variants import absent, averaging, candidates

Initial = Callable[[Sequence[str]], Mapping[str, Array]]
"""Gives, by name, the values that a model was built with."""

_SHOWN = 5
_RULES = 2
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
    'any, rules 2'
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
        chosen = _choose(sets, _restorable(variables, overrides), variant, partial=partial)
    except Mismatch as error:
        refuse_adapter(table, error)
        raise
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
    wanted = _restorable(variables, overrides) or []
    missing = [name for name in _families(wanted) if name not in arrays]
    if missing:
        raise Mismatch(
            f"{place} left {len(missing)} of {len(_families(wanted))} variables without a value: "
            f"{listed(missing)}; it must restore all: name in keep=(...) those that keep their built values"
        )
    spared = [item.name for item in variables if item not in wanted and item.name in arrays]
    if spared:
        raise Mismatch(f"{place} restored {listed(spared)}, which keep=(...) leaves as built")
    for name, array in arrays.items():
        _check_finite(name, array)
    return _restored_of(dict(arrays), {"place": place, "variables": len(arrays)}, variables, None, overrides)


def _restorable(variables: Sequence[Variable] | None, overrides: Overrides | None) -> Sequence[Variable] | None:
    """Return the variables but for those that keep their values whatever the checkpoint holds."""
    if variables is None or overrides is None:
        return variables
    kept = kept_by(overrides, (item.name for item in variables))
    return [item for item in variables if item.name not in kept]


def _restored_of(
    arrays: dict[str, Array],
    notes: dict[str, object],
    variables: Sequence[Variable],
    initial: Initial | None,
    overrides: Overrides | None,
) -> Restored:
    """Complete arrays by the values that variables keep, and digest them."""
    missing = [owner for owner in _families(variables) if owner not in arrays]
    values = initial if initial is not None or overrides is None else overrides.built
    if overrides:
        notes["overrides"] = spec_of_overrides(overrides)
    if missing and values is not None:
        arrays |= _kept(values, missing, variables)
        notes["missing"] = {"variables": len(missing), "of": len(_families(variables)), "names": missing}
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
            continue  # optional, allowed to be missing, or a tied name whose owner is there: _choose saw to it
        array = _fit(map_tensor(tensor), variable, casts)
        if variable.tied_to in arrays:
            _check_tied(variable, arrays[variable.tied_to], array)
            continue
        _check_finite(variable.name, array)
        arrays[variable.tied_to or variable.name] = array
        if variable.tied_to is not None:
            tied.append(f"{variable.name} stood in for {variable.tied_to}, to which it is tied")
    return arrays, {"tied": tied, "casts": casts}


def _kept(initial: Initial, missing: Sequence[str], variables: Sequence[Variable]) -> dict[str, Array]:
    known = {item.name: item for item in variables}
    values = initial(missing)
    kept = {name: _fit(values[name], known[name], []) for name in missing}
    for name, array in kept.items():
        _check_finite(name, array)
    return kept


def _cut(items: list[str]) -> list[str]:
    return items[:_SHOWN] + [f"and {len(items) - _SHOWN} more"] * (len(items) > _SHOWN)


def _choose(sets: list[Candidate], variables: Sequence[Variable] | None, variant: str, *, partial: bool) -> Candidate:
    """Return the one set that is the variant's; with `partial`, one that lacks variables where none is whole."""
    if variables is None:
        if len(sets) > 1:
            raise Mismatch(_two(sets, variant))
        return sets[0]
    # Of each set the simplest reading: under its own names, or once wrappers' prefixes are taken off.
    fitting = [item for item in sets if not _differences(item, variables)]
    fitting = fitting or _fitting(sets, variables, _differences)
    if partial and not fitting:
        fitting = _fullest(_fitting(sets, variables, _unfit), variables)
    if len(fitting) > 1:
        raise Mismatch(_two(fitting, variant))
    if fitting:
        return fitting[0]
    raise Mismatch(_refusal(sets, variables, partial=partial))


def _fitting(
    sets: Iterable[Candidate],
    variables: Sequence[Variable],
    against: Callable[[Candidate, Sequence[Variable]], list[str]],
) -> list[Candidate]:
    """Return at most one reading of each set: the simplest that has nothing against it."""
    first = (next((one for one in _readings(item, variables) if not against(one, variables)), None) for item in sets)
    return [reading for reading in first if reading is not None]


def _fullest(readings: Sequence[Candidate], variables: Sequence[Variable]) -> list[Candidate]:
    """Return the readings that hold most of the variables, none that holds nothing."""
    counts = [_restored(reading, variables) for reading in readings]
    most = max(counts, default=0)
    return [reading for reading, count in zip(readings, counts, strict=True) if count == most > 0]


def _readings(item: Candidate, variables: Sequence[Variable]) -> Iterable[Candidate]:
    """Yield a set under its own names, without prefixes, by other schemes; never with two names become one."""
    schemes: dict[str, dict[str, str]] = {}
    for variable in variables:
        for scheme, name in variable.also:
            schemes.setdefault(scheme, {})[name] = variable.name
    every = renamings(item.tensors, [variable.name for variable in variables]), by_scheme(item.tensors, schemes)
    for names, renamed in chain(*every):
        standing_in = frozenset(names[name] for name in item.standing_in)
        tensors = {names[name]: tensor for name, tensor in item.tensors.items()}
        reading = replace(item, tensors=tensors, renamed=renamed, standing_in=standing_in)
        if len(reading.tensors) == len(item.tensors):
            yield reading


def _refusal(sets: Sequence[Candidate], variables: Sequence[Variable], *, partial: bool) -> str:
    """Say why no set fits: of the reading that comes nearest, or which prefix would have to come off."""
    names = {item.name for item in variables}
    readings = [reading for item in sets for reading in _readings(item, variables)]
    nearest = max(readings, key=lambda item: (len(names & set(item.tensors)), -len(item.tensors), not item.renamed))
    where = f"under {nearest.place!r}" if nearest.place else "at top level"
    required = [name for name, held in _families(variables).items() if len(held) == 1]
    inner = None if names & set(nearest.tensors) else beside(nearest.tensors, names, required)
    if inner is not None:
        return f"the weights {where} do not fit the model: {_advice(*inner)}"
    taken = f" ({nearest.renamed})" if nearest.renamed else ""
    if partial and not _restored(nearest, variables):
        reasons = [f"none of the {len(_families(variables))} variables is there", *_unfit(nearest, variables)]
    else:
        reasons = (_unfit if partial else _differences)(nearest, variables)
        if not partial and _restored(nearest, variables) and not _unfit(nearest, variables):
            reasons.append("--allow-missing would keep the built model's values there, and mark the result PARTIAL")
    return f"the weights {where}{taken} do not fit the model: " + "; ".join(reasons)


def _advice(prefixes: Sequence[str], outside: Sequence[str]) -> str:
    """Say what to do where all variables are there under a prefix that does not come off."""
    if len(prefixes) > 1:
        places = " and ".join(repr(prefix) for prefix in prefixes)
        return f"all of its variables are there under {places} each: wrap it in the evaluation file as in training"
    prefix = prefixes[0]
    attributes = ", ".join(dict.fromkeys(name.partition(".")[0] for name in (prefix, *outside)))
    odd = f"{len(outside)} tensors are unexpected: {listed(outside)}"
    more = odd if outside else "that is no prefix that wrappers are known for"
    return (
        f"all of its variables are there once {prefix!r} is taken off, but {more}; a prefix comes off only where it is "
        "a wrapper's and nothing is left over: wrap the model in the evaluation file, in a module with the attributes "
        f"that training had ({attributes}), so that all names are the same"
    )


def _two(sets: list[Candidate], variant: str) -> str:
    places = " and ".join(repr(item.place or "top level") for item in sets)
    asked = f'Evaluation(variants={{"{variant}": "{sets[0].place}"}})'
    return f"two sets of tensors could be variant {variant!r}: {places}; expected one: say which it is, as in {asked}"


def _families(variables: Sequence[Variable]) -> dict[str, list[str]]:
    """Return the variables that count, by owner, with all names that share the value; optional ones do not."""
    families: dict[str, list[str]] = {}
    for item in variables:
        if not item.optional:
            families.setdefault(item.tied_to or item.name, []).append(item.name)
    return families


def _missing(have: Mapping[str, Tensor], variables: Sequence[Variable]) -> list[str]:
    return [owner for owner, names in _families(variables).items() if not any(name in have for name in names)]


def _restored(candidate: Candidate, variables: Sequence[Variable]) -> int:
    return len(_families(variables)) - len(_missing(candidate.tensors, variables))


def _differences(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    """Say in words what keeps the tensors from fitting the variables one to one; [] where they fit."""
    missing = _missing(candidate.tensors, variables)
    if not missing:
        return _unfit(candidate, variables)
    unexpected = _unexpected(candidate, variables)
    count = f"{len(missing)} of {len(_families(variables))} variables are missing"
    return [f"{count}: {_with_nearest(missing, unexpected)}", *_unfit(candidate, variables)]


def _unexpected(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    wanted = {item.name for item in variables}
    return [name for name in candidate.tensors if name not in wanted]


def _unfit(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    have = candidate.tensors
    unexpected = _unexpected(candidate, variables)
    misshapen = [
        f"{item.name} has shape {list(have[item.name].shape)}, the model wants {list(item.shape)}"
        + " (transposed?)" * (sorted(have[item.name].shape) == sorted(item.shape) and len(item.shape) > 1)
        for item in variables
        if item.name in have and item.shape is not None and not _same_shape(have[item.name], item.shape)
    ]
    reasons = []
    if unexpected:
        near = _missing(have, variables)
        reasons.append(f"{len(unexpected)} tensors are unexpected: {_with_nearest(unexpected, near)}")
    if misshapen:
        reasons.append(listed(misshapen))
    return reasons


def _same_shape(found: Tensor, wanted: tuple[int, ...]) -> bool:
    # A single number is stored as () by some writers and as (1,) by others (num_batches_tracked).  What cannot be read
    # (void) may have no shape to compare: mapping it says why it cannot.
    return found.dtype == "void" or found.shape == wanted or {found.shape, wanted} == {(), (1,)}


def _with_nearest(names: list[str], others: Sequence[str]) -> str:
    near = [difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.5) for name in names[:_SHOWN]]
    marked = [f"{name} (nearest: {found[0]})" if found else name for name, found in zip(names, near, strict=False)]
    return listed([*marked, *names[_SHOWN:]], _SHOWN)


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


def _check_finite(name: str, array: Array) -> None:
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
