"""What a code check found: new code gives the outcomes of earlier code on so many of the rows, and what that bounds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, floor, log10
from typing import Self

from milepost._internal.text import counted
from milepost.core.types import Json


@dataclass(frozen=True, slots=True)
class CodeEquivalence:
    """Both codes gave the same outcomes on `sampled` rows, drawn at random from `rows`, of each of some checkpoints.

    `may_differ` is how many of the rows may differ at most, at the `level` (`stats.hypergeometric`); `checkpoints` are
    names.
    """

    sampled: int
    rows: int
    may_differ: int
    level: float
    checkpoints: tuple[str, ...]

    def plain(self) -> dict[str, Json]:
        """Return plain data, as `of` takes it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Json]) -> Self:
        """Return what plain data says; KeyError where it says less."""
        names = tuple(str(name) for name in plain["checkpoints"])
        return cls(plain["sampled"], plain["rows"], plain["may_differ"], plain["level"], names)

    @property
    def share(self) -> float:
        """The share of the rows that may differ at most."""
        return self.may_differ / self.rows

    def bound(self) -> str:
        """Return the bound in words.

        >>> CodeEquivalence(1024, 10_000, 27, 0.95, ("step-9",)).bound()
        'up to 0.27 % of the rows may differ (95 %)'
        """
        if not self.may_differ:
            return "other checkpoints were not checked"
        return f"up to {_percent(self.share)} of the rows may differ ({self.level:.0%})".replace("%)", " %)")

    def check(self) -> str:
        """Return in words what was checked.

        >>> CodeEquivalence(1024, 10_000, 27, 0.95, ("step-9", "step-1")).check()
        'a code check of 1,024 of 10,000 rows, drawn at random, of step-9 and step-1'
        """
        names = " and ".join(self.checkpoints)
        if self.sampled == self.rows:
            return f"a code check of all {counted(self.rows, 'row')} of {names}"
        return f"a code check of {self.sampled:,} of {self.rows:,} rows, drawn at random, of {names}"

    def __str__(self) -> str:
        # Of all rows the check itself says what holds.
        bound = f", so that {self.bound()}" if self.may_differ else f" ({self.bound()})"
        return f"made by earlier code: {self.check()} finds the same outcomes of both codes{bound}"


def _percent(share: float) -> str:
    """Return a share as per cent, two digits, rounded up: it is a bound.

    >>> _percent(0.00271), _percent(0.12), _percent(0.0292), _percent(1.0)
    ('0.28 %', '12 %', '3 %', '100 %')
    """
    step = 10.0 ** (floor(log10(share * 100)) - 1)
    return f"{ceil(round(share * 100 / step, 9)) * step:.6g} %"
