"""The model check: on the first real batch, before any number of the model is believed.

The same batch is predicted twice, and once in halves.  Where the scores differ by more than a thousandth of their
spread (in halves, of a model that computes in few bits, by more than some of its rounding steps), the model is refused
with the cause, which an adapter may be able to name, or else with the usual one.  Scores that differ by less are the
frameworks' rounding: the largest difference is recorded with the results.  (If no score differs by more
than d, a rank can differ only where two scores lie within 2 d of each other, so that ranks need no test of their own.)
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from milepost._internal.text import listed
from milepost.core.types import Array
from milepost.errors import StochasticModel

TOLERANCE = 1e-3
"""Largest difference between two predictions of a row, as a share of the scores' spread."""

_STEPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float8_e4m3fn": 2.0**-4, "float8_e5m2": 2.0**-3}
_MANY_STEPS = 4
"""Rounding steps of the largest score by which kernels for other batch sizes may differ: each rounds its own sums."""

_CHANCE = (
    "is dropout left on, noise drawn in the model's forward pass, or something kept there from one call to the next?"
)
_NEIGHBOURS = "is batch normalisation in training mode, or is something computed over the rows of a batch?"


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What the check measured: differences in units of the scores.  `halves` is None where there was only one row."""

    rows: int
    spread: float
    repeat: float
    halves: float | None
    constant: bool

    @property
    def max_difference(self) -> float:
        """The largest difference between two predictions of one row."""
        return max(self.repeat, self.halves or 0.0)

    def plain(self) -> dict[str, Any]:
        """Return plain data for the record."""
        return {"max_difference": self.max_difference, **asdict(self)}


def check_model(
    first: Array,
    predict: Callable[[Any], Array],
    inputs: Any,
    *,
    halves: bool = True,
    step: float = 0.0,
    suspects: Callable[[], Sequence[str]] | None = None,
) -> ModelCheck:
    """Compare the first prediction's scores [rows, ...] with a second one's, and with those of two halves.

    `predict` gives the scores of inputs as float64; `step` is the model's relative rounding step where it computes in
    few bits (`rounding_step`); `suspects` names what in the model could be the cause.  Raises StochasticModel.
    """
    rows = len(first)
    finite = first[np.isfinite(first)]
    spread = float(finite.max() - finite.min()) if finite.size else 0.0
    allowed = max(TOLERANCE * spread, _MANY_STEPS * step * float(np.abs(finite).max(initial=0.0)))
    repeat = _difference(first, predict(inputs))
    if repeat > TOLERANCE * spread:  # the same batch through the same kernels: no rounding differs
        raise StochasticModel(
            f"two predictions of the same {rows} rows differ by {repeat:.3g} (the scores span {spread:.3g}; expected "
            f"at most a thousandth of it): {_cause(suspects, _CHANCE)}"
        )
    apart = None
    if halves and rows > 1:
        middle = rows // 2
        both = [predict(slice_rows(inputs, 0, middle)), predict(slice_rows(inputs, middle, rows))]
        apart = _difference(first, np.concatenate(both))
        if apart > allowed:
            raise StochasticModel(
                f"rows predicted in halves of a batch differ by {apart:.3g} from the same rows in one batch (the "
                f"scores span {spread:.3g}; expected at most {allowed:.3g}): a row's prediction depends on its "
                f"neighbours: {_cause(suspects, _NEIGHBOURS)}"
            )
    return ModelCheck(rows, spread, repeat, apart, constant=rows > 1 and bool((first == first[:1]).all()))


def rounding_step(outputs: Any, declared: Mapping[str, Any]) -> float:
    """Return the relative rounding step of a model of few bits, by its outputs' dtypes and what its adapter declares.

    0.0 for float32 and wider.

    >>> rounding_step(np.zeros(3, np.float16), {}), rounding_step(np.zeros(3), {"autocast": "bfloat16"})
    (0.00048828125, 0.00390625)
    """
    arrays = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    names = [str(getattr(item, "dtype", "")).rsplit(".", 1)[-1] for item in arrays]
    return max(_STEPS.get(str(name), 0.0) for name in [*names, *declared.values(), ""])


_SHOWN = 3
"""Causes that a refusal names: a network has its dropout, or its normalisation, in every layer."""


def _cause(suspects: Callable[[], Sequence[str]] | None, usual: str) -> str:
    """Return the causes that the model's adapter names, else the usual one as a question."""
    named: Sequence[str] = ()
    if suspects is not None:
        with suppress(Exception):  # the refusal stands, whatever goes wrong in the search for its cause
            named = suspects()
    return listed(named, _SHOWN, "; ") or usual


def slice_rows(inputs: Any, start: int, stop: int) -> Any:
    """Return rows of an array, or of every array of a dict.

    >>> slice_rows({"x": np.arange(4)}, 1, 3)
    {'x': array([1, 2])}
    """
    if isinstance(inputs, Mapping):
        return {name: item[start:stop] for name, item in inputs.items()}
    return inputs[start:stop]


def _difference(first: Array, second: Array) -> float:
    """Return the largest absolute difference; infinite where shapes or the places of NaN and infinities differ."""
    if first.shape != second.shape:
        return float("inf")
    fine = np.isfinite(first)
    if not np.array_equal(first[~fine], second[~fine], equal_nan=True):
        return float("inf")
    gaps = np.abs(first[fine] - second[fine])
    return float(gaps.max(initial=0.0)) if np.isfinite(gaps).all() else float("inf")
