"""The one table: which names there are, what is behind each, and in which order each library takes its arguments.

A name that is missing here is a row once its metric exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, Signature
from typing import Any

from milepost.compat.slim._kinds import Accuracy, Binary, InTopK, Kind, Mean, MeanPerClassAccuracy, RecallAtK

_COMMON = ("weights", "metrics_collections", "updates_collections", "name")
_REQUIRED = Parameter.empty


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric: its names in `tf.metrics` and `tf_slim.metrics` (None: not there), and its arguments.

    `arrays` stand in `tf.metrics`' order, which `tf_slim.metrics` turns round; `parameters` follow them in both.
    `original` names TensorFlow's own function, which `legacy=True` calls.
    """

    name: str | None
    twin: str | None
    arrays: tuple[str, ...]
    kind: Callable[..., Kind]
    parameters: tuple[tuple[str, Any], ...] = ()
    thresholds: bool = False
    original: str | None = None

    def signature(self, *, slim: bool) -> Signature:
        arrays = self.arrays[::-1] if slim else self.arrays
        listed = [(name, _REQUIRED) for name in arrays] + list(self.parameters) + [(name, None) for name in _COMMON]
        plain = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=item) for name, item in listed]
        own: list[tuple[str, Any]] = [("legacy", False), *([("threshold", 0.5)] if self.thresholds else [])]
        more = [Parameter(name, Parameter.KEYWORD_ONLY, default=item) for name, item in own]
        return Signature([*plain, *more])


_BOTH = ("labels", "predictions")
_BINARY: Any = ("true_positives", "false_positives", "true_negatives", "false_negatives", "precision", "recall")

ROWS = (
    MetricRow("mean", "streaming_mean", ("values",), Mean),
    MetricRow("accuracy", "streaming_accuracy", _BOTH, Accuracy, thresholds=True),
    *(MetricRow(what, f"streaming_{what}", _BOTH, partial(Binary, what), thresholds=True) for what in _BINARY),
    MetricRow("mean_per_class_accuracy", None, _BOTH, MeanPerClassAccuracy, (("num_classes", _REQUIRED),)),
    MetricRow("recall_at_k", "streaming_sparse_recall_at_k", _BOTH, RecallAtK, (("k", _REQUIRED), ("class_id", None))),
    MetricRow(None, "streaming_recall_at_k", _BOTH, InTopK, (("k", _REQUIRED),), original="in_top_k"),
)
