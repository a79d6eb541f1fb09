"""The ways in which the names of a set of tensors may be read as those of a model's variables, the simplest first."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from milepost.core.types import Variable
from milepost.errors import Mismatch
from milepost.restore.differences import fits, fits_partly, of_other_shapes, refusal, restored, two
from milepost.restore.known_renames import by_known_renames
from milepost.restore.prefixes import by_scheme, renamings
from milepost.restore.sets import Candidate


def choose(
    sets: Sequence[Candidate],
    variables: Sequence[Variable] | None,
    variant: str,
    kept: Collection[str] = (),
    *,
    partial: bool,
) -> Candidate:
    """Return the one set that is the variant's; with `partial`, one that lacks variables where none is whole.

    Its names are those of the variables that are not `kept`.  Raises Mismatch where no set fits, or two do.
    """
    if variables is None:
        if len(sets) > 1:
            raise Mismatch(two(sets, variant))
        return sets[0]
    wanted = [item for item in variables if item.name not in kept]

    def first(test: Callable[[Candidate, Sequence[Variable]], bool]) -> list[Candidate]:
        """Return at most one reading of each set: the simplest that passes."""
        every = (_readings(item, variables, kept) for item in sets)
        return [found for read in every if (found := next((one for one in read if test(one, wanted)), None))]

    # Of each set the simplest reading: under its own names, or once wrappers' prefixes are taken off.
    fitting = [own for item in sets if fits(own := next(_readings(item, variables, kept)), wanted)] or first(fits)
    if partial and not fitting:
        fitting = _fullest(first(fits_partly), wanted)
    if len(fitting) > 1:
        raise Mismatch(two(fitting, variant))
    if fitting:
        return fitting[0]
    readings = [reading for item in sets for reading in _readings(item, variables, kept)]
    raise Mismatch(refusal(readings, wanted, partial=partial))


def reshaped(sets: Sequence[Candidate], variables: Sequence[Variable]) -> list[str]:
    """Return the variables whose shapes alone keep a set from fitting, under its simplest such reading; [] if none."""
    every = (of_other_shapes(reading, variables) for item in sets for reading in _readings(item, variables, ()))
    return next((names for names in every if names), [])


def _fullest(readings: Sequence[Candidate], wanted: Sequence[Variable]) -> list[Candidate]:
    """Return the readings that hold most of the variables, none that holds nothing."""
    counts = [restored(reading, wanted) for reading in readings]
    most = max(counts, default=0)
    return [reading for reading, count in zip(readings, counts, strict=True) if count == most > 0]


def _readings(item: Candidate, variables: Sequence[Variable], kept: Collection[str]) -> Iterator[Candidate]:
    """Yield a set under its own names, without prefixes, by other schemes; each also by known renames.

    Never with two names become one.  What is read as a kept variable is left out.
    """
    wanted = [variable.name for variable in variables]
    schemes: dict[str, dict[str, str]] = {}
    for variable in variables:
        for scheme, name in variable.also:
            schemes.setdefault(scheme, {})[name] = variable.name
    free = [name for name in item.tensors if name not in item.given]
    for names, renamed in chain(renamings(free, wanted), by_scheme(free, schemes)):
        full = {name: names.get(name, name) for name in item.tensors}
        known, done = by_known_renames(list(full.values()), set(wanted))
        for more, remark in (({}, ""), (known, done))[: 1 + bool(known)]:
            reading = _read(item, {name: more.get(new, new) for name, new in full.items()}, kept)
            if reading is not None:
                every = (item.renamed, renamed, remark)
                yield replace(reading, renamed="; ".join(part for part in every if part))


def _read(item: Candidate, names: Mapping[str, str], kept: Collection[str]) -> Candidate | None:
    """Return a set under other names; None where two of them are one."""
    if len(set(names.values())) < len(names):
        return None
    tensors = {names[name]: tensor for name, tensor in item.tensors.items() if names[name] not in kept}
    standing = frozenset(names[name] for name in item.standing_in if names[name] in tensors)
    return replace(item, tensors=tensors, standing_in=standing)
