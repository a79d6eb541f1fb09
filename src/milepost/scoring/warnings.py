"""Warnings: numbers that deserve a word, as sentences by kind, from what a store has kept of an evaluation.

They stand beside the values of its records, so that they can be shown again without the model.  No warning guesses what
is right: it says what was counted, and what to declare if that is not meant.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from milepost._internal.text import listed
from milepost.core.capabilities import capability
from milepost.core.protocols import Metric, TrivialForFew
from milepost.core.types import Array, Json
from milepost.scoring.columns import CHUNK, GROUP_NUMBER, Scored
from milepost.scoring.disagreement import Pairs, disagreement

Warnings = dict[str, str]

_TIED = 0.05
"""Share of rows from which on ties at the top decide too many predictions."""

_MOST_CLASSES = 1 << 20
"""Where the number of outputs is not on record."""

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
    among = scored.task.get("among")
    general = {**_of_predictions(scored, classes), **_of_classes(scored, classes), **_of_outputs(scored, outputs)}
    return {metric.headline: general | _of_metric(metric, len(among) if among else classes) for metric in metrics}


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
    declared = numbered == "mapping" or "label_map" in fingerprint or scored.task.get("among")
    if outputs is None or declared or not scored.holds("label"):
        return {}
    if not all(_are_classes(labels, outputs) for labels in scored.column("label")):
        return {}
    seen = {label for labels in scored.column("label") for label in np.flatnonzero(np.bincount(labels)).tolist()}
    names = {int(label): str(name) for label, name in (described.get("classes") or {}).items()}
    numbers = sorted(names.keys() | seen)
    count = len(numbers)
    if numbers != list(range(count)) or count == outputs:
        return {}
    if not names and not (scored.stop == scored.size and scored.n * math.log(outputs / count) > -math.log(_UNSEEN)):
        return {}
    called = f" ({listed([names[number] for number in numbers if number in names], _SHOWN)})" if names else ""
    if numbered in ("sub-folders", "names"):
        advice = (
            f"{numbered} are numbered as they are sorted; if their numbers in the model are others, pass "
            f"Images(..., classes=names) with the names of all {outputs} in the model's order, or a mapping to numbers"
        )
    elif numbered == "numbers":
        advice = "if the model numbers them otherwise, give its numbers in labels="
    else:
        advice = "if the model numbers them otherwise, pass label_map= or label_offset= with the data"
    return {
        "classes": f"the labels are {count} classes, 0 to {count - 1}{called}, but the model has {outputs} outputs: "
        f"{advice}"
    }


def _are_classes(labels: Array, classes: int) -> bool:
    """Return whether labels, one a row, are numbers of so many classes; those of another task may be anything."""
    return labels.dtype.kind in "iu" and labels.ndim == 1 and bool((labels >= 0).all() and (labels < classes).all())


# --------------------------------------------------------------------------------------------------------- predictions


def _of_predictions(scored: Scored, outputs: int | None) -> Warnings:
    found = _tied(scored) if scored.holds("margin") else {}
    if scored.holds("prediction") and scored.n > 1:
        found |= _constant(scored)
        pairs = _pairs(scored, outputs) if scored.holds("label") else None
        found |= {} if pairs is None else disagreement(pairs)
    return found


def _constant(scored: Scored) -> Warnings:
    blocks = scored.column("prediction")
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
    tied = sum(int(np.count_nonzero(rows == 0)) for rows in scored.column("margin"))
    if tied <= _TIED * scored.n:
        return {}
    return {
        "tied": f"{tied:,} of {scored.n:,} rows have their highest score in several classes, and are predicted as the "
        "first of these: 16 bits, a saturated softmax or sigmoid, or whole numbers make scores equal; let the model "
        "return logits, and compute its last layer in float32"
    }


def _pairs(scored: Scored, outputs: int | None) -> Pairs | None:
    """Return at most a chunk of rows, spread over all; None where labels or predictions are no numbers of classes."""
    step = -(-scored.n // CHUNK)
    names = ["label", "prediction", *([GROUP_NUMBER] if scored.grouped else [])]
    blocks = [[columns[name][::step] for name in names] for columns, _ in scored.chunks(names)]
    labels, predictions, *groups = (np.concatenate(pieces) for pieces in zip(*blocks, strict=True))
    classes = outputs or _MOST_CLASSES
    finite = predictions >= 0
    labels, predictions = labels[finite], predictions[finite]
    if not len(labels) or not _are_classes(labels, classes) or not _are_classes(predictions, classes):
        return None
    classes = outputs or 1 + int(max(labels.max(), predictions.max()))
    return Pairs(labels.astype(np.int64), predictions, classes, groups[0][finite] if groups else np.arange(len(labels)))
