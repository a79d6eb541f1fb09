"""Renames that libraries made of one and the same value: known by themselves, applied where they are complete."""

import re
from collections.abc import Collection
from dataclasses import dataclass

_Pattern = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Old and new names of one kind of value, as patterns and their replacements, and what it is called on record."""

    remark: str
    patterns: tuple[_Pattern, ...]


_RULES = (
    # TensorFlow's names of layer normalisation, which Transformers' first files kept.
    _Rule("gamma and beta read as weight and bias", ((r"(^|\.)gamma$", r"\1weight"), (r"(^|\.)beta$", r"\1bias"))),
    # torch.nn.utils.weight_norm and torch.nn.utils.parametrizations.weight_norm.
    _Rule(
        "weight_norm read as its parametrization",
        (
            (r"(^|\.)(\w+)_g$", r"\1parametrizations.\2.original0"),
            (r"(^|\.)(\w+)_v$", r"\1parametrizations.\2.original1"),
        ),
    ),
    _Rule(
        "weight_norm's parametrization read as weight_norm",
        (
            (r"(^|\.)parametrizations\.(\w+)\.original0$", r"\1\2_g"),
            (r"(^|\.)parametrizations\.(\w+)\.original1$", r"\1\2_v"),
        ),
    ),
    # torch.nn.utils.spectral_norm and torch.nn.utils.parametrizations.spectral_norm.
    _Rule(
        "spectral_norm read as its parametrization",
        (
            (r"(^|\.)(\w+)_orig$", r"\1parametrizations.\2.original"),
            (r"(^|\.)(\w+)_u$", r"\1parametrizations.\2.0._u"),
            (r"(^|\.)(\w+)_v$", r"\1parametrizations.\2.0._v"),
        ),
    ),
    _Rule(
        "spectral_norm's parametrization read as spectral_norm",
        (
            (r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2_orig"),
            (r"(^|\.)parametrizations\.(\w+)\.0\._u$", r"\1\2_u"),
            (r"(^|\.)parametrizations\.(\w+)\.0\._v$", r"\1\2_v"),
        ),
    ),
)


def by_known_renames(names: Collection[str], wanted: Collection[str]) -> tuple[dict[str, str], str]:
    """Return the model's names for names that it does not have, and what was done; ({}, "") where nothing is to do.

    A rule applies where every one of its old names that the model does not have leads to a variable that no tensor
    has the name of: all of them, or none.

    >>> by_known_renames(["norm.gamma", "norm.beta", "fc.weight"], ["norm.weight", "norm.bias", "fc.weight"])
    ({'norm.gamma': 'norm.weight', 'norm.beta': 'norm.bias'}, 'gamma and beta read as weight and bias')
    >>> by_known_renames(["norm.gamma", "scale.gamma"], ["norm.weight"])
    ({}, '')
    """
    changed: dict[str, str] = {}
    done = []
    open_names = set(wanted) - set(names)
    for rule in _RULES:
        pairs = {name: new for name in names if name not in wanted and (new := _renamed(rule.patterns, name))}
        pairs = {name: new for name, new in pairs.items() if name not in changed}
        if pairs and len(set(pairs.values())) == len(pairs) and open_names.issuperset(pairs.values()):
            changed |= pairs
            open_names -= set(pairs.values())
            done.append(rule.remark)
    return changed, "; ".join(done)


def _renamed(patterns: tuple[_Pattern, ...], name: str) -> str | None:
    found = next(((pattern, new) for pattern, new in patterns if re.search(pattern, name)), None)
    return None if found is None else re.sub(*found, name)
