"""Classification: one label out of C classes an example, scored by a row of C numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import array_api_compat
import numpy as np

from milepost.core.types import Array, Column
from milepost.errors import DataError
from milepost.tasks._among import checked_among, narrowed
from milepost.tasks._label_forms import class_numbers
from milepost.tasks._outputs import host, matrix, near, refuse_several, tolerance

NONFINITE_RANK = np.iinfo(np.int32).max
"""The rank of a non-finite row: behind every class, so that it is wrong for every k."""

_HOLDABLE = 1 << 26
"""Bytes of a batch of scores up to which a copy of it may wait to be reduced beside the next prediction."""

_FEW = 100
"""Of fewer classes, NumPy finds the second highest score faster along the rows of a transposed copy."""

_LARGEST = float(np.finfo(np.float32).max)

_SCORED = ("nll", "uniform_nll", "confidence", "squared_error")
_ALWAYS = ("rank", "ties", "prediction", "finite", "margin", "scale")
_DTYPES = {"rank": "int32", "above": "int32", "ties": "int32", "prediction": "int32", "finite": "uint8"}
_HELD = {
    "rank": "classes with a higher score, plus equal ones at a lower index; 2**31-1 where non-finite",
    "above": "classes with a higher score than the label's; 2**31-1 where non-finite",
    "ties": "other classes whose score equals the label's",
    "prediction": "the class of rank 0; -1 where non-finite",
    "finite": "0 non-finite (NaN, +inf, or -inf everywhere), 1 finite, 2 some -inf among finite scores",
    "margin": (
        "the highest score minus the next, at most 3.4e38; 0 where they tie, +inf where the next is -inf, NaN where "
        "non-finite"
    ),
    "scale": "the largest finite |score|: the unit of the row's rounding; NaN where non-finite",
    "nll": (
        "negative log-likelihood of the label in nats, at most 3.4e38 (float32's largest); +inf where the probability "
        "is 0 or the logit -inf; NaN where non-finite"
    ),
    "uniform_nll": (
        "mean over classes of -log(probability) in nats, at most 3.4e38; +inf where any probability is 0 or any logit "
        "-inf; NaN where non-finite"
    ),
    "confidence": "probability of the prediction; NaN where non-finite",
    "squared_error": "sum over classes of (probability - one-hot)^2; NaN where non-finite",
}
_COLUMNS = tuple(Column(name, _DTYPES.get(name, "float32"), doc, always=name in _ALWAYS) for name, doc in _HELD.items())


@dataclass(frozen=True, slots=True)
class Classification:
    """Reduce scores [rows, classes] of any real dtype and integer labels [rows] to columns, one row an example.

    Labels may also be one-hot: [rows, classes] of any real dtype, each row with one 1 among 0; or integers [rows, 1].

    `outputs` declares what the scores are: "logits" (any real numbers, softmax gives probabilities), "probabilities"
    (each row sums to 1 within 1e-4, in 16 bits within 1e-2; `normalize=True` divides each row by its sum instead), or
    "scores" (only their order counts).  A model may return a dict with an output of that name.
    `among=[6, 11, ...]` takes only these outputs, as evaluations of a model on a subset of its classes do (ImageNet-A,
    -R): whatever else scores higher does not count, and probabilities are those among them (the softmax of their
    logits; declared ones are divided by their sum).  Labels and predictions keep the model's numbers: where the data
    numbers the classes 0, 1, 2, ... as `among` lists them, give it `label_map=dict(enumerate(among))`.

    Rank is exact in the scores' own dtype: it agrees with argmax, and a constant row ranks its label by class index.
    Probabilities are computed in float64 and kept as float32.

    Raises DataError for labels that are no class of the outputs or not in `among`, and for probabilities that are none.

    >>> task = Classification(outputs="logits")
    >>> task.reduce(np.array([[1.0, 3.0, 3.0]]), np.array([2]), frozenset({"rank", "ties"}))
    {'rank': array([1], dtype=int32), 'ties': array([1], dtype=int32)}
    >>> task = Classification(outputs="logits", among=[0, 2])
    >>> task.reduce(np.array([[1.0, 9.0, 3.0]]), np.array([2]), frozenset({"rank", "prediction"}))
    {'rank': array([0], dtype=int32), 'prediction': array([2], dtype=int32)}
    """

    outputs: Literal["logits", "probabilities", "scores"]
    normalize: bool = False
    among: Sequence[int] | None = field(default=None, metadata={"spec": "set"})
    name: ClassVar[str] = "classification"
    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, str | bool], ...]] = ({"outputs": "probabilities", "normalize": True},)

    def __post_init__(self) -> None:
        if self.outputs not in ("logits", "probabilities", "scores"):
            raise DataError(
                f"Classification(outputs={self.outputs!r}): expected 'logits', 'probabilities' or 'scores'; "
                "Milepost never guesses which one the model gives"
            )
        if not isinstance(self.normalize, bool) or (self.normalize and self.outputs != "probabilities"):
            raise DataError(
                f"Classification(outputs={self.outputs!r}, normalize={self.normalize!r}): expected True or False, and "
                "True for probabilities only"
            )
        if self.among is not None:
            object.__setattr__(self, "among", checked_among(self.among))

    def columns(self) -> Mapping[str, Column]:
        """Return the columns that can be computed; "scores" have no probabilities."""
        return {item.name: item for item in _COLUMNS if self.outputs != "scores" or item.name not in _SCORED}

    def scores(self, outputs: Any) -> Array:
        """Return the scores as a NumPy array [rows, classes] of float64, for comparisons between predictions."""
        return host(matrix(self._picked(outputs), self.outputs)).astype(np.float64)

    def hold(self, outputs: Any, labels: Array) -> Array | None:
        """Return a copy of outputs that may wait, since no row depends on another; None if too large, or elsewhere.

        A copy, since a model may use one array for the outputs of all batches.
        """
        scores = near(self._picked(outputs))
        if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu" or scores.nbytes > _HOLDABLE:
            return None
        fits = scores.ndim == 2 and labels.shape[:1] == scores.shape[:1]  # noqa: PLR2004 - rows and classes
        return scores.copy() if fits else None

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        """Compute the wanted columns as NumPy arrays [rows]; the scores stay where they are."""
        picked = self._picked(outputs)
        scores = near(matrix(picked, self.outputs))
        xp = array_api_compat.array_namespace(scores)
        labels = _checked_labels(labels, scores.shape)
        within = None if self.normalize else tolerance(picked)
        if self.among is not None:
            if self.outputs == "probabilities":
                _shares(xp, scores, within)  # of all classes they sum to 1
            scores, labels = narrowed(xp, scores, labels, self.among)
            within = None
        there = xp.asarray(np.asarray(labels, np.int64), device=array_api_compat.device(scores))[:, None]
        best = xp.argmax(scores, axis=1)
        # Non-finite rows are marked below, not warned of; what float32 cannot hold is infinite.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            columns, fine = _order_columns(xp, scores, there, best)
            if "margin" in wanted:
                columns["margin"] = _margin(xp, scores, best[:, None])
            if self.outputs == "logits" and wanted & set(_SCORED):
                columns |= _softmax(xp, scores, there, best[:, None], wanted)
            elif self.outputs == "probabilities":
                shares = _shares(xp, scores, within)
                columns |= _declared(xp, shares, there, best[:, None], wanted) if wanted & set(_SCORED) else {}
            made = {name: host(item) for name, item in columns.items() if name in wanted}
            if self.among is not None and "prediction" in made:
                made["prediction"] = np.take(np.array(self.among), made["prediction"])
            return _mark_nonfinite(made, host(fine))

    def label_column(self, labels: Array) -> Array:
        """Return class numbers [rows] of a batch's labels, which may be one-hot."""
        return class_numbers(labels)

    def sample(self, random: np.random.Generator, rows: int) -> tuple[Array, Array]:
        """Make up outputs [rows, 7] and labels that try every case: ties, constant rows, -inf, and non-finite rows."""
        scores = random.integers(-16, 17, (rows, 7)) / 4.0  # quarters: exact in every float dtype, and often tied
        scores *= random.choice([0.0, 1.0, 4.0], (rows, 1), p=[0.1, 0.6, 0.3])
        odd = random.choice([np.nan, np.inf, -np.inf, 0.0], rows, p=[0.02, 0.02, 0.1, 0.86])
        scores[np.arange(rows), random.integers(0, 7, rows)] += odd
        if self.outputs == "probabilities":
            with np.errstate(invalid="ignore"):
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                scores = shares / shares.sum(axis=1, keepdims=True)
        return scores, random.integers(0, 7, rows)

    def _picked(self, outputs: Any) -> Any:
        """Return the declared outputs: of a dict, the entry of that name."""
        if not isinstance(outputs, Mapping):
            refuse_several(outputs, self.outputs)
            return outputs
        if self.outputs not in outputs:
            raise DataError(
                f"Classification(outputs={self.outputs!r}) expects an output named {self.outputs!r}; the model "
                f"returned {', '.join(map(repr, outputs))}: rename one, or return the scores alone"
            )
        refuse_several(outputs[self.outputs], self.outputs)
        return outputs[self.outputs]


def _checked_labels(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return class numbers of labels in any form, seen to be classes of the outputs."""
    rows, classes = shape
    if labels.shape[:1] != (rows,):
        raise DataError(
            f"{rows} rows of outputs came with labels of shape {labels.shape}; expected ({rows},): the model must "
            "return one row of scores for each row of inputs, in their order"
        )
    width, labels = labels.shape[1] if labels.ndim > 1 else 1, class_numbers(labels)
    if width not in (1, classes):
        raise DataError(
            f"labels are one-hot over {width} classes, but the model has {classes} outputs; expected as many: if the "
            "labels lack classes of the model, pass labels.argmax(axis=1), with label_map= or label_offset= where the "
            "numbers differ"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers (class indices); their dtype is {labels.dtype}")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        raise DataError(
            f"label {int(labels[outside[0]])} is no class of a model with {classes} outputs (0 to {classes - 1}); "
            f"{outside.size} of {rows} labels of this batch are out of range: check the labels' offset"
        )
    return labels


def _order_columns(xp: Any, scores: Any, labels: Any, best: Any) -> tuple[dict[str, Any], Any]:
    """Columns that only the order of the scores decides, in the scores' own dtype; and which rows are usable."""
    own = xp.take_along_axis(scores, labels, axis=1)
    above = rank = xp.sum(scores > own, axis=1, dtype=xp.int32)
    ties = xp.zeros_like(above)
    equal = scores == own
    alone = bool(xp.all(own == own)) and int(xp.count_nonzero(equal)) == scores.shape[0]  # noqa: PLR0124 - NaN differs
    if not alone:
        ties = xp.sum(equal, axis=1, dtype=xp.int32) - 1
        before = xp.arange(scores.shape[1], device=array_api_compat.device(scores))[None, :] < labels
        rank = above + xp.sum(equal & before, axis=1, dtype=xp.int32)
    top = xp.take_along_axis(scores, best[:, None], axis=1)[:, 0]
    low = xp.min(scores, axis=1)
    if not xp.isdtype(scores.dtype, "real floating"):
        fine = xp.ones_like(best, dtype=xp.bool)
        finite = xp.astype(fine, xp.uint8)
    else:
        # The largest score is enough: argmax stops at a NaN, +inf is the largest, and -inf only where all are.
        fine = xp.isfinite(top)
        masked = low == -xp.inf
        finite = xp.astype(fine, xp.uint8) * (1 + xp.astype(masked, xp.uint8))
        if bool(xp.any(masked & fine)):
            low = xp.min(xp.where(scores == -xp.inf, top[:, None], scores), axis=1)
    columns = {"rank": rank, "above": above, "ties": ties, "prediction": xp.astype(best, xp.int32), "finite": finite}
    columns["scale"] = xp.maximum(xp.abs(xp.astype(top, xp.float64)), xp.abs(xp.astype(low, xp.float64)))
    return columns, fine


def _margin(xp: Any, scores: Any, best: Any) -> Any:
    """Subtract the second highest score from the highest, in float64, where no integers overflow."""
    lowest = -xp.inf if xp.isdtype(scores.dtype, "real floating") else xp.iinfo(scores.dtype).min
    if isinstance(scores, np.ndarray):
        axis = 0 if scores.shape[1] < _FEW else 1
        others, place = (scores.T.copy(), best.T) if axis == 0 else (scores.copy(), best)
        np.put_along_axis(others, place, lowest, axis=axis)
        second = others.max(axis=axis)
    else:
        device = array_api_compat.device(scores)
        classes = xp.arange(scores.shape[1], device=device)[None, :]
        others = xp.where(classes == best, xp.asarray(lowest, dtype=scores.dtype, device=device), scores)
        second = xp.max(others, axis=1)
    top = xp.take_along_axis(scores, best, axis=1)[:, 0]
    return _bounded(xp, xp.astype(top, xp.float64) - xp.astype(second, xp.float64), second > -xp.inf)


def _bounded(xp: Any, values: Any, finite: Any) -> Any:
    """Keep what comes of finite scores within float32: infinity stands for a score of -inf only."""
    return xp.where(finite & (values > _LARGEST), _LARGEST, values)


def _softmax(xp: Any, scores: Any, labels: Any, best: Any, wanted: frozenset[str]) -> dict[str, Any]:
    """Probabilities of logits.  The largest exponential is 1 exactly; the rest is summed to 1e-16.

    They are computed in float32 for scores of at most that (a quarter of the time), and always summed in float64.
    """
    wide = xp.astype(scores, _term_dtype(xp, scores.dtype), copy=False)
    top = xp.take_along_axis(wide, best, axis=1)
    exps = wide - top
    below = None
    if "uniform_nll" in wanted:  # minus the mean log-probability, up to the logarithm of the exponentials' sum
        gaps = xp.astype(top, xp.float64) - xp.astype(wide, xp.float64)
        below = _bounded(xp, xp.mean(gaps, axis=1), xp.min(wide, axis=1) > -xp.inf)
    exps = np.exp(exps, out=exps) if isinstance(exps, np.ndarray) else xp.exp(exps)  # saves a large array
    rest = xp.sum(exps, axis=1, dtype=xp.float64) - 1.0
    own = xp.take_along_axis(wide, labels, axis=1)
    gap = (xp.astype(top, xp.float64) - xp.astype(own, xp.float64))[:, 0]
    nll = _bounded(xp, gap + xp.log1p(rest), own[:, 0] > -xp.inf)
    columns = {"nll": nll, "confidence": 1.0 / (1.0 + rest)}
    if below is not None:
        columns["uniform_nll"] = xp.log1p(rest) + below
    if "squared_error" in wanted:
        share = exps / (1.0 + rest)[:, None]
        columns["squared_error"] = _squared_error(xp, share, xp.exp(-columns["nll"]))
    return columns


def _term_dtype(xp: Any, dtype: Any) -> Any:
    return xp.float32 if xp.isdtype(dtype, "real floating") and xp.finfo(dtype).bits <= 32 else xp.float64  # noqa: PLR2004


def _squared_error(xp: Any, shares: Any, own: Any) -> Any:
    """Sum (probability - one-hot)^2 over classes; what rounding leaves below 0 or above 2 is neither."""
    return xp.clip(xp.sum(shares * shares, axis=1) - 2.0 * own + 1.0, 0.0, 2.0)


def _shares(xp: Any, scores: Any, within: float | None) -> Any:
    """Return probabilities in float64: as given where a row sums to 1 `within` so much; None: divided by the sum.

    What is neither is refused, rows with NaN or +inf aside.
    """
    wide = xp.astype(scores, xp.float64)
    total, low = xp.sum(wide, axis=1), xp.min(wide, axis=1)
    wrong = (low < 0.0) | (total <= 0.0 if within is None else xp.abs(total - 1.0) > within)
    wrong = wrong & ~xp.isnan(total) & (total != xp.inf)
    if bool(xp.any(wrong)):
        row = int(xp.argmax(xp.astype(wrong, xp.uint8)))
        expected = "above 0" if within is None else f"of 1 within {within:g}"
        divide = "; if each row is to be divided by its sum, add normalize=True" if within and low[row] >= 0.0 else ""
        raise DataError(
            f"outputs are declared to be probabilities, but row {row} of a batch sums to {float(total[row]):.6g} with "
            f"smallest {float(low[row]):.6g}; expected numbers from 0 on with a sum {expected}: if the model gives "
            f'logits, or logarithms of probabilities, write Classification(outputs="logits"){divide}'
        )
    return wide if within is not None else wide / total[:, None]


def _declared(xp: Any, shares: Any, labels: Any, best: Any, wanted: frozenset[str]) -> dict[str, Any]:
    """Columns of probabilities; one that rounding leaves above 1 is 1."""
    own = xp.take_along_axis(shares, labels, axis=1)[:, 0]
    confidence = xp.take_along_axis(shares, best, axis=1)[:, 0]
    columns = {"nll": -xp.log(xp.clip(own, 0.0, 1.0)), "confidence": xp.clip(confidence, 0.0, 1.0)}
    if "uniform_nll" in wanted:
        columns["uniform_nll"] = -xp.mean(xp.log(shares), axis=1)
    if "squared_error" in wanted:
        columns["squared_error"] = _squared_error(xp, shares, own)
    return columns


_NONFINITE: dict[str, Any] = {"rank": NONFINITE_RANK, "above": NONFINITE_RANK, "ties": 0, "prediction": -1}


def _mark_nonfinite(columns: dict[str, Array], fine: Array) -> dict[str, Array]:
    """Put the columns into their declared dtypes, and mark rows that hold no usable scores."""
    dtypes = {item.name: item.dtype for item in _COLUMNS}
    made = {name: np.array(item, dtypes[name]) for name, item in columns.items()}
    if not fine.all():
        for name, item in made.items():
            if name != "finite":
                item[~fine] = _NONFINITE.get(name, np.nan)
    return made
