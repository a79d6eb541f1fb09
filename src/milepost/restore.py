"""Tensors to variables, for every format and every framework: every variable exactly once, or a reason why not.

A checkpoint keeps its weights at top level or under a wrapper (`state_dict`, `model_state_dict`, ...).  The variant
"raw" is the plain set; "ema" the averaged one, under a wrapper or a prefix of its own, or TensorFlow's suffix.  Nothing
is restored in part: names that are missing, unexpected or misshapen are refused, with the nearest names.
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 kinds with NumPy
import numpy as np

from milepost.checkpoints.tensors import map_tensor
from milepost.core import Array, Table, Tensor, Variable
from milepost.errors import Mismatch, NonfiniteWeights
from milepost.plain import digest
from milepost.renaming import renamings

_EMA_GROUPS = ("ema", "model_ema", "ema_model", "ema_state_dict", "ema_weights")
_EMA_PREFIXES = ("ema/", "ema.")
_EMA_SUFFIX = "/ExponentialMovingAverage"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of tensors that could be the variant's: where it stands, and the tensors by the model's names."""

    place: str
    tensors: Mapping[str, Tensor]
    renamed: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """The arrays of a model's variables, the digest of their content, and what was done to get them."""

    arrays: Mapping[str, Array]
    digest: str
    notes: Mapping[str, object]


def signature(variables: Sequence[Variable] | None) -> str:
    """Digest a model's variables; weights digests are under these names, so they hold for one signature only.

    >>> signature(None)
    'any'
    """
    if variables is None:
        return "any"
    return digest([[item.name, item.dtype, item.shape and list(item.shape), item.tied_to] for item in variables])


def restore(table: Table, variables: Sequence[Variable] | None, variant: str) -> Restored:
    """Match a checkpoint's tensors to variables and map their bytes.

    With `variables` None the function takes all tensors of the one set there is, under their own names.
    Raises Mismatch (names, shapes or kinds), NonfiniteWeights, and what mapping the bytes raises.
    """
    chosen = _choose(candidates(table, variant, variables), variables, variant)
    if variables is None:
        variables = [Variable(name, item.dtype, item.shape) for name, item in sorted(chosen.tensors.items())]
    optional = {item.name for item in variables if item.optional}
    arrays: dict[str, Array] = {}
    casts: list[str] = []
    for variable in variables:
        tensor = chosen.tensors.get(variable.name)
        if tensor is None:
            continue  # optional, or a tied name whose owner is there: _choose saw to it
        array = _fit(map_tensor(tensor), variable, casts)
        if variable.tied_to in arrays:
            _check_tied(variable, arrays[variable.tied_to], array)
        else:
            _check_finite(variable.name, array)
            arrays[variable.tied_to or variable.name] = array
    notes: dict[str, object] = {"place": chosen.place or "top level", "variables": len(arrays)}
    if chosen.renamed:
        notes["names"] = chosen.renamed
    if casts:
        notes["casts"] = casts[:_SHOWN] + ([f"and {len(casts) - _SHOWN} more"] if len(casts) > _SHOWN else [])
    deciding = {name: array for name, array in arrays.items() if name not in optional}
    return Restored(arrays, weights_digest(deciding), notes)


def candidates(table: Table, variant: str, variables: Sequence[Variable] | None = None) -> list[Candidate]:
    """Return the sets of tensors of role weights that a variant could mean, each with the names freed of EMA marks."""
    groups: dict[str, dict[str, Tensor]] = {}
    wanted = {item.name for item in variables or ()}
    for tensor in table.tensors:
        # A number called "step" is bookkeeping, unless the model has a variable of that very name.
        if tensor.role == "weights" or (tensor.role == "bookkeeping" and tensor.name in wanted):
            place, name, kind = _classify(tensor)
            if kind == variant:
                groups.setdefault(place, {})[name] = tensor
    return [Candidate(place, tensors) for place, tensors in sorted(groups.items())]


def _classify(tensor: Tensor) -> tuple[str, str, str]:
    """Return the set's place, the model's name for the tensor, and the variant that it belongs to."""
    if tensor.group.rsplit("/", 1)[-1] in _EMA_GROUPS:
        return tensor.group, tensor.name, "ema"
    for prefix in _EMA_PREFIXES:
        if tensor.name.startswith(prefix):
            return f"{tensor.group}{prefix}", tensor.name.removeprefix(prefix), "ema"
    if tensor.name.endswith(_EMA_SUFFIX):
        return f"{tensor.group}*{_EMA_SUFFIX}", tensor.name.removesuffix(_EMA_SUFFIX), "ema"
    return tensor.group, tensor.name, "raw"


def _choose(sets: list[Candidate], variables: Sequence[Variable] | None, variant: str) -> Candidate:
    if not sets:
        raise Mismatch(f"the checkpoint holds no weights of variant {variant!r}; expected a set of tensors, found none")
    if variables is None:
        if len(sets) > 1:
            raise Mismatch(_two(sets, variant))
        return sets[0]
    fitting = [item for item in sets if not _differences(item, variables)] or _renamed(sets, variables)
    if len(fitting) > 1:
        raise Mismatch(_two(fitting, variant))
    if fitting:
        return fitting[0]
    names = {item.name for item in variables}
    nearest = max(sets, key=lambda item: (len(names & set(item.tensors)), -len(item.tensors)))
    where = f"under {nearest.place!r}" if nearest.place else "at top level"
    raise Mismatch(f"the weights {where} do not fit the model: " + "; ".join(_differences(nearest, variables)))


def _renamed(sets: list[Candidate], variables: Sequence[Variable]) -> list[Candidate]:
    """Return the sets that fit once wrappers' prefixes are taken off: at most one reading of each."""
    fitting = []
    for item in sets:
        for names, said in renamings(item.tensors, [variable.name for variable in variables]):
            reading = Candidate(item.place, {names[name]: tensor for name, tensor in item.tensors.items()}, said)
            if len(reading.tensors) == len(item.tensors) and not _differences(reading, variables):
                fitting.append(reading)
                break
    return fitting


def _two(sets: list[Candidate], variant: str) -> str:
    places = " and ".join(repr(item.place or "top level") for item in sets)
    return f"two sets of tensors could be variant {variant!r}: {places}; expected one: remove or rename the other"


def _differences(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    """Say in words what keeps the tensors from fitting the variables one to one; [] where they fit."""
    have = candidate.tensors
    wanted = {item.name: item for item in variables}
    families: dict[str, list[str]] = {}
    for item in (item for item in variables if not item.optional):
        families.setdefault(item.tied_to or item.name, []).append(item.name)
    missing = [owner for owner, names in families.items() if not any(name in have for name in names)]
    unexpected = [name for name in have if name not in wanted]
    misshapen = [
        f"{name} has shape {list(have[name].shape)}, the model wants {list(item.shape)}"
        + _hint(have[name].shape, item.shape)
        for name, item in wanted.items()
        if name in have and item.shape is not None and not _same_shape(have[name].shape, item.shape)
    ]
    said = []
    if missing:
        said.append(f"{len(missing)} of {len(families)} variables are missing: {_listed(missing, unexpected)}")
    if unexpected:
        said.append(f"{len(unexpected)} tensors are unexpected: {_listed(unexpected, missing)}")
    if misshapen:
        said.append(
            ", ".join(misshapen[:_SHOWN]) + (f" and {len(misshapen) - _SHOWN} more" * (len(misshapen) > _SHOWN))
        )
    return said


def _same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # A single number is stored as () by some writers and as (1,) by others (num_batches_tracked).
    return found == wanted or {found, wanted} == {(), (1,)}


def _hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    transposed = sorted(found) == sorted(wanted) and len(found) > 1
    return " (transposed?)" if transposed else ""


def _listed(names: list[str], others: Iterable[str]) -> str:
    pool = list(others)[:1000]
    said = []
    for name in names[:_SHOWN]:
        near = difflib.get_close_matches(name, pool, n=1, cutoff=0.5)
        said.append(f"{name} (nearest: {near[0]})" if near else name)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(said) + more


def _fit(array: Array, variable: Variable, casts: list[str]) -> Array:
    """Bring an array to its variable's dtype and shape; only floats are cast, and it is noted."""
    found = array.dtype.newbyteorder("=")
    wanted = found if variable.dtype is None else np.dtype(variable.dtype)
    if found != wanted:
        if not (_is_float(found) and _is_float(wanted)):
            raise Mismatch(
                f"{variable.name} is {found} in the checkpoint, the model wants {wanted}; only floats are cast"
            )
        casts.append(f"{variable.name}: {found} to {wanted}")
    fitted = array.astype(wanted, copy=False)
    return fitted if variable.shape is None else fitted.reshape(variable.shape)


def _is_float(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))


def _check_tied(variable: Variable, owner: Array, array: Array) -> None:
    if not np.array_equal(owner, array):
        raise Mismatch(
            f"{variable.name} is tied to {variable.tied_to} in the model, but the checkpoint holds two different values"
        )


def _check_finite(name: str, array: Array) -> None:
    if _is_float(array.dtype):
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
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
