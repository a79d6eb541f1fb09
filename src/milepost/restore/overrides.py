"""How a user maps a checkpoint's names to a model's: the rules of `core.types.Overrides`."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TypedDict

from milepost._internal.text import listed
from milepost.core.types import Array, Json, Overrides
from milepost.errors import Mismatch, UsageError
from milepost.restore.prefixes import stripped
from milepost.restore.sets import Candidate


class GivenNames(TypedDict, total=False):
    """What a user may say of names where a model is made: the keyword arguments of every adapter that builds one."""

    restore: Mapping[str, str] | None
    rename: Mapping[str, str] | None
    keep: Iterable[str]
    ignore: Iterable[str]


def overrides_of(built: Callable[[Sequence[str]], Mapping[str, Array]], given: GivenNames) -> Overrides:
    """Check what a user hands to an adapter, and return it; `built` gives the values of variables that are kept.

    UsageError for what is no name, pattern or rename; TypeError for another keyword.
    """
    other = next(iter(given.keys() - GivenNames.__annotations__), None)
    if other is not None:
        raise TypeError(f"unexpected keyword argument {other!r}; of names there are restore, rename, keep and ignore")
    restore, rename = given.get("restore") or {}, given.get("rename") or {}
    keep, ignore = given.get("keep", ()), given.get("ignore", ())
    for keyword, names in (("keep", keep), ("ignore", ignore)):
        if isinstance(names, str):
            raise UsageError(f"{keyword} is a list of names or patterns; found the text {names!r}: write [{names!r}]")
    for keyword, pairs in (("restore", restore), ("rename", rename)):
        if not isinstance(pairs, Mapping):
            raise UsageError(f"{keyword} is a dict of old names and new ones; found a {type(pairs).__name__}")
    for old, new in restore.items():
        if not (isinstance(old, str) and isinstance(new, str)) or _is_scope(old) != _is_scope(new) or old == new:
            raise UsageError(
                f"restore={{{old!r}: {new!r}}}: expected a checkpoint's name and a variable's, or two scopes that end "
                "in '/' or '.' (or are '', the top)"
            )
    for old, new in rename.items():
        try:
            re.sub(old, new, "")
        except (re.error, TypeError, IndexError) as error:
            raise UsageError(
                f"rename={{{old!r}: {new!r}}}: expected a regular expression and what to put in its place; {error}"
            ) from error
    return Overrides(dict(restore), tuple(keep), tuple(ignore), built, dict(rename))


def again(overrides: Overrides) -> GivenNames:
    """Return the arguments that overrides were made of, for another model of the same kind."""
    return {
        "restore": overrides.renames,
        "rename": overrides.patterns,
        "keep": overrides.keep,
        "ignore": overrides.ignore,
    }


def check_names(overrides: Overrides, names: Collection[str], model: str) -> None:
    """Refuse names of variables that the model does not have; `model` is what messages call it ("the graph")."""
    strangers = [("restore", name) for name in overrides.renames.values() if not any(_applies(name, n) for n in names)]
    strangers += [("keep", name) for name in overrides.keep if not any(_matches(n, (name,)) for n in names)]
    for keyword, name in strangers:
        raise UsageError(f"{keyword} names {name!r}, which {model} does not have; it has {listed(sorted(names))}")


def spec_of_overrides(overrides: Overrides) -> dict[str, Json]:
    """Return what the user gave, as plain data; {} where he gave nothing.

    >>> spec_of_overrides(Overrides(keep=("logits/*",)))
    {'keep': ['logits/*']}
    """
    given: dict[str, Json] = {
        "restore": dict(overrides.renames),
        "rename": [list(pair) for pair in overrides.patterns.items()],  # in order, which counts
        "keep": sorted(overrides.keep),
        "ignore": sorted(overrides.ignore),
    }
    return {key: value for key, value in given.items() if value}


def kept_by(overrides: Overrides, names: Iterable[str]) -> set[str]:
    """Return which of these variables keep what they were built with."""
    return {name for name in names if _matches(name, overrides.keep)}


def overridden(sets: Sequence[Candidate], overrides: Overrides) -> list[Candidate]:
    """Return sets under the names that the user gives, without what is ignored.

    His rules hold for the names as the file has them, or with wrappers' prefixes off where they only then apply.
    Raises Mismatch for a rule that applies to no name of any set, and where two names become one.
    """
    levels = [list(stripped(item.tensors)) for item in sets]
    unused = [[_unused(overrides, names) for names, _ in every] for every in levels]
    if all(every_rule for every in unused for every_rule in every):
        _refuse_unused(min(unused[0], key=len)[0], sets[0])
    found = []
    for item, every, left in zip(sets, levels, unused, strict=True):
        idle = [len(rules) * 1000 + _idle(overrides, names) for rules, (names, _) in zip(left, every, strict=True)]
        names, taken = every[idle.index(min(idle))]
        found.append(_under(item, names, taken, overrides))
    return [item for item in found if item.tensors]


def renamed_by(overrides: Overrides, names: Iterable[str]) -> dict[str, str]:
    r"""Return the model's name for each of a checkpoint's; ignored ones are left out.

    >>> overrides = Overrides({"old/": "new/", "w": "dense/kernel"}, ignore=("Aux/*",), patterns={r"\.g$": ".w"})
    >>> renamed_by(overrides, ["old/b", "w", "Aux/w", "c", "norm.g"])
    {'old/b': 'new/b', 'w': 'dense/kernel', 'c': 'c', 'norm.g': 'norm.w'}
    """
    return {name: _renamed(overrides, name) for name in names if not _matches(name, overrides.ignore)}


def _under(item: Candidate, names: Mapping[str, str], taken: str, overrides: Overrides) -> Candidate:
    """Return a set under the user's names; `names` leads from those without prefixes to the file's."""
    new_of = renamed_by(overrides, names)
    olds: dict[str, str] = {}
    for old, new in new_of.items():
        if new in olds:
            what = f"{olds[new]!r} and {old!r} both become {new!r}"
            raise Mismatch(f"restore={{...}} makes one name of two: {what}; name one of them in ignore=(...)")
        olds[new] = old
    return replace(
        item,
        tensors={new: item.tensors[names[old]] for new, old in olds.items()},
        standing_in=frozenset(new for new, old in olds.items() if names[old] in item.standing_in),
        given=frozenset(new for new, old in olds.items() if new != old),
        renamed=f"{taken} taken off the checkpoint's names" if taken else "",
    )


def _refuse_unused(rule: tuple[str, str, str], held: Candidate) -> None:
    keyword, old, new = rule
    raise Mismatch(
        f"{keyword}={{{old!r}: {new!r}}} renames what the checkpoint does not hold; it holds "
        f"{listed(sorted(held.tensors))}"
    )


def _unused(overrides: Overrides, names: Collection[str]) -> list[tuple[str, str, str]]:
    """Return the renames that apply to none of a checkpoint's names: keyword, old and new."""
    plain = [name for name in names if name not in overrides.renames]
    restore = [("restore", *pair) for pair in overrides.renames.items() if not any(_applies(pair[0], n) for n in names)]
    return restore + [
        ("rename", *pair) for pair in overrides.patterns.items() if not any(re.search(pair[0], n) for n in plain)
    ]


def _idle(overrides: Overrides, names: Collection[str]) -> int:
    """Return how many of the patterns of what is ignored match nothing."""
    return sum(not any(_matches(name, (pattern,)) for name in names) for pattern in overrides.ignore)


def _renamed(overrides: Overrides, name: str) -> str:
    renames = overrides.renames
    if name in renames:
        return renames[name]
    # The longest scope is the nearest.
    scopes = [old for old in renames if _is_scope(old) and name.startswith(old)]
    scope = max(scopes, key=len, default=None)
    moved = name if scope is None else renames[scope] + name[len(scope) :]
    for pattern, new in overrides.patterns.items():
        moved = re.sub(pattern, new, moved)
    return moved


def _is_scope(name: str) -> bool:
    return name == "" or name.endswith(("/", "."))


def _applies(old: str, name: str) -> bool:
    return name == old or (_is_scope(old) and name.startswith(old))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
