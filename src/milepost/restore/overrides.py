"""How a user maps a checkpoint's names to a model's: the rules of `core.types.Overrides`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from milepost.core.types import Array, Json, Overrides
from milepost.errors import UsageError


def overrides_of(
    restore: Mapping[str, str] | None,
    keep: Iterable[str],
    ignore: Iterable[str],
    built: Callable[[Sequence[str]], Mapping[str, Array]],
) -> Overrides:
    """Check what a user hands to an adapter, and return it; UsageError for what is no name, pattern or rename."""
    for keyword, names in (("keep", keep), ("ignore", ignore)):
        if isinstance(names, str):
            raise UsageError(f"{keyword} is a list of names or patterns; found the text {names!r}: write [{names!r}]")
    for old, new in (restore or {}).items():
        if not (isinstance(old, str) and isinstance(new, str)) or _is_scope(old) != _is_scope(new) or old == new:
            raise UsageError(
                f"restore={{{old!r}: {new!r}}}: expected a checkpoint's name and a variable's, or two scopes that end "
                "in '/' (or are '', the top)"
            )
    return Overrides(dict(restore or {}), tuple(keep), tuple(ignore), built)


def spec_of_overrides(overrides: Overrides) -> dict[str, Json]:
    """Return what the user gave, as plain data; {} where he gave nothing.

    >>> spec_of_overrides(Overrides(keep=("logits/*",)))
    {'keep': ['logits/*']}
    """
    given: dict[str, Json] = {
        "restore": dict(overrides.renames),
        "keep": sorted(overrides.keep),
        "ignore": sorted(overrides.ignore),
    }
    return {key: value for key, value in given.items() if value}


def renamed_by(overrides: Overrides, names: Iterable[str]) -> dict[str, str]:
    """Return the model's name for each of a checkpoint's; ignored ones are left out.

    >>> overrides = Overrides({"old/": "new/", "w": "dense/kernel"}, ignore=("Aux/*",))
    >>> renamed_by(overrides, ["old/b", "w", "Aux/w", "c"])
    {'old/b': 'new/b', 'w': 'dense/kernel', 'c': 'c'}
    """
    return {name: _renamed(overrides.renames, name) for name in names if not _matches(name, overrides.ignore)}


def kept_by(overrides: Overrides, names: Iterable[str]) -> set[str]:
    """Return which of these variables keep what they were built with."""
    return {name for name in names if _matches(name, overrides.keep)}


def unused_renames(overrides: Overrides, names: Iterable[str]) -> list[str]:
    """Return the renames that apply to none of a checkpoint's names."""
    there = list(names)
    return [old for old in overrides.renames if not any(_applies(old, name) for name in there)]


def _renamed(renames: Mapping[str, str], name: str) -> str:
    if name in renames:
        return renames[name]
    # The longest scope is the nearest.
    scopes = [old for old in renames if _is_scope(old) and name.startswith(old)]
    scope = max(scopes, key=len, default=None)
    return name if scope is None else renames[scope] + name[len(scope) :]


def _is_scope(name: str) -> bool:
    return name == "" or name.endswith("/")


def _applies(old: str, name: str) -> bool:
    return name == old or (_is_scope(old) and name.startswith(old))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
