"""Which argument of a model would make a checkpoint fit that does not: tried before it is named."""

from collections.abc import Iterator, Sequence
from itertools import islice
from json import dumps

from milepost.core.types import Overrides, Variable
from milepost.errors import Mismatch
from milepost.restore.overrides import overridden, spec_of_overrides
from milepost.restore.readings import choose, reshaped
from milepost.restore.sets import Candidate

_TRIED = 8
"""How many scopes are tried: each is one more matching of all names."""

_KEPT = 8
"""How many variables of other shapes are named to be kept: more are another model than a changed head."""


def suggestion(sets: Sequence[Candidate], variables: Sequence[Variable], variant: str) -> str:
    """Return in words which argument would make a set fit, to go behind why none does; "" where none is known.

    Only for models that take `restore=` and its like, and where the user gave none of them.
    """
    for trial in islice(_trials(sets, variables), _TRIED):
        try:
            choose(overridden(sets, trial), variables, variant, partial=False)
        except Mismatch:
            continue
        return f"; or add to the model's arguments, in the evaluation file: {_argument(trial)}"
    names = reshaped(sets, variables)
    if names:
        return f"; only shapes differ: {_kept(names, sets, variables, variant)}build the model as it was trained"
    pair = next(_alike(sets, variables), None)
    if pair is None:
        return ""
    return (
        f"; where only names differ, map them in the model's arguments: restore={{{dumps(pair[0])}: {dumps(pair[1])}, "
        "...}, or rename={PATTERN: NEW, ...} by regular expressions; keep=[...] and ignore=[...] leave names out"
    )


def _kept(names: Sequence[str], sets: Sequence[Candidate], variables: Sequence[Variable], variant: str) -> str:
    """Return in words how to leave variables of other shapes as built; "" where that is no remedy."""
    if len(names) > _KEPT or len(names) == len(variables):
        return ""
    trial = Overrides(keep=tuple(names))
    try:
        choose(overridden(sets, trial), variables, variant, names, partial=False)
    except Mismatch:
        return ""
    return f"add {_argument(trial)} to the model's arguments to leave these as built (marked PARTIAL), or "


def _trials(sets: Sequence[Candidate], variables: Sequence[Variable]) -> Iterator[Overrides]:
    """Yield renames of one scope by which a tensor is the first variable, with nothing and with the rest ignored."""
    first = next((item for item in variables if not item.optional and item.tied_to is None), None)
    if first is None:
        return
    seen = set[tuple[str, str]]()
    for item in sets:
        for name, tensor in item.tensors.items():
            old, new = _scopes(name, first.name)
            same = first.shape is None or tensor.shape == first.shape
            if same and old != new and (old, new) not in seen:
                seen.add((old, new))
                yield Overrides({old: new})
                beside = {_top(other) for other in item.tensors if not other.startswith(old)}
                # A whole network beside it would be left out unasked: only what is not the model's is.
                if old and beside and not any(_is_network(item, top, old) for top in beside):
                    yield Overrides({old: new}, ignore=tuple(sorted(beside)))


def _scopes(name: str, variable: str) -> tuple[str, str]:
    """Return the scopes of two names that end alike; two equal ones where they do not.

    >>> _scopes("tower.fc.weight", "fc.weight"), _scopes("bert/fc/w", "encoder/fc/w"), _scopes("a.w", "b.v")
    (('tower.', ''), ('bert/', 'encoder/'), ('', ''))
    """
    mark = "/" if "/" in variable or "/" in name else "."
    old, new = name.split(mark), variable.split(mark)
    same = 0
    while same < min(len(old), len(new)) and old[-1 - same] == new[-1 - same]:
        same += 1
    if not same:
        return "", ""
    return _joined(old[: len(old) - same], mark), _joined(new[: len(new) - same], mark)


def _joined(parts: Sequence[str], mark: str) -> str:
    return "".join(part + mark for part in parts)


def _top(name: str) -> str:
    """Return the pattern of all that stands below the top part of a name, or the name alone."""
    for mark in "/.":
        if mark in name:
            return f"{name.partition(mark)[0]}{mark}*"
    return name


def _is_network(item: Candidate, pattern: str, scope: str) -> bool:
    """Return whether a part holds a tensor that the scope holds too: another network of the same kind."""
    top = pattern.removesuffix("*")
    return any(scope + name.removeprefix(top) in item.tensors for name in item.tensors if name.startswith(top))


def _alike(sets: Sequence[Candidate], variables: Sequence[Variable]) -> Iterator[tuple[str, str]]:
    """Yield a tensor that is no variable's, and a variable that has no tensor, of one shape."""
    names = {item.name for item in variables}
    for item in sets:
        for variable in variables:
            if variable.name not in item.tensors and not variable.optional and variable.shape is not None:
                yield from (
                    (name, variable.name)
                    for name, tensor in item.tensors.items()
                    if name not in names and tensor.shape == variable.shape
                )


def _argument(trial: Overrides) -> str:
    """Return overrides as one writes them.

    >>> _argument(Overrides({"tower.": ""}, ignore=("loss_fn.*",)))
    'restore={"tower.": ""}, ignore=["loss_fn.*"]'
    """
    return ", ".join(f"{keyword}={dumps(given)}" for keyword, given in spec_of_overrides(trial).items())
