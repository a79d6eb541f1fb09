"""The sets of weights that a checkpoint holds, by variant: "raw" is the plain set, "ema" the averaged one.

Averages stand under a wrapper or a prefix of their own, or beside the raw weights under TensorFlow's suffix.  Of the
last kind not every variable has one (batch normalisation's statistics have none): the others are the raw ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from milepost._internal.text import listed
from milepost.core.types import Overrides, Table, Tensor, Variable
from milepost.errors import Mismatch
from milepost.restore.overrides import kept_by, renamed_by, unused_renames

_EMA_GROUPS = ("ema", "model_ema", "ema_model", "ema_state_dict", "ema_weights")
_EMA_PREFIXES = ("ema/", "ema.")
_EMA_SUFFIX = "/ExponentialMovingAverage"
_SWAPPED = "current_model_state"
"""Lightning's WeightAveraging keeps the raw weights here, and the averaged ones under `state_dict`."""
_AVERAGED_COUNT = "n_averaged"
"""How many models torch's AveragedModel has taken in: a count beside its weights."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of tensors that could be the variant's: where it stands, and the tensors by the model's names.

    `renamed` says what was done to the names; `standing_in` are the raw tensors among averaged ones.
    """

    place: str
    tensors: Mapping[str, Tensor]
    renamed: str = ""
    standing_in: frozenset[str] = frozenset()


def candidates(
    table: Table, variant: str, variables: Sequence[Variable] | None = None, overrides: Overrides | None = None
) -> list[Candidate]:
    """Return the sets of tensors of role weights that a variant could mean, each with the names freed of EMA marks.

    The user's overrides give names, and leave out what the model keeps or ignores.  Raises Mismatch where they make one
    name of two, or name what no set holds.
    """
    wanted = {item.name for item in variables or ()}
    groups: dict[str, dict[str, dict[str, Tensor]]] = {"raw": {}, "ema": {}}
    swapped = is_swapped(table)
    for tensor in table.tensors:
        if variables is not None and tensor.name == _AVERAGED_COUNT and tensor.name not in wanted:
            continue
        # A number called "step" is bookkeeping, unless the model has a variable of that very name.
        if tensor.role == "weights" or (tensor.role == "bookkeeping" and tensor.name in wanted):
            place, name, kind = _classify(tensor, swapped=swapped)
            groups[kind].setdefault(place, {})[name] = tensor
            if name != tensor.name and tensor.name in wanted:  # the model has the average itself, as a variable
                groups["raw"].setdefault(tensor.group, {})[tensor.name] = tensor
    sets = [
        _set(place, tensors, groups["raw"] if variant == "ema" else {})
        for place, tensors in sorted(groups.get(variant, {}).items())
    ]
    return sets if overrides is None or not sets else _overridden(sets, overrides, wanted)


def is_swapped(table: Table) -> bool:
    """Return whether `state_dict` holds the averaged weights, as Lightning's WeightAveraging has it."""
    groups = {tensor.group for tensor in table.tensors}
    return {"state_dict", _SWAPPED} <= groups


def averaging(table: Table, chosen: Candidate, variables: Sequence[Variable]) -> str:
    """Say of which kind a set of averaged weights is, where it is not simply one; Mismatch where nothing is averaged.

    >>> averaging(Table("made", ()), Candidate("", {"w": ..., "m": ...}, "", frozenset("m")), [Variable("w", None, ())])
    '1 of 2 tensors are averages; raw ones stand in for the others: m'
    """
    if is_swapped(table):
        return f"state_dict holds averaged weights (variant ema), {_SWAPPED} the raw ones"
    if not chosen.standing_in:
        return ""
    needed = [item.name for item in variables if not item.optional and item.name in chosen.tensors]
    if needed and chosen.standing_in.issuperset(needed):
        raise Mismatch(
            f"no average of any of the model's {len(needed)} variables is in the checkpoint; expected at least one "
            f"NAME{_EMA_SUFFIX}: its averages are of variables that the model does not have"
        )
    names = sorted(chosen.standing_in)
    count = len(chosen.tensors) - len(names)
    return f"{count} of {len(chosen.tensors)} tensors are averages; raw ones stand in for the others: {listed(names)}"


def absent(variant: str) -> str:
    """Say that a checkpoint holds no set of a variant, and what was looked for."""
    looked = f" (NAME{_EMA_SUFFIX}, or a group or prefix such as {_EMA_GROUPS[0]!r})" if variant == "ema" else ""
    return (
        f"the checkpoint holds no weights of variant {variant!r}{looked}; expected a set of tensors, found none: leave "
        f"{variant!r} out of Evaluation(variants=...) where training kept no such weights"
    )


def _classify(tensor: Tensor, *, swapped: bool) -> tuple[str, str, str]:
    """Return the set's place, the model's name for the tensor, and the variant that it belongs to."""
    if swapped and tensor.group == "state_dict":
        return tensor.group, tensor.name, "ema"
    if tensor.group.rsplit("/", 1)[-1] in _EMA_GROUPS:
        return tensor.group, tensor.name, "ema"
    for prefix in _EMA_PREFIXES:
        if tensor.name.startswith(prefix):
            return f"{tensor.group}{prefix}", tensor.name.removeprefix(prefix), "ema"
    if tensor.name.endswith(_EMA_SUFFIX):
        return f"{tensor.group}*{_EMA_SUFFIX}", tensor.name.removesuffix(_EMA_SUFFIX), "ema"
    return tensor.group, tensor.name, "raw"


def _set(place: str, tensors: Mapping[str, Tensor], raw: Mapping[str, Mapping[str, Tensor]]) -> Candidate:
    """Return a set, completed by the raw tensors beside it where it is of TensorFlow's kind."""
    beside = raw.get(place.removesuffix(f"*{_EMA_SUFFIX}"), {}) if place.endswith(f"*{_EMA_SUFFIX}") else {}
    beside = {name: tensor for name, tensor in beside.items() if not name.endswith(_EMA_SUFFIX)}
    return Candidate(place, {**beside, **tensors}, standing_in=frozenset(beside.keys() - tensors.keys()))


def _overridden(sets: Sequence[Candidate], overrides: Overrides, wanted: set[str]) -> list[Candidate]:
    unused = unused_renames(overrides, (name for item in sets for name in item.tensors))
    if unused:
        raise Mismatch(
            f"restore={{{unused[0]!r}: {overrides.renames[unused[0]]!r}}} renames what the checkpoint does not hold; "
            f"it holds {listed(sorted(sets[0].tensors))}"
        )
    found = []
    for item in sets:
        names = renamed_by(overrides, item.tensors)
        kept = kept_by(overrides, {*names.values()} & wanted)
        olds: dict[str, str] = {}
        for old, new in names.items():
            if new in olds:
                what = f"{olds[new]!r} and {old!r} both become {new!r}"
                raise Mismatch(f"restore={{...}} makes one name of two: {what}; name one of them in ignore=(...)")
            olds[new] = old
        tensors = {new: item.tensors[old] for new, old in olds.items() if new not in kept}
        standing = frozenset(names[old] for old in item.standing_in if names.get(old) in tensors)
        if tensors:
            found.append(replace(item, tensors=tensors, standing_in=standing))
    return found
