"""What a user said by hand of how a checkpoint's names fit a model's: recorded with every result, and part of its key.

An adapter that lets its user say so has an attribute `by_hand`; `restore.py` follows it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from milepost.core.types import Array, Json
from milepost.errors import UsageError


@dataclass(frozen=True, slots=True)
class ByHand:
    """Renames, variables that keep what they were built with, and tensors that the model has no use for.

    `renames` lead from a checkpoint's name to the variable's; where both end in "/", or one does and the other is "",
    from everything below one scope to another.  `keep` and `ignore` are names or glob patterns: of variables that are
    not restored, whatever the checkpoint holds, and of tensors of the checkpoint.  `built` gives the kept values.

    >>> by_hand = ByHand({"old/": "new/", "w": "dense/kernel"}, ignore=("Aux/*",))
    >>> by_hand.renamed(["old/b", "w", "Aux/w", "c"])
    {'old/b': 'new/b', 'w': 'dense/kernel', 'c': 'c'}
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    built: Callable[[Sequence[str]], Mapping[str, Array]] | None = None

    def __post_init__(self) -> None:
        """Refuse renames that are none."""
        for old, new in self.renames.items():
            if not (isinstance(old, str) and isinstance(new, str)) or _is_scope(old) != _is_scope(new) or old == new:
                raise UsageError(
                    f"restore={{{old!r}: {new!r}}}: expected a checkpoint's name and a variable's, or two scopes that "
                    "end in '/' (or are '', the top)"
                )

    @classmethod
    def of(
        cls,
        restore: Mapping[str, str] | None,
        keep: Iterable[str],
        ignore: Iterable[str],
        built: Callable[[Sequence[str]], Mapping[str, Array]],
    ) -> Self:
        """Take what a user handed to an adapter; UsageError for what is no name or pattern."""
        for said, names in (("keep", keep), ("ignore", ignore)):
            if isinstance(names, str):
                raise UsageError(f"{said} is a list of names or patterns; found the text {names!r}: write [{names!r}]")
        return cls(dict(restore or {}), tuple(keep), tuple(ignore), built)

    def __bool__(self) -> bool:
        """Tell whether anything was said."""
        return bool(self.renames or self.keep or self.ignore)

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """Return the model's name for each of a checkpoint's; ignored ones are left out."""
        return {name: self._renamed(name) for name in names if not _matches(name, self.ignore)}

    def kept(self, names: Iterable[str]) -> set[str]:
        """Return which of these variables keep what they were built with."""
        return {name for name in names if _matches(name, self.keep)}

    def idle(self, names: Iterable[str]) -> list[str]:
        """Return the renames that none of a checkpoint's names meets."""
        there = list(names)
        return [old for old in self.renames if not any(_meets(name, old) for name in there)]

    def spec(self) -> dict[str, Json]:
        """Return what was said, as plain data.

        >>> ByHand(keep=("logits/*",)).spec()
        {'keep': ['logits/*']}
        """
        told: dict[str, Json] = {
            "restore": dict(self.renames),
            "keep": sorted(self.keep),
            "ignore": sorted(self.ignore),
        }
        return {key: value for key, value in told.items() if value}

    def _renamed(self, name: str) -> str:
        if name in self.renames:
            return self.renames[name]
        # The longest scope is the nearest.
        scopes = [old for old in self.renames if _is_scope(old) and name.startswith(old)]
        scope = max(scopes, key=len, default=None)
        return name if scope is None else self.renames[scope] + name[len(scope) :]


def _is_scope(name: str) -> bool:
    return name == "" or name.endswith("/")


def _meets(name: str, old: str) -> bool:
    return name == old or (_is_scope(old) and name.startswith(old))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
