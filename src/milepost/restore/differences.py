"""What keeps a set of tensors from fitting the variables one to one: as a question, and in words."""

import difflib
from collections.abc import Mapping, Sequence

from milepost._internal.text import listed
from milepost.core.types import Tensor, Variable
from milepost.restore.made_names import advice, displaced
from milepost.restore.prefixes import beside
from milepost.restore.sets import Candidate

_SHOWN = 5


def families(variables: Sequence[Variable]) -> dict[str, list[str]]:
    """Return the variables that count, by owner, with all names that share the value; optional ones do not."""
    found: dict[str, list[str]] = {}
    for item in variables:
        if not item.optional:
            found.setdefault(item.tied_to or item.name, []).append(item.name)
    return found


def fits(candidate: Candidate, variables: Sequence[Variable]) -> bool:
    """Return whether the tensors are those of the variables, no more and no less."""
    return not _missing(candidate.tensors, variables) and fits_partly(candidate, variables)


def fits_partly(candidate: Candidate, variables: Sequence[Variable]) -> bool:
    """Return whether every tensor is a variable's, by name and shape, and no other's by what it was made as."""
    against = _unexpected(candidate, variables) or _misshapen(candidate, variables)
    return not against and not displaced(candidate.tensors, variables)


def of_other_shapes(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    """Return the variables whose tensors have other shapes, where nothing else keeps the set from fitting.

    None where one may be transposed: it was trained, and must not be left as built.
    """
    have = candidate.tensors
    if _missing(have, variables) or _unexpected(candidate, variables):
        return []
    found = [item for item in variables if _differs(have, item)]
    return [] if any(_transposed(have, item) for item in found) else [item.name for item in found]


def restored(candidate: Candidate, variables: Sequence[Variable]) -> int:
    """Return how many of the variables that count have a tensor."""
    return len(families(variables)) - len(_missing(candidate.tensors, variables))


def refusal(readings: Sequence[Candidate], variables: Sequence[Variable], *, partial: bool) -> str:
    """Say why no reading of a set fits: of the one that comes nearest, or which prefix would have to come off."""
    names = {item.name for item in variables}
    nearest = max(readings, key=lambda item: (len(names & set(item.tensors)), -len(item.tensors), not item.renamed))
    where = f"under {nearest.place!r}" if nearest.place else "at top level"
    required = [name for name, held in families(variables).items() if len(held) == 1]
    inner = None if names & set(nearest.tensors) else beside(nearest.tensors, names, required)
    if inner is not None:
        return f"the weights {where} do not fit the model: {_advice(*inner)}"
    taken = f" ({nearest.renamed})" if nearest.renamed else ""
    reasons = _unfit(nearest, variables)
    missing = _missing(nearest.tensors, variables)
    count = restored(nearest, variables)
    if partial and not count:
        reasons = [f"none of the {len(families(variables))} variables is there", *reasons]
    elif missing and not partial:
        if count and not reasons:
            reasons = ["--allow-missing would keep the built model's values there, and mark the result PARTIAL"]
        near = _with_nearest(missing, _unexpected(nearest, variables))
        reasons = [f"{len(missing)} of {len(families(variables))} variables are missing: {near}", *reasons]
    reasons += advice(nearest.tensors.values(), variables)
    return f"the weights {where}{taken} do not fit the model: " + "; ".join(reasons)


def two(sets: Sequence[Candidate], variant: str) -> str:
    """Say that two sets could be a variant's, and how to choose one."""
    places = " and ".join(repr(item.place or "top level") for item in sets)
    asked = f'Evaluation(variants={{"{variant}": "{sets[0].place}"}})'
    return f"two sets of tensors could be variant {variant!r}: {places}; expected one: say which it is, as in {asked}"


def _missing(have: Mapping[str, Tensor], variables: Sequence[Variable]) -> list[str]:
    return [owner for owner, names in families(variables).items() if not any(name in have for name in names)]


def _unexpected(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    wanted = {item.name for item in variables}
    return [name for name in candidate.tensors if name not in wanted]


def _misshapen(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    have = candidate.tensors
    return [
        f"{item.name} has shape {list(have[item.name].shape)}, the model wants {list(item.shape)}"
        + " (transposed?)" * _transposed(have, item)
        for item in variables
        if item.shape is not None and _differs(have, item)
    ]


def _transposed(have: Mapping[str, Tensor], item: Variable) -> bool:
    shape = item.shape or ()
    return len(shape) > 1 and sorted(have[item.name].shape) == sorted(shape)


def _differs(have: Mapping[str, Tensor], item: Variable) -> bool:
    return item.name in have and item.shape is not None and not _same_shape(have[item.name], item.shape)


def _unfit(candidate: Candidate, variables: Sequence[Variable]) -> list[str]:
    """Say in words which tensors have no variable, or one of another shape."""
    reasons = []
    unexpected, misshapen = _unexpected(candidate, variables), _misshapen(candidate, variables)
    if unexpected:
        near = _with_nearest(unexpected, _missing(candidate.tensors, variables))
        reasons.append(f"{len(unexpected)} tensors are unexpected: {near}")
    if misshapen:
        reasons.append(listed(misshapen))
    return [*reasons, *displaced(candidate.tensors, variables)[:_SHOWN]]


def _same_shape(found: Tensor, wanted: tuple[int, ...]) -> bool:
    # A single number is stored as () by some writers and as (1,) by others (num_batches_tracked).  What cannot be read
    # (void) may have no shape to compare: mapping it says why it cannot.
    return found.dtype == "void" or found.shape == wanted or {found.shape, wanted} == {(), (1,)}


def _with_nearest(names: list[str], others: Sequence[str]) -> str:
    near = [difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.5) for name in names[:_SHOWN]]
    marked = [f"{name} (nearest: {found[0]})" if found else name for name, found in zip(names, near, strict=False)]
    return listed([*marked, *names[_SHOWN:]], _SHOWN)


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
