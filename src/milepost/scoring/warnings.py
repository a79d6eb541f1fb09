"""Warnings: numbers that deserve a word, as sentences by kind, from what a store has kept of an evaluation.

They stand beside the values of its records, so that they can be shown again without the model.  No warning guesses what
is right: it says what was counted, and what to declare if that is not meant.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milepost._internal.text import listed
from milepost.core.capabilities import capability
from milepost.core.protocols import Metric, TrivialForFew
from milepost.core.types import Array, Json
from milepost.scoring.columns import CHUNK, GROUP_NUMBER, Scored
from milepost.stats.agreement import Agreement, agreement, renaming

Warnings = dict[str, str]

_TIED = 0.05
"""Share of rows from which on ties at the top decide too many predictions."""

_FAR = 0.75
"""Agreement is far below chance where it is rarer than one in a million, and less than this share of chance's."""

_EXPLAINS = 0.4
"""A renaming of classes explains predictions from this kappa on, if that is more than twice the labels' own."""

_WELL = 0.5
"""From this kappa on none is twice as large."""

_MOST_CLASSES = 1 << 20
"""Where the number of outputs is not on record."""

_ALIKE = 0.1
"""A shift by one is said before a renaming that fits by no more than this better."""

_UNSEEN = 1e-3
"""Classes are missing, not unseen by chance, where equally frequent ones would all be unseen with less than this."""

_NEAR = 1e-2
_PROBABLE = frozenset({"nll", "uniform_nll", "confidence", "squared_error"})
_SHOWN = 3


def warnings_of(scored: Scored, metrics: Sequence[Metric]) -> dict[str, Warnings]:
    """Return what there is to say of each metric's values, by the metric's headline."""
    noted = (item.get("outputs") for item in scored.outcomes.environments())
    outputs: Mapping[str, Json] = next(filter(None, noted), {})
    shape: Sequence[int] = outputs.get("shape") or ()
    classes = int(shape[0]) if len(shape) == 1 else None
    general = {**_of_predictions(scored, classes), **_of_classes(scored, classes), **_of_outputs(scored, outputs)}
    return {metric.headline: general | _of_metric(metric, classes) for metric in metrics}


def _of_metric(metric: Metric, classes: int | None) -> Warnings:
    bounded = capability(metric, TrivialForFew)
    text = None if bounded is None or classes is None else bounded.trivial(classes)
    return {} if text is None else {"trivial": text}


def _of_outputs(scored: Scored, outputs: Mapping[str, Json]) -> Warnings:
    """Warn of logits that look like probabilities, where a column is computed from them; the reverse is refused."""
    sums = outputs.get("sums")
    if scored.task.get("outputs") != "logits" or not sums or not _PROBABLE & set(scored.outcomes.names):
        return {}
    low, high = sums
    if outputs["rows"] < 2 or outputs["least"] < 0.0 or low < 1.0 - _NEAR or high > 1.0 + _NEAR:  # noqa: PLR2004
        return {}
    return {
        # No number of the batch: a pass that is resumed begins with another one, and its records are to be the same.
        "probabilities": "outputs are declared to be logits, but look like probabilities: the rows of a whole batch "
        "have no number below 0 and sum to 1, so that softmax is taken twice; write "
        'Classification(outputs="probabilities")'
    }


# ------------------------------------------------------------------------------------------------------------- classes


def _of_classes(scored: Scored, outputs: int | None) -> Warnings:
    """Warn of labels that fill 0 to m - 1 where the model has another number of outputs."""
    described, fingerprint = scored.about.get("described") or {}, scored.about.get("fingerprint") or {}
    numbered = described.get("numbered")
    if outputs is None or numbered == "mapping" or "label_map" in fingerprint or not _has(scored, "label"):
        return {}
    if not all(_are_classes(labels, outputs) for labels in _column(scored, "label")):
        return {}
    seen = {label for labels in _column(scored, "label") for label in np.flatnonzero(np.bincount(labels)).tolist()}
    names = {int(label): str(name) for label, name in (described.get("classes") or {}).items()}
    numbers = sorted(names.keys() | seen)
    count = len(numbers)
    if numbers != list(range(count)) or count == outputs:
        return {}
    if not names and not (scored.stop == scored.size and scored.n * math.log(outputs / count) > -math.log(_UNSEEN)):
        return {}
    called = f" ({listed([names[number] for number in numbers if number in names], _SHOWN)})" if names else ""
    if numbered == "sub-folders":
        advice = (
            "sub-folders are numbered as they are sorted; if their numbers in the model are others, pass "
            f"Images(..., classes=names) with the names of all {outputs} in the model's order, or a mapping to numbers"
        )
    else:
        advice = "if the model numbers them otherwise, pass label_map= or label_offset= with the data"
    return {
        "classes": f"the labels are {count} classes, 0 to {count - 1}{called}, but the model has {outputs} outputs: "
        f"{advice}"
    }


def _are_classes(labels: Array, classes: int) -> bool:
    """Tell whether labels, one a row, are numbers of so many classes; those of another task may be anything."""
    return labels.dtype.kind in "iu" and labels.ndim == 1 and bool((labels >= 0).all() and (labels < classes).all())


# --------------------------------------------------------------------------------------------------------- predictions


def _of_predictions(scored: Scored, outputs: int | None) -> Warnings:
    found = _tied(scored) if _has(scored, "margin") else {}
    if _has(scored, "prediction") and scored.n > 1:
        found |= _constant(scored)
        pairs = _pairs(scored, outputs) if _has(scored, "label") else None
        found |= {} if pairs is None else _disagreement(pairs)
    return found


def _constant(scored: Scored) -> Warnings:
    blocks = _column(scored, "prediction")
    head = next(blocks)
    first = int(head[0])
    if not ((head == first).all() and all((rows == first).all() for rows in blocks)):
        return {}
    predicted = f"class {first}" if first >= 0 else "no class (every row is non-finite)"
    return {
        "constant": f"all {scored.n:,} rows are predicted as {predicted}: the model may be untrained, or its inputs "
        "may be prepared in another way than in training"
    }


def _tied(scored: Scored) -> Warnings:
    tied = sum(int(np.count_nonzero(rows == 0)) for rows in _column(scored, "margin"))
    if tied <= _TIED * scored.n:
        return {}
    return {
        "tied": f"{tied:,} of {scored.n:,} rows have their highest score in several classes, and are predicted as the "
        "first of these: 16 bits, or a saturated softmax or sigmoid, make scores equal; let the model return logits, "
        "and compute its last layer in float32"
    }


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Labels and predictions of finite rows, `units` of which are independent."""

    labels: Array
    predictions: Array
    classes: int
    units: int

    def shifted(self, step: int) -> Array:
        """Return the class that stands for each when all are counted from another number on."""
        return (np.arange(self.classes) + step) % self.classes

    def agreement(self, names: Array | None = None, rows: slice = slice(None)) -> Agreement:
        """Return the agreement of the labels, or of what `names` calls them."""
        labels = self.labels[rows] if names is None else names[self.labels[rows]]
        predictions = self.predictions[rows]
        return agreement(labels, predictions, self.classes, min(self.units, len(labels)))


def _disagreement(pairs: _Pairs) -> Warnings:
    """Warn of predictions that fit the labels worse than chance, or than other names of the classes."""
    own = pairs.agreement()
    if own.kappa > _WELL:
        return {}
    shifts = {step: pairs.agreement(pairs.shifted(step)) for step in (1, -1)}
    step = max(shifts, key=lambda step: shifts[step].kappa)
    # Learned on every second row, judged on the others: no renaming fits rows by chance that it has not seen.
    names = renaming(pairs.labels[::2], pairs.predictions[::2], pairs.classes)
    renamed, rest = (pairs.agreement(each, slice(1, None, 2)) for each in (names, None))
    if _explains(shifts[step], own) and shifts[step].kappa > renamed.kappa - _ALIKE:
        return {"off_by_one": _off_by_one(pairs, step, shifts[step], own)}
    if _explains(renamed, rest):
        return {"renamed": _renamed(names, renamed, rest)}
    if own.surprising and own.right < _FAR * own.expected:
        return {
            "below_chance": f"{_share(own)} are right, where predictions that do not depend on the labels have about "
            f"{own.expected:,.0f} right: are the labels shuffled, or those of other rows?"
        }
    return {}


def _off_by_one(pairs: _Pairs, step: int, shifted: Agreement, own: Agreement) -> str:
    names = pairs.shifted(step)
    around = len(np.unique(names[pairs.labels] - pairs.labels)) > 1  # no offset leads from the last class to the first
    advice = f"label_map={{0: {names[0]}, 1: {names[1]}, ...}}" if around else f"label_offset={step}"
    return (
        f"the prediction is the label {'plus' if step > 0 else 'minus'} 1 in {_share(shifted)}, the label itself in "
        f"{_share(own)}: if the model counts its classes from another number on, pass {advice} with the data"
    )


def _renamed(names: Array, renamed: Agreement, rest: Agreement) -> str:
    moved = [f"{label} as {name}" for label, name in enumerate(names.tolist()) if name not in (label, -1)]
    return (
        f"predictions fit the labels in {_share(rest)}, and in {_share(renamed)} if label {listed(moved, _SHOWN)} is "
        "right (learned from the other half of the rows): if the model has its classes in another order than the data, "
        "pass classes= or label_map= with the data"
    )


def _explains(other: Agreement, own: Agreement) -> bool:
    return other.surprising and other.kappa >= _EXPLAINS and other.kappa > 2.0 * own.kappa


def _share(found: Agreement) -> str:
    return f"{found.right:,} of {found.rows:,} rows"


def _pairs(scored: Scored, outputs: int | None) -> _Pairs | None:
    """Return at most a chunk of rows, spread over all; None where labels or predictions are no numbers of classes."""
    step = -(-scored.n // CHUNK)
    blocks = [
        (columns["label"][::step], columns["prediction"][::step])
        for columns, _ in scored.chunks(["label", "prediction"])
    ]
    labels, predictions = (np.concatenate(pieces) for pieces in zip(*blocks, strict=True))
    classes = outputs or _MOST_CLASSES
    finite = predictions >= 0
    labels, predictions = labels[finite], predictions[finite]
    if len(labels) < 2 or not _are_classes(labels, classes) or not _are_classes(predictions, classes):  # noqa: PLR2004
        return None
    labels = labels.astype(np.int64)
    units = len(labels)
    if scored.grouped:
        units = 1 + max(int(groups.max()) for groups in _column(scored, GROUP_NUMBER))
    return _Pairs(labels, predictions, outputs or 1 + int(max(labels.max(), predictions.max())), units)


def _has(scored: Scored, name: str) -> bool:
    return name in scored.outcomes.names or name in scored.data.names


def _column(scored: Scored, name: str) -> Iterator[Array]:
    return (columns[name] for columns, _ in scored.chunks([name]))
