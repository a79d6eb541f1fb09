"""Which set of a checkpoint's weights is a variant's: "raw" is the plain set, "ema" the averaged one.

Where the file does not say which set is which, the user does: Evaluation(variants={"raw": PLACE, "ema": PLACE}).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from milepost._internal.text import listed
from milepost.core.types import Overrides, Table, Variable
from milepost.errors import Mismatch
from milepost.restore.overrides import overridden
from milepost.restore.sets import SUFFIX, Candidate, sets_of


def candidates(
    table: Table,
    variant: str,
    variables: Sequence[Variable] | None = None,
    overrides: Overrides | None = None,
    place: str | None = None,
) -> list[Candidate]:
    """Return the sets of tensors that a variant could mean: the one at the `place` that the user declared, if any.

    The user's overrides give names, and leave out what is ignored.  Raises Mismatch where the file does
    not say which of its sets is averaged, where nothing is at the declared place, and where overrides make one name of
    two or name what no set holds.
    """
    held = sets_of(table, variables, () if place is None else (place,))
    sets = _of_variant(held, variant) if place is None else [_declared(held, variant, place)]
    if sets and all(item.refused for item in sets):
        raise Mismatch(sets[0].refused)
    return sets if overrides is None or not sets else overridden(sets, overrides)


def averaging(chosen: Candidate, variables: Sequence[Variable]) -> str:
    """Say of which kind a set of averaged weights is, where it is not simply one; Mismatch where nothing is averaged.

    >>> averaging(Candidate("", {"w": ..., "m": ...}, "", frozenset("m"), "ema"), [Variable("w", None, ())])
    '1 of 2 tensors are averages; raw ones stand in for the others: m'
    """
    if not chosen.standing_in:
        return chosen.remark
    needed = [item.name for item in variables if not item.optional and item.name in chosen.tensors]
    if needed and chosen.standing_in.issuperset(needed):
        raise Mismatch(
            f"no average of any of the model's {len(needed)} variables is in the checkpoint: the averages at "
            f"{chosen.place!r} are of variables that the model does not have"
        )
    names = sorted(chosen.standing_in)
    count = f"{len(chosen.tensors) - len(names)} of {len(chosen.tensors)} tensors are"
    if chosen.kind == "ema":
        stood = f"{count} averages; raw ones stand in for the others: {listed(names)}"
    else:
        stood = (
            f"{count} of this set; those at {chosen.beside or 'top level'!r} stand in for the others: {listed(names)}"
        )
    return f"{chosen.remark}; {stood}" if chosen.remark else stood


def absent(table: Table, variant: str, variables: Sequence[Variable] | None) -> str:
    """Say that a checkpoint holds no set of a variant, and what was looked for."""
    looked = f" (NAME{SUFFIX}, or a group or prefix such as 'ema')" if variant == "ema" else ""
    there = [f"{item.kind!r} at {place or 'top level'!r}" for place, item in sets_of(table, variables).items()]
    return (
        f"the checkpoint holds no weights of variant {variant!r}{looked}"
        + (f"; it holds {listed(there)}" if there else "")
        + f": leave {variant!r} out of Evaluation(variants=...) where training kept no such weights"
    )


def _of_variant(held: Mapping[str, Candidate], variant: str) -> list[Candidate]:
    sure = [held[place] for place in sorted(held) if held[place].kind == variant]
    unsure = [item for item in held.values() if item.kind == "either"]
    if sure or not unsure or variant not in {"raw", "ema"}:
        return sure
    if len(unsure) == 1:
        place = unsure[0].place
        raise Mismatch(
            f"the weights at {place or 'top level'!r} may be averages: {unsure[0].remark}; say what they are in the "
            f'evaluation file: Evaluation(variants={{"raw": "{place}"}}) or Evaluation(variants={{"ema": "{place}"}})'
        )
    plain, other = sorted(unsure, key=lambda item: (item.place.endswith("*") or "ema" in item.place, item.place))[:2]
    raise Mismatch(
        f"the checkpoint holds two sets of weights, at {plain.place or 'top level'!r} and at {other.place!r}, and does "
        f"not say which is averaged: {plain.remark}; say it in the evaluation file, as it is or the other way round: "
        f'Evaluation(variants={{"raw": "{plain.place}", "ema": "{other.place}"}})'
    )


def _declared(held: Mapping[str, Candidate], variant: str, place: str) -> Candidate:
    if place not in held:
        there = listed([repr(one) for one in sorted(held)]) or "nowhere"
        raise Mismatch(
            f"no weights stand at {place!r}, where Evaluation(variants={{...}}) places variant {variant!r}; the "
            f"checkpoint holds weights at {there} ('' is the top level)"
        )
    return replace(held[place], remark=f"placed by the evaluation file: variant {variant} at {place or 'top level'!r}")
