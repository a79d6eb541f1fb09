"""How far the difference of two checkpoints may be off, and whether it can be chance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from milepost.core.types import Array
from milepost.report._paired import Paired
from milepost.stats.clustered import Spread
from milepost.stats.interval import Interval
from milepost.stats.mcnemar import mcnemar_exact, mcnemar_mid_p
from milepost.stats.paired import paired_mean, share_error, tango
from milepost.stats.sample import FEW_UNITS

Rows = tuple[Array, Array, Array | None, Array | None]
"""What rows contribute to A and to B, their weights, and the numbers of their groups."""


@dataclass(frozen=True, slots=True)
class Certainty:
    """What a difference's error is, with p-values by the test's name; `why` says what is not there."""

    standard_error: float | None = None
    interval: Interval | None = None
    p_values: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


def certainty_of(
    found: Paired, rows: Iterable[Rows], difference: float | None, *, higher: bool, grouped: bool
) -> Certainty:
    """Test a difference: right and wrong rows that are independent are counted, other rows take the paired t test."""
    if found.boolean and found.weight is None and not grouped:
        apart = found.only_a, found.only_b
        p_values = {"McNemar exact": mcnemar_exact(*apart), "McNemar mid-p": mcnemar_mid_p(*apart)}
        interval = tango(*(apart if higher else apart[::-1]), found.n)
        return Certainty(share_error(*apart, found.n) if found.n > 1 else None, interval, p_values)
    if difference is None or not np.isfinite(difference):
        return Certainty(why="no test: the difference is no finite number")
    spread = _spread(rows)
    if spread is None or spread.effective_units < FEW_UNITS:
        few = 0.0 if spread is None else spread.effective_units
        units = "groups" if grouped else "rows"
        return Certainty(why=f"no test: too few {units} ({few:.3g} effective; {FEW_UNITS} are needed)")
    tested = paired_mean(difference, spread)
    if tested.p_value is None:
        return Certainty(why="no test: the difference is the same on every row")
    return Certainty(tested.standard_error, tested.interval, {"paired t": tested.p_value})


def _spread(rows: Iterable[Rows]) -> Spread | None:
    """Return the spread of the row-wise differences, of rows with a number in both; None for fewer than two units."""
    differences, weights, groups = [], [], []
    for one, two, weight, group in rows:
        away = one.astype(np.float64) - two.astype(np.float64)
        fine = ~np.isnan(away)
        differences.append(away[fine])
        weights.append(None if weight is None else weight[fine])
        groups.append(None if group is None else group[fine])
    values, weight, group = (_joined(parts) for parts in (differences, weights, groups))
    if values is None or len(values if group is None else np.unique(group)) < 2:  # noqa: PLR2004 - one has no spread
        return None
    numbers = None if group is None else np.unique(group, return_inverse=True)[1]
    return Spread.of(values, weight, numbers)


def _joined(parts: "list[Array] | list[Array | None]") -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
