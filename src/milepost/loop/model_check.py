"""The model check: no number of a checkpoint is believed before rows that are predicted again give the same scores.

The full check predicts a batch twice, and once in halves.  The same batch goes through the same kernels: it must come
back within some rounding steps of each row's scale.  Of batches of another size, whose kernels round otherwise, a
thousandth of the scores' spread is allowed, or some rounding steps of a model that computes in few bits.  A larger
difference refuses the checkpoint with the cause, which an adapter may be able to name, or else with the usual one.

The light check is for checkpoints behind one that passed the full check: some of the batch's rows are predicted again
in a smaller batch, where what chance or other rows change shows as well.  Of it four times as much is allowed.

Neither proves anything of a checkpoint that gives all rows the same scores, as one whose last layer is zero does: it
shows nothing of what happens before.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from milepost._internal.text import listed
from milepost.core.types import Array
from milepost.errors import StochasticModel
from milepost.loop.rounding import FLOAT32_STEP, relative_differences

REPEAT_STEPS = 64
"""float32 steps of a row's scale by which the same batch may differ: sums in no fixed order (scatter-adds) take 37."""

TOLERANCE = 1e-3
"""Largest difference between rows in batches of other sizes, as a share of the scores' spread."""

_STEPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float8_e4m3fn": 2.0**-4, "float8_e5m2": 2.0**-3}
_MANY_STEPS = 4
"""Rounding steps of the largest score by which kernels for other batch sizes may differ: each rounds its own sums."""

_PROVING = 1e-2
"""The share of their spread by which scores must vary from row to row: ten times what the full check would overlook."""

_LIGHT_ROWS, _LIGHT_SHARE = 32, 16
"""A light check predicts so many rows, or this part of a smaller batch: from 10 rows on a fifth of its time at most."""

_LIGHT_SLACK = 4
"""A few rows take other kernels in every layer, as the halves of a batch seldom do: so many times more is allowed."""

_CHANCE = (
    "is dropout left on, noise drawn in the model's forward pass, or something kept there from one call to the next?"
)
_NEIGHBOURS = "is batch normalisation in training mode, or is something computed over the rows of a batch?"


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What a check measured: differences in units of the scores, `relative` in those of each row's scale.

    Of a batch whose scores span `spread`, and vary by up to `variation` from row to row, `rows` were predicted again.
    `repeat` is the difference between two predictions of the same batch, `company` that beside other rows: in halves,
    or (`kind` "light") in a smaller batch.  None for what was not tried.  `resized` counts the rows that were predicted
    in batches of another size.
    """

    kind: Literal["full", "light"]
    rows: int
    spread: float
    variation: float
    repeat: float | None
    company: float | None
    relative: float
    resized: int = 0

    @property
    def max_difference(self) -> float:
        """The largest difference between two predictions of one row."""
        return max(self.repeat or 0.0, self.company or 0.0)

    @property
    def constant(self) -> bool:
        """Whether all of several rows have the same scores."""
        return self.rows > 1 and self.variation == 0.0

    @property
    def proves(self) -> bool:
        """Whether the scores vary so much from row to row that chance, or other rows, would have shown in them."""
        return self.variation > 0.0 and self.variation >= _PROVING * self.spread

    def plain(self) -> dict[str, Any]:
        """Return plain data for the record."""
        derived = {"max_difference": self.max_difference, "constant": self.constant, "proves": self.proves}
        return {**asdict(self), **derived}


@dataclass(frozen=True, slots=True)
class Predicted:
    """What is checked: the scores of a batch of inputs, and the function that predicts scores as float64 [rows, ...].

    `step` is the model's relative rounding step where it computes in few bits (`rounding_step`).  A model of which
    `one_size` is true is given whole batches only.  `suspects` names what in the model could cause a difference.
    """

    first: Array
    predict: Callable[[Any], Array]
    inputs: Any
    step: float = 0.0
    one_size: bool = False
    suspects: Callable[[], Sequence[str]] | None = None


def full_check(given: Predicted) -> ModelCheck:
    """Predict a batch again, whole and in halves; raises StochasticModel where rows get other scores."""
    rows, bounds = len(given.first), _Bounds.of(given)
    repeat = _difference(given.first, given.predict(given.inputs))
    if expected := bounds.broken(repeat, same_size=True):
        raise StochasticModel(
            f"two predictions of the same {rows} rows differ by {repeat.largest:.3g} (the scores span "
            f"{bounds.spread:.3g}; expected {expected}): {_cause(given, _CHANCE)}"
        )
    company = _halves(given) if rows > 1 else None
    if company is not None and (expected := bounds.broken(company, same_size=False)):
        raise StochasticModel(
            f"rows predicted in halves of a batch differ by {company.largest:.3g} from the same rows in one batch (the "
            f"scores span {bounds.spread:.3g}; expected {expected}): a row's prediction depends on its neighbours: "
            f"{_cause(given, _NEIGHBOURS)}"
        )
    relative = max(repeat.relative, 0.0 if company is None else company.relative)
    apart = None if company is None else company.largest
    resized = 0 if company is None or given.one_size else rows
    return ModelCheck("full", rows, bounds.spread, bounds.variation, repeat.largest, apart, relative, resized)


def light_check(given: Predicted) -> ModelCheck:
    """Predict some rows of a batch again, beside other rows; raises StochasticModel where they get other scores."""
    whole, bounds = len(given.first), _Bounds.of(given, _LIGHT_SLACK)
    rows = min(whole, _LIGHT_ROWS, max(2, whole // _LIGHT_SHARE))
    same_size = given.one_size or rows == whole
    found: _Difference | None = None
    if not same_size:
        found = _difference(given.first[-rows:], given.predict(slice_rows(given.inputs, whole - rows, whole)))
    elif whole > 1:
        rows, found = whole // 2, _beside_itself(given)
    if found is None:
        rows, found = whole, _difference(given.first, given.predict(given.inputs))
    if expected := bounds.broken(found, same_size=same_size):
        raise StochasticModel(
            f"{rows} rows differ by {found.largest:.3g} where they are predicted again, beside other rows of the batch "
            f"(the scores span {bounds.spread:.3g}; expected {expected}): a row's prediction depends on chance or on "
            f"its neighbours: {_cause(given, f'{_CHANCE} Or {_NEIGHBOURS}')}"
        )
    resized = 0 if same_size else rows
    return ModelCheck("light", rows, bounds.spread, bounds.variation, None, found.largest, found.relative, resized)


def rounding_step(outputs: Any, declared: Mapping[str, Any]) -> float:
    """Return the relative rounding step of a model of few bits, by its outputs' dtypes and what its adapter declares.

    0.0 for float32 and wider.

    >>> rounding_step(np.zeros(3, np.float16), {}), rounding_step(np.zeros(3), {"autocast": "bfloat16"})
    (0.00048828125, 0.00390625)
    """
    arrays = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    names = [str(getattr(item, "dtype", "")).rsplit(".", 1)[-1] for item in arrays]
    return max(_STEPS.get(str(name), 0.0) for name in [*names, *declared.values(), ""])


def slice_rows(inputs: Any, start: int, stop: int) -> Any:
    """Return rows of an array, or of every array of a dict.

    >>> slice_rows({"x": np.arange(4)}, 1, 3)
    {'x': array([1, 2])}
    """
    if isinstance(inputs, Mapping):
        return {name: item[start:stop] for name, item in inputs.items()}
    return inputs[start:stop]


class _Difference(NamedTuple):
    """The largest difference between two predictions: in units of the scores, and of each row's scale."""

    largest: float
    relative: float


def _difference(one: Array, two: Array) -> _Difference:
    """Compare two predictions; infinite where shapes differ, or the places of NaN and infinities."""
    relative = float(relative_differences(one, two).max(initial=0.0))
    if relative == np.inf:
        return _Difference(np.inf, np.inf)
    fine = np.isfinite(one)
    return _Difference(float(np.abs(one[fine] - two[fine]).max(initial=0.0)), relative)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How far the scores of a batch lie apart, and by how much they may differ when they are predicted again."""

    spread: float
    variation: float
    allowed: float
    repeated: float

    @classmethod
    def of(cls, given: Predicted, slack: int = 1) -> "_Bounds":
        fine = np.isfinite(given.first)
        plain = bool(fine.all())
        highest = (given.first if plain else np.where(fine, given.first, -np.inf)).max(axis=0)
        lowest = (given.first if plain else np.where(fine, given.first, np.inf)).min(axis=0)
        known = highest >= lowest  # where any row has a finite score
        high, low = highest[known], lowest[known]
        spread = float(high.max() - low.min()) if high.size else 0.0
        variation = float((high - low).max(initial=0.0))
        largest = float(max(np.abs(high).max(initial=0.0), np.abs(low).max(initial=0.0)))
        allowed = slack * max(TOLERANCE * spread, _MANY_STEPS * given.step * largest)
        # The same sums, rounded to few bits, may come to lie one step apart, which is up to twice the relative one.
        return cls(spread, variation, allowed, REPEAT_STEPS * FLOAT32_STEP + 2 * given.step)

    def broken(self, found: _Difference, *, same_size: bool) -> str:
        """Return what was expected of a difference that is too large, "" of any other."""
        if same_size:
            return f"at most {self.repeated:.2g} of the row's largest score" if found.relative > self.repeated else ""
        return f"at most {self.allowed:.3g}" if found.largest > self.allowed else ""


def _halves(given: Predicted) -> _Difference | None:
    """Predict a batch in halves, or one that must be whole by its first half beside itself."""
    if given.one_size:
        return _beside_itself(given)
    rows = len(given.first)
    cuts = (0, rows // 2, rows)
    halves = [given.predict(slice_rows(given.inputs, *cut)) for cut in pairwise(cuts)]
    return _difference(given.first, np.concatenate(halves))


def _beside_itself(given: Predicted) -> _Difference | None:
    """Predict the first half of a batch twice in a batch of the same size; None where its rows cannot be picked."""
    half = len(given.first) // 2
    rows = np.arange(len(given.first)) % half
    named = given.inputs if isinstance(given.inputs, Mapping) else {"": given.inputs}
    if not all(isinstance(item, np.ndarray) for item in named.values()):
        return None
    twice = {name: item[rows] for name, item in named.items()} if named is given.inputs else given.inputs[rows]
    return _difference(given.first[:half], given.predict(twice)[:half])


_SHOWN = 3
"""Causes that a refusal names: a network has its dropout, or its normalisation, in every layer."""


def _cause(given: Predicted, usual: str) -> str:
    """Return the causes that the model's adapter names, else the usual one as a question."""
    named: Sequence[str] = ()
    if given.suspects is not None:
        with suppress(Exception):  # the refusal stands, whatever goes wrong in the search for its cause
            named = given.suspects()
    return listed(named, _SHOWN, "; ") or usual
